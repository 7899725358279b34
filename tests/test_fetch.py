"""Fetching files from servers on loopback that are slow, cut, lie, refuse, or lead elsewhere."""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection
from certificate import make_certificate
from fetching import fetch_in_process
from model_host import COMMIT, ModelHost, safetensors

from worker.errors import FetchFailed
from worker.fetch.address import Tokens, checked_address, file_address, without_secrets
from worker.fetch.connections import Connections
from worker.fetch.download import DiskFull, FetchStopped, Wanted, Watch, fetch_file
from worker.fetch.part import left_over
from worker.fetch.records import read_record
from worker.fetch.remote import ask
from worker.fetch.several import fetch_several, without_room

CONTENT = safetensors(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ANY = Connections(Tokens(), any_host=True, read_s=1)


@pytest.fixture
def host() -> Iterator[ModelHost]:
    """A host of models with nothing on it."""
    with ModelHost() as found:
        yield found


@dataclass
class Heard:
    """What a watch has heard: ``count`` bytes, net."""

    count: int = 0
    stop_at: int | None = None

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.watch = Watch(self._more, self.stop)

    def _more(self, count: int) -> None:
        self.count += count
        if self.stop_at is not None and self.count >= self.stop_at:
            self.stop.set()


def fetch(host: ModelHost, target: Path, path: str = "/a", heard: Heard | None = None, **more: Any) -> Any:
    """Fetch ``path``."""
    return fetch_file(ANY, Wanted(host.url + path, target, **more), (heard or Heard()).watch)


def leftovers(target: Path) -> set[str]:
    """What lies in the hidden folder, but for locks."""
    folder = target.parent / ".comfy-worker"
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"} if folder.is_dir() else set()


def test_a_file_comes_whole_and_is_remembered(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT)
    target, heard = tmp_path / "models" / "a.safetensors", Heard()
    record = fetch(host, target, heard=heard, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert (record.sha256, record.size, heard.count) == (SHA256, len(CONTENT), len(CONTENT))
    assert read_record(target) == record
    assert leftovers(target) == {"a.safetensors.json"}
    target.write_bytes(CONTENT[:-1] + b"x")
    assert read_record(target) is None, "it is another file now"


def test_what_a_host_says_of_a_file(host: ModelHost) -> None:
    host.add("/a", CONTENT)
    told = ask(ANY, host.url + "/a")
    assert (told.size, told.sha256, told.commit) == (len(CONTENT), SHA256, COMMIT)
    host.add("/plain", CONTENT, tell=False).ranges = False
    told = ask(ANY, host.url + "/plain")
    assert (told.size, told.sha256, told.commit) == (len(CONTENT), None, None)
    host.add("/empty", b"", tell=False)
    assert ask(ANY, host.url + "/empty").size == 0
    assert all(request.range == "bytes=0-0" for request in host.requests)
    assert host.sent < 2 * len(CONTENT), "only the host without ranges begins to send more than a byte"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_is_cut_goes_on(host: ModelHost, tmp_path: Path, ranges: bool) -> None:
    served = host.add("/a", CONTENT)
    served.cut, served.cuts, served.ranges = 1_000_000, 2, ranges
    heard = Heard()
    fetch(host, tmp_path / "a.safetensors", heard=heard, sha256=SHA256)
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT
    assert heard.count == len(CONTENT), "what came twice does not count twice"
    if ranges:
        assert [request.range for request in host.requests] == [None, "bytes=1000000-", "bytes=2000000-"]
        assert host.sent == len(CONTENT)


def test_a_host_that_always_cuts_at_once_is_given_up(host: ModelHost, tmp_path: Path, quick: None) -> None:
    served = host.add("/a", CONTENT)
    served.cut, served.cuts = 0, 100
    with pytest.raises(FetchFailed, match="ended the connection; what has come so far stays"):
        fetch(host, tmp_path / "a.safetensors")
    assert len(host.requests) == 5


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr("worker.fetch.remote._PAUSES_S", (0.0,))


def test_a_silent_server_is_given_up(host: ModelHost, tmp_path: Path, quick: None) -> None:
    host.add("/a", CONTENT)
    host.on_request = lambda _: time.sleep(3)
    impatient = Connections(Tokens(), any_host=True, read_s=0.2)
    with pytest.raises(FetchFailed, match="went silent"):
        fetch_file(impatient, Wanted(host.url + "/a", tmp_path / "a.safetensors"), Heard().watch)


def test_a_stop_leaves_a_part_and_the_next_goes_on(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT)
    target = tmp_path / "a.safetensors"
    with pytest.raises(FetchStopped):
        fetch(host, target, heard=Heard(stop_at=1_000_000), sha256=SHA256)
    come = left_over(target)
    assert 1_000_000 <= come < len(CONTENT)
    assert not target.exists()
    heard = Heard()
    fetch(host, target, heard=heard, sha256=SHA256)
    assert heard.count == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert host.requests[-1].range == f"bytes={come}-"


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_has_changed_meanwhile_comes_anew(host: ModelHost, tmp_path: Path, known: bool) -> None:
    host.add("/a", CONTENT, tell=False)
    target = tmp_path / "a.safetensors"
    with pytest.raises(FetchStopped):
        fetch(host, target, heard=Heard(stop_at=1_000_000))
    other = safetensors(3_000_000, "b")
    host.add("/a", other, tell=False).etag = '"v2"' if known else ""
    heard = Heard()
    fetch(host, target, heard=heard)
    assert target.read_bytes() == other
    assert heard.count == len(other)


def test_a_whole_part_of_another_version_comes_anew(host: ModelHost, tmp_path: Path) -> None:
    """The process was killed before it could rename it, and the file has changed since."""
    for second in (CONTENT, safetensors(3_000_000, "b")):
        served = host.add("/a", CONTENT, tell=False)
        target = tmp_path / f"{served.etag.strip(chr(34))}{second == CONTENT}.safetensors"
        with pytest.raises(FetchStopped):
            fetch(host, target, heard=Heard(stop_at=len(CONTENT)), size=len(CONTENT))
        assert left_over(target) == len(CONTENT)
        host.add("/a", second, tell=False).etag = '"v1"' if second == CONTENT else '"v2"'
        begun = host.sent
        fetch(host, target, size=len(CONTENT))
        assert target.read_bytes() == second
        assert host.sent - begun == (0 if second == CONTENT else len(CONTENT))


def test_a_part_without_a_version_is_not_trusted(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT, tell=False).etag = 'W/"weak"'
    target = tmp_path / "a.safetensors"
    with pytest.raises(FetchStopped):
        fetch(host, target, heard=Heard(stop_at=1_000_000))
    fetch(host, target)
    assert [request.range for request in host.requests] == [None, None]


def test_a_spoilt_part_comes_anew_if_the_hash_says_so(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT)
    target = tmp_path / "a.safetensors"
    with pytest.raises(FetchStopped):
        fetch(host, target, heard=Heard(stop_at=1_000_000), sha256=SHA256)
    part = tmp_path / ".comfy-worker" / "a.safetensors.part"
    part.write_bytes(b"x" * left_over(target))
    heard = Heard()
    fetch(host, target, heard=heard, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert heard.count == len(CONTENT)


def test_a_host_that_lies_about_the_hash(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT)
    with pytest.raises(FetchFailed, match=f"its SHA-256 is {SHA256}, and must be 0000"):
        fetch(host, tmp_path / "a.safetensors", sha256="0" * 64)
    assert not (tmp_path / "a.safetensors").exists()
    assert leftovers(tmp_path / "a.safetensors") == set(), "its bytes are of no use"


def test_a_host_that_lies_about_the_size(host: ModelHost, tmp_path: Path, quick: None) -> None:
    host.add("/a", CONTENT, tell=False)
    with pytest.raises(FetchFailed, match="now sends 3000000 bytes, and said 2999999 before"):
        fetch(host, tmp_path / "a.safetensors", size=2_999_999)
    host.add("/b", CONTENT, tell=False).length = 3_000_100
    host.files["/b"].ranges = False
    with pytest.raises(FetchFailed, match=r"ended the connection|went silent"):
        fetch(host, tmp_path / "b.safetensors", "/b")
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, r"refuses it \(401\): it may need a login"),
        (403, r"refuses it \(403\): it may need a login"),
        (404, r"is not there \(404\)"),
        (410, r"is not there \(410\)"),
        (418, "answered 418"),
    ],
)
def test_statuses_that_end_it(host: ModelHost, tmp_path: Path, status: int, text: str) -> None:
    for path, action in (("/a", lambda: ask(ANY, host.url + "/a")), ("/b", lambda: fetch(host, tmp_path / "b", "/b"))):
        host.add(path, CONTENT).statuses = [status] * 9
        with pytest.raises(FetchFailed, match=text):
            action()
    assert len(host.requests) == 2, "to ask again would not help"


