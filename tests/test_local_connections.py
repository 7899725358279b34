"""Connections to the local API that bring too much, too slowly, or nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import graphs
import pytest
import requests
from local_api import post, request, serving

from worker import Worker
from worker.local_api.connections import BoundedConnection, ReadsToTheEnd

LINE = b"GET /health HTTP/1.1\r\n"
REQUEST = LINE + b"Host: localhost\r\n\r\n"
HEAD = b"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"POST /run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def api(worker: Worker) -> Iterator[str]:
    with serving(worker) as address:
        yield address


@pytest.fixture
def short_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that a test can wait for. On a busy machine a whole request may not arrive within it."""
    monkeypatch.setattr(BoundedConnection, "headers_s", 0.5)


@pytest.fixture
def short_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "body_s", 0.5)
    monkeypatch.setattr(BoundedConnection, "body_bytes", 10)


@pytest.fixture
def impatient(short_headers: None, short_body: None) -> None:
    """Both."""


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read(connection: socket.socket) -> tuple[int, str]:
    """The status and the error text that the server sends before it closes; 0 and "" if it only closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    if not answer:
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


TOO_LARGE = 431, "The request's headers are too large: send at most 65536 bytes of them"


@pytest.mark.parametrize(
    ("start", "status", "text"),
    [
        (b"GET /", *TOO_LARGE),
        (LINE, *TOO_LARGE),
        (LINE + b"X: ", *TOO_LARGE),
        (HEAD[:-2] + b"X: ", *TOO_LARGE),
        (CHUNKED, 400, "This is no valid HTTP request: Receive buffer too long"),
    ],
)
def test_headers_without_end_are_refused_at_once(api: str, start: bytes, status: int, text: str) -> None:
    filler = b"X: y\r\n" if start == LINE else b"a"
    longest, end = 0.0, time.monotonic() + 5
    with connect(api) as connection:
        connection.sendall(start + filler * (1_000_000 // len(filler)))
        assert read(connection) == (status, text)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                connection.sendall(filler * (1_000_000 // len(filler)))
                began = time.monotonic()
                assert requests.get(f"{api}/health", timeout=5).ok
                longest = max(longest, time.monotonic() - began)
            pytest.fail("megabytes of headers are taken")
    assert longest < 1


def test_long_headers_that_end_are_taken(api: str) -> None:
    assert requests.get(f"{api}/health", headers={"X": "a" * 30_000}, timeout=5).ok


@pytest.mark.usefixtures("short_headers")
@pytest.mark.parametrize("sent", [b"", b"G", LINE + b"Host: localhost\r\n"])
def test_connections_without_whole_headers_are_closed(api: str, sent: bytes) -> None:
    assert answers_to(api, sent) == {(408, "The request's headers did not arrive within 0.5 s")}


@pytest.mark.usefixtures("short_body")
@pytest.mark.parametrize("sent", [HEAD, HEAD + b"{"])
def test_connections_without_a_whole_body_are_closed(api: str, sent: bytes) -> None:
    text = "The request's body is too slow: at least 10 bytes must arrive every 0.5 s"
    assert answers_to(api, sent) == {(408, text)}


def answers_to(api: str, sent: bytes) -> set[tuple[int, str]]:
    """What 200 connections get that send this and nothing more. It must come before any client gives up."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(api)) for _ in range(200)]
        for connection in connections:
            connection.sendall(sent)
        return {read(connection) for connection in connections}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("start", [b"GET /", HEAD, HEAD.replace(b"Host", b"Origin: http://other\r\nHost")])
def test_a_byte_now_and_then_keeps_no_connection(api: str, start: bytes) -> None:
    with connect(api) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(start)
        for _ in range(60):
            connection.sendall(b"a")
            time.sleep(0.1)
        pytest.fail("the connection lives as long as bytes come")


