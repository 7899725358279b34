"""Inputs by URL: only from the public internet, whatever the URL looks like, wherever it leads, however slow it is."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.errors import FetchFailed
from worker.handler import make_handler
from worker.job.files.fetch import FetchLimits, fetch_all
from worker.public_addresses import NOT_FOUND, is_public

PRIVATE = """
127.0.0.1 127.255.255.255 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254
100.64.0.1 100.127.255.255 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
240.0.0.1 255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 fec0::1 ff02::1 ::ffff:127.0.0.1
::ffff:10.0.0.1 ::127.0.0.1 2002:7f00:1:: 2002:a00:1:: 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1
2001::1 2001:db8::1 100::1 ::ffff:0:0 text 1.2.3
"""
PUBLIC = """
8.8.8.8 1.1.1.1 93.184.215.14 2606:4700::1111 2a00:1450::1 64:ff9b::808:808 ::ffff:8.8.8.8
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is_public(address: str) -> None:
    assert is_public(address)


HOSTILE = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost:8000/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[fe80::1%25lo]/",
    "http://[fd00::1]/",
    "http://[2002:7f00:1::]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://10.0.0.5/admin",
    "http://172.16.3.4/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://user:password@127.0.0.1/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "http://127.0.0.1\\@example.com/",
    "http://[::1]:6379/",
    "http://127.0.0.1:22/",
    "https://127.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://%31%32%37.0.0.1/",
    "http:///etc/passwd",
    "http://",
    "http://:80/",
    "http://127.0.0.1:99999/",
    "http://[not-an-address]/",
    "http://no-such-host.invalid/",
    "http://" + "a" * 300 + ".com/",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[Any] = []
    monkeypatch.setattr("aiohttp.connector.TCPConnector._wrap_create_connection", lambda *a, **_: connected.append(a))
    content = fetch_all({"a.png": url}, FetchLimits(1000, 5))["a.png"]
    assert isinstance(content, FetchFailed)
    assert not connected, "nothing was even tried"
    for secret in ("127.0.0.1", "169.254", "password"):
        assert secret not in str(content)


def test_names_that_lead_to_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with one address that is not public is refused, and each request is bound to what was looked at."""
    answers = iter([["93.184.215.14", "10.0.0.1"], ["127.0.0.1"]])

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for _ in range(2):
        content = fetch_all({"a": "http://rebinding.example/"}, FetchLimits(1000, 5))["a"]
        assert str(content) == NOT_FOUND


def test_a_name_that_does_not_exist_is_told_as_one_that_leads_into_the_own_network() -> None:
    """So that a caller cannot find out which names exist there; and the text is true of both."""
    names = ("no-such-host.invalid", "localhost", "x" * 70 + ".com")
    found = fetch_all({name: f"http://{name}/" for name in names}, FetchLimits(1000, 5))
    assert {str(content) for content in found.values()} == {NOT_FOUND}
    assert NOT_FOUND == "its host was not found on the public internet; is its name right?"


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def web(answer: Answer) -> Iterator[str]:
    """A web server on loopback; gives its address."""
    handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": answer, "log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def send(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answers every request so."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address of this machine counts as public, so that there is something to fetch from; others do not."""
    monkeypatch.setattr("worker.job.files.fetch.is_public", lambda address: address == "127.0.0.1")


@pytest.mark.usefixtures("loopback_is_public")
def test_files_are_fetched() -> None:
    with web(send(200, b"content")) as url:
        found = fetch_all({str(index): f"{url}/{index}" for index in range(12)}, FetchLimits(1000, 5))
    assert found == {str(index): b"content" for index in range(12)}


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://127.0.0.2/", "its host is not on the public internet"),
        ("http://[::1]/", "its host is not on the public internet"),
        ("http://169.254.169.254/latest", "its host is not on the public internet"),
        ("//127.0.0.3/x", "its host is not on the public internet"),
        ("file:///etc/passwd", "it is no http(s) URL"),
        ("ftp://127.0.0.1/", "it is no http(s) URL"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "it is no http(s) URL"),
        ("/again", "it was redirected more than 5 times"),
        ("http://[", "it is no valid URL"),
    ],
)
def test_every_redirect_is_checked(location: str, problem: str) -> None:
    with web(send(302, Location=location)) as url:
        content = fetch_all({"a": url}, FetchLimits(1000, 5))["a"]
    assert isinstance(content, FetchFailed)
    assert str(content) in (problem, "it cannot be fetched (ValueError)")


@pytest.mark.usefixtures("loopback_is_public")
def test_too_much_and_too_slow() -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                request.wfile.write(b"x")
                time.sleep(0.1)

    def drip_headers(request: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            for char in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100:
                request.wfile.write(bytes([char]))
                time.sleep(0.1)

    for answer, limits, problem in (
        (send(200, b"x" * 2001), FetchLimits(2000, 5), "it has more than 0.0 MB"),
        (send(200, b"x" * 10, Content_Length="10"), FetchLimits(9, 5), "it has more than 0.0 MB"),
        (drip, FetchLimits(2000, 1), "it did not come within 1 s"),
        (drip_headers, FetchLimits(2000, 1), "it did not come within 1 s"),
        (send(404), FetchLimits(2000, 5), "its server answered 404"),
        (send(200, b"x", Content_Length="5"), FetchLimits(2000, 5), "it cannot be fetched (ClientPayloadError)"),
    ):
        start = time.monotonic()
        with web(answer) as url:
            assert str(fetch_all({"a": url}, limits)["a"]) == problem
            assert time.monotonic() - start < 3


@pytest.mark.usefixtures("loopback_is_public")
def test_what_is_packed_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with web(send(200, bomb, Content_Encoding="gzip")) as url:
        assert fetch_all({"a": url}, FetchLimits(1_000_000, 5))["a"] == bomb


@pytest.mark.usefixtures("loopback_is_public")
def test_a_job_takes_its_image_from_a_url(worker: Worker, png: Callable[..., bytes]) -> None:
    async def ask(url: str) -> dict[str, Any]:
        images = [{"name": "in.png", "image": url}]
        return await make_handler(worker)({"id": "j", "input": {"workflow": graphs.load("in.png"), "images": images}})

    with web(send(200, png("#405060"))) as url:
        answer = asyncio.run(ask(f" {url}/picture?name=a%20b"))
    assert [entry["filename"] for entry in answer["images"]] == ["ComfyUI_00001_.png"]
    with web(send(200, b"<html>no picture</html>")) as url:
        answer = asyncio.run(ask(url))
    assert answer["details"] == ["Error reading in.png: it is no image, video, audio, latent or 3D model"]


def test_urls_can_be_refused(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "settings", worker.settings.model_copy(update={"input_urls": "off"}))
    job = {"workflow": graphs.load("a.png"), "images": [{"name": "a.png", "image": "https://example.com/a.png"}]}
    answer = asyncio.run(make_handler(worker)({"id": "j", "input": job}))
    assert answer["details"] == ["Error downloading a.png: this worker does not take URLs; send the file as base64"]