def test_a_busy_host_is_asked_again_when_it_says(host: ModelHost, tmp_path: Path) -> None:
    served = host.add("/a", CONTENT)
    served.statuses, served.headers["Retry-After"] = [429], "1"
    begin = time.monotonic()
    assert ask(ANY, host.url + "/a").size == len(CONTENT)
    assert time.monotonic() - begin > 0.9
    served.statuses = [503, 429]
    fetch(host, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT
    served.statuses, served.headers["Retry-After"] = [429], "3600"
    with pytest.raises(FetchFailed, match="asks to wait 3600 s"):
        ask(ANY, host.url + "/a")


def test_a_web_page_is_no_model(host: ModelHost) -> None:
    host.add("/a", b"<html>log in</html>").headers["Content-Type"] = "text/html; charset=utf-8"
    with pytest.raises(FetchFailed, match="sends a web page"):
        ask(ANY, host.url + "/a")


def test_what_is_no_model_gets_no_name(host: ModelHost, tmp_path: Path) -> None:
    from worker.models.damage import damage

    host.add("/a", b"not a model at all")
    with pytest.raises(FetchFailed, match="cannot be used: it is no safetensors file"):
        fetch_file(
            ANY, Wanted(host.url + "/a", tmp_path / "a.safetensors"), Heard().watch, lambda part: damage(part, "a.sft")
        )
    assert not (tmp_path / "a.safetensors").exists()


def test_a_file_that_is_there_stays(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT)
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"mine")
    with pytest.raises(FetchFailed, match="is there with other content, and stays"):
        fetch(host, target, sha256=SHA256)
    assert target.read_bytes() == b"mine"
    assert not host.requests