@pytest.mark.usefixtures("impatient")
def test_the_second_request_of_a_connection_has_the_same_limits(api: str) -> None:
    with connect(api) as connection:
        connection.sendall(REQUEST)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.read()
        connection.sendall(b"GET /health HTT")
        began = time.monotonic()
        assert read(connection)[0] == 408
        assert 0.3 < time.monotonic() - began < 3


@pytest.mark.usefixtures("impatient")
def test_whoever_waits_for_a_job_is_not_cut_off(api: str) -> None:
    answer = post(f"{api}/runsync", request(graphs.through("TestSleeps", steps=100)))
    assert answer["status"] == "COMPLETED"


@pytest.mark.usefixtures("impatient")
def test_a_slow_body_that_goes_on_is_taken(api: str) -> None:
    with connect(api) as connection:
        body = b'{"input": {"workflow": {}}}' + b" " * 80
        connection.sendall(HEAD.replace(b"1000", str(len(body)).encode()))
        for index in range(0, len(body), 20):
            connection.sendall(body[index : index + 20])
            time.sleep(0.2)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/run", {}, 413),
        ("/runsync", {}, 413),
        ("/run", {"Connection": "keep-alive"}, 413),
        ("/run", {"Origin": "http://other"}, 403),
        ("/no/such/path/at/all", {}, 404),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_whoever_sends_all_before_it_reads_gets_the_answer(
    api: str, path: str, headers: dict[str, str], status: int, *, chunked: bool
) -> None:
    """As Python's urllib does. The system drops an answer if the connection is closed while bytes come."""
    body = b'{"input": {"workflow": {}}, "filler": "' + b"x" * 60_000_000 + b'"}'
    data = iter([body[:1000], body[1000:]]) if chunked else body
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(api + path, data, headers), timeout=60)  # noqa: S310
    assert refused.value.code == status
    assert json.load(refused.value)["error"]


def test_whoever_asks_before_it_sends_is_answered_at_once(api: str) -> None:
    head = HEAD.replace(b"1000", b"60000000").replace(b"Host", b"Origin: http://other\r\nExpect: 100-continue\r\nHost")
    with connect(api) as connection:
        connection.sendall(head)
        began = time.monotonic()
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")
        assert time.monotonic() - began < 5


def test_a_body_without_end_is_not_read_for_ever(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadsToTheEnd, "most_bytes", 1_000_000)
    with connect(api) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(CHUNKED.replace(b"Host", b"Connection: close\r\nHost"))
        for _ in range(500):
            connection.sendall(b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n")
        pytest.fail("500 MB are read")


def test_connections_have_a_bound(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "max_connections", 5)
    waiting = [connect(api) for _ in range(5)]
    time.sleep(0.2)
    with connect(api) as one_more:
        one_more.sendall(REQUEST)
        assert read(one_more) == (503, "The local API has 5 connections open: try again later")
    for connection in waiting:
        connection.close()
    time.sleep(0.2)
    assert requests.get(f"{api}/health", timeout=5).ok


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", REQUEST.replace(b"Host", b"H st"), b"\0" * 9]
)
def test_what_is_no_request_is_told_so(api: str, sent: bytes) -> None:
    with connect(api) as connection:
        connection.sendall(sent)
        status, text = read(connection)
        assert status == 400
        assert text.startswith("This is no valid HTTP request: ")


def test_pipelined_requests_are_answered(api: str) -> None:
    with connect(api) as connection:
        connection.sendall(REQUEST * 3)
        seen = b""
        end = time.monotonic() + 5
        while seen.count(b"200 OK") < 3 and time.monotonic() < end:
            seen += connection.recv(65536)
        assert seen.count(b"200 OK") == 3


def test_answers_do_not_wait_for_the_client(api: str) -> None:
    with requests.Session() as session:
        began = time.monotonic()
        assert all(session.get(f"{api}/health", timeout=5).ok for _ in range(50))
        assert time.monotonic() - began < 1.8  # Each would wait 40 ms for an acknowledgement.