def test_a_file_that_comes_from_elsewhere_meanwhile_stays(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT)
    target = tmp_path / "a.safetensors"

    def come(_: str) -> None:
        target.write_bytes(b"mine")

    host.on_request = come
    with pytest.raises(FetchFailed, match="has come from elsewhere"):
        fetch(host, target)
    assert target.read_bytes() == b"mine"


def test_redirects_are_followed_but_not_for_ever(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT).redirect = "/real"
    host.add("/real", CONTENT, tell=False)
    assert ask(ANY, host.url + "/a").sha256 == SHA256, "what the first host said of it counts"
    fetch(host, tmp_path / "a.safetensors", sha256=SHA256)
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT
    host.add("/loop", b"").redirect = "/loop"
    with pytest.raises(FetchFailed, match="redirected more than"):
        ask(ANY, host.url + "/loop")
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a", "https://user:pass@127.0.0.1/a"):
        host.add("/odd", b"").redirect = target
        with pytest.raises(FetchFailed, match=r"no http|user name"):
            ask(ANY, host.url + "/odd")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.com/a", "no https URL"),
        ("https://127.0.0.1/a", "not on the public internet"),
        ("https://[::1]/a", "not on the public internet"),
        ("https://169.254.169.254/latest", "not on the public internet"),
        ("https://localhost/a", "not found on the public internet"),
        ("https://0x7f.1/a", "not found on the public internet"),
        ("https://2130706433/a", "not found on the public internet"),
    ],
)
def test_only_public_hosts_unless_the_operator_says_so(url: str, text: str) -> None:
    with pytest.raises(FetchFailed, match=text):
        ask(Connections(Tokens()), url)


def test_addresses() -> None:
    assert checked_address("https://a.b/c?d=e#f") == "https://a.b/c?d=e"
    for text in (
        "",
        "a.b/c",
        "file:///a",
        "https://",
        "https://a b",
        "https://a/\n",
        "https://a:0/",
        "https://a:99999/",
    ):
        with pytest.raises(FetchFailed):
            checked_address(text)
    assert without_secrets("https://u:p@a.b/c?type=Model&token=x&Key=y#f") == "https://a.b/c?type=Model"
    assert without_secrets("https://a.b/c?download=true") == "https://a.b/c?download=true"


def test_pages_about_a_file_stand_for_the_file() -> None:
    page, file = (f"https://huggingface.co/org/name/{kind}/main/dir/a.safetensors" for kind in ("blob", "resolve"))
    assert file_address(page) == file_address(file) == file
    version = "https://civitai.com/api/download/models/456"
    assert file_address("https://civitai.com/models/123/some-name?modelVersionId=456") == version
    for url in (f"{version}?type=Model", "https://civitai.com/models/123", "https://a.b/org/name/blob/main/a"):
        assert file_address(url) == url


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate for the hosts of models, which this process trusts."""
    certificate = make_certificate(tmp_path, "huggingface.co", "civitai.com", "cdn.example.com", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    return certificate


@pytest.fixture
def hub(certified: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHost]:
    """A host that is reached as huggingface.co and others, by https."""
    connect = urllib3.util.connection.create_connection
    with ModelHost(certified) as found:
        monkeypatch.setattr(
            urllib3.util.connection, "create_connection", lambda _, *rest, **more: connect(("127.0.0.1", found.port))
        )
        yield found


def test_a_token_goes_to_its_host_alone(hub: ModelHost) -> None:
    tokens = Tokens({"huggingface.co": "hf-secret", "civitai.com": "civitai-secret"})
    connections = Connections(tokens, any_host=True)
    hub.add("/a", CONTENT).redirect = "https://cdn.example.com/real"
    hub.add("/real", CONTENT)
    assert ask(connections, "https://huggingface.co/a").size == len(CONTENT)
    assert ask(connections, "https://civitai.com/real").size == len(CONTENT)
    assert ask(connections, "https://huggingface.co.example.com/real".replace("huggingface.co.example", "cdn.example"))
    seen = [(request.host, request.authorization) for request in hub.requests]
    assert seen == [
        ("huggingface.co", "Bearer hf-secret"),
        ("cdn.example.com", None),
        ("civitai.com", "Bearer civitai-secret"),
        ("cdn.example.com", None),
    ]
    assert "secret" not in repr(tokens)


@pytest.mark.parametrize(
    "url",
    [
        "http://huggingface.co/a", "https://huggingface.co:8443/a", "https://huggingface.co.evil.com/a",
        "https://evil.com/huggingface.co", "https://xhuggingface.co/a", "https://civitai.com/a",
    ],
)  # fmt: skip
def test_no_other_address_gets_a_token(url: str) -> None:
    assert Tokens({"huggingface.co": "secret"}).header(url) == {}


def test_a_refusal_names_the_variable_and_no_token(hub: ModelHost) -> None:
    connections = Connections(Tokens({"huggingface.co": "hf-secret"}), any_host=True)
    hub.add("/a", CONTENT).statuses = [401, 403]
    for _ in range(2):
        with pytest.raises(FetchFailed, match="set HF_TOKEN to a token that may read it") as caught:
            ask(connections, "https://huggingface.co/a")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("https://10.0.0.1/a", "its host is not on the public internet"),
        ("https://[fd00::1]/a", "its host is not on the public internet"),
        ("https://metadata.internal/a", "was not found on the public internet"),
        ("http://cdn.example.com/a", "it is no https URL"),
        ("https://cdn.example.com/real", None),
    ],
)
def test_a_public_host_cannot_lead_to_a_private_one(
    certified: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, text: str | None
) -> None:
    """Loopback counts as public here, so that there is a public host."""
    monkeypatch.setattr("worker.fetch.connections.is_public", lambda address: address == "127.0.0.1")
    with ModelHost(certified) as found:

        def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
            address = ("10.1.2.3", 443) if host == "metadata.internal" else ("127.0.0.1", found.port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        monkeypatch.setattr("worker.fetch.connections.socket.getaddrinfo", resolve)
        found.add("/a", CONTENT).redirect = target
        found.add("/real", CONTENT)
        connections, wanted = Connections(Tokens()), Wanted("https://huggingface.co/a", tmp_path / "a.safetensors")
        if text is None:
            assert fetch_file(connections, wanted, Heard().watch).sha256 == SHA256
            return
        for action in (lambda: ask(connections, wanted.url), lambda: fetch_file(connections, wanted, Heard().watch)):
            with pytest.raises(FetchFailed, match=text):
                action()
        assert {request.host for request in found.requests} == {"huggingface.co"}


def test_a_revision_becomes_a_commit(hub: ModelHost) -> None:
    connections = Connections(Tokens(), any_host=True)
    hub.add("/org/name/resolve/main/dir/a.safetensors", CONTENT)
    told = ask(connections, "https://huggingface.co/org/name/resolve/main/dir/a.safetensors?download=true")
    assert told.exact_url == f"https://huggingface.co/org/name/resolve/{COMMIT}/dir/a.safetensors"


def test_a_certificate_of_a_stranger_is_refused(hub: ModelHost, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    hub.add("/a", CONTENT)
    with pytest.raises(FetchFailed, match="certificate is not valid"):
        ask(Connections(Tokens(), any_host=True), "https://huggingface.co/a")


def test_a_proxy_of_the_environment_is_used(host: ModelHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host.add("http://models.invalid/a", CONTENT)
    monkeypatch.setenv("http_proxy", host.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(ANY, "http://models.invalid/a").size == len(CONTENT)
    assert host.requests[0].host == "models.invalid"
    host.add("/a", CONTENT)
    fetch(host, tmp_path / "a.safetensors")
    assert host.requests[-1].path == "/a", "it is asked without the proxy"


def test_several_at_once_and_one_that_fails(host: ModelHost, tmp_path: Path) -> None:
    files = [Wanted(f"{host.url}/{index}", tmp_path / f"{index}.sft") for index in range(6)]
    for index in range(5):
        host.add(f"/{index}", safetensors(400_000, str(index))).rate = 800_000
    found = fetch_several(ANY, files, lambda *_: None, threading.Event(), at_once=6)
    assert host.most_at_once > 1
    assert [isinstance(found[file], FetchFailed) for file in files] == [False] * 5 + [True]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode:  # noqa: S607
        pytest.skip("a small disk can be mounted only by root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607


def test_a_full_disk(host: ModelHost, small_disk: Path) -> None:
    host.add("/a", CONTENT)
    target = small_disk / "a.safetensors"
    with pytest.raises(DiskFull, match="the disk is full"):
        fetch(host, target)
    assert not target.exists()
    host.add("/b", CONTENT)
    files = [Wanted(host.url + path, small_disk / path[1:], size=3_000_000) for path in ("/a", "/b")]
    ((folder, needed, free),) = without_room(files)
    assert folder == small_disk
    assert (needed, free < 1_000_000) == (6_000_000, True)
    found = fetch_several(ANY, files, lambda *_: None, threading.Event(), at_once=1)
    assert all(isinstance(result, DiskFull) for result in found.values())


def test_two_processes_fetch_it_once(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT).rate = 3_000_000
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    target = tmp_path / "a.safetensors"
    arguments = (host.url + "/a", target, SHA256, queue)
    workers = [context.Process(target=fetch_in_process, args=arguments) for _ in range(3)]
    for process in workers:
        process.start()
    assert [queue.get(timeout=240) for _ in workers] == [SHA256] * 3
    for process in workers:
        process.join(30)
        assert process.exitcode == 0
    assert target.read_bytes() == CONTENT
    assert (len(host.requests), host.sent) == (1, len(CONTENT))


def test_a_killed_process_leaves_what_the_next_one_goes_on_with(host: ModelHost, tmp_path: Path) -> None:
    host.add("/a", CONTENT).rate = 1_000_000
    target = tmp_path / "a.safetensors"
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=fetch_in_process, args=(host.url + "/a", target, SHA256, queue))
    process.start()
    deadline = time.monotonic() + 240
    while left_over(target) < 500_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join(30)
    come = left_over(target)
    assert 500_000 <= come < len(CONTENT)
    host.files["/a"].rate = 0
    fetch(host, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert host.requests[-1].range == f"bytes={come}-"
