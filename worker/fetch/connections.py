"""Opens HTTP connections. Redirects are followed one by one: each target is checked, and gets no foreign token."""

from __future__ import annotations

import contextlib
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from worker.errors import FetchFailed
from worker.fetch.address import Tokens, checked_address, host_of
from worker.public_addresses import NOT_FOUND, NOT_PUBLIC, is_address, is_public

_MOST_REDIRECTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_CONNECT_S, _READ_S = 15.0, 60.0
# What Hugging Face says on its redirect about the file: its size, its SHA-256 or git hash, and the commit.
_TOLD = ("x-linked-size", "x-linked-etag", "x-repo-commit")


class Unreachable(Exception):
    """The connection failed in a way that may pass. The text says how."""


@dataclass(frozen=True)
class Answer:
    """What a server answered after redirects.

    Attributes:
        url: the address that answered.
        told: headers about the file that any server on the way has sent, by their names in lower case.
    """

    raw: urllib3.HTTPResponse
    url: str
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.raw.status

    def header(self, name: str) -> str:
        """A header; empty if it is not there."""
        return str(self.raw.headers.get(name, ""))


class Connections:
    """Connections of one command or job. Any thread may use them.

    Args:
        tokens: which host gets which token.
        any_host: also connect to addresses that are not on the public internet, and without encryption. For addresses
            that the operator has written.
        read_s: seconds that a server may stay silent.
        proxies: whether to use the proxies that the environment names. A proxy decides which hosts can be reached.
    """

    def __init__(
        self, tokens: Tokens, *, any_host: bool = False, read_s: float = _READ_S, proxies: bool = True
    ) -> None:
        self._tokens = tokens
        self._any_host, self._proxies = any_host, proxies
        self._timeout = urllib3.Timeout(connect=_CONNECT_S, read=read_s)
        self._direct = urllib3.PoolManager(num_pools=16, maxsize=16)
        if not any_host:
            self._direct.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTlsPool}

    @contextlib.contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Request ``url``, and the addresses that it leads to.

        Raises:
            FetchFailed: an address must not be asked, or there are too many redirects.
            Unreachable: the connection failed.
        """
        told: dict[str, str] = {}
        for _ in range(_MOST_REDIRECTS):
            self._check(url)
            raw = self._request(url, headers)
            try:
                told |= {name: raw.headers[name] for name in _TOLD if name in raw.headers and name not in told}
                target = raw.headers.get("Location") if raw.status in _REDIRECTS else None
                if target is None:
                    yield Answer(raw, url, told)
                    return
                url = checked_address(urljoin(url, target))
            finally:
                raw.close()  # The rest of a file is not worth the wait, so this connection is not used again.
        raise FetchFailed(f"it was redirected more than {_MOST_REDIRECTS} times")

    def _request(self, url: str, headers: Mapping[str, str]) -> urllib3.HTTPResponse:
        sent = {"User-Agent": "comfy-worker", "Accept-Encoding": "identity", **headers, **self._tokens.header(url)}
        try:
            answer = self._pool(url).request(
                "GET",
                url,
                headers=sent,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=self._timeout,
            )
            return cast(urllib3.HTTPResponse, answer)
        except (HTTPError, OSError, ValueError) as error:
            if found := _failure_in(error):
                raise found from None
            raise Unreachable(_in_words(error)) from None

    def _check(self, url: str) -> None:
        if self._any_host:
            return
        host = host_of(url)
        if is_address(host) and not is_public(host):
            raise FetchFailed(NOT_PUBLIC)
        if urlsplit(url).scheme != "https":
            raise FetchFailed("it is no https URL, so others on the way could change the file")

    def _pool(self, url: str) -> urllib3.PoolManager:
        """The connections for ``url``: through the proxy that the environment names, or direct."""
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme) if self._proxies else None
        if not proxy or urllib.request.proxy_bypass(parts.netloc):
            return self._direct
        return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}")


def _failure_in(error: BaseException | None) -> FetchFailed | None:
    """The ``FetchFailed`` that a connection raised, which urllib3 may have wrapped."""
    while error is not None:
        if isinstance(error, FetchFailed):
            return error
        error = error.__cause__ or error.__context__
    return None


def _in_words(error: Exception) -> str:
    """What failed, without addresses of this network."""
    names = {
        "ConnectTimeoutError": "its server does not answer",
        "ReadTimeoutError": "its server went silent",
        "NameResolutionError": "its host was not found; is its name right?",
        "NewConnectionError": "its server cannot be reached",
        "SSLError": "its server's certificate is not valid",
        "ProtocolError": "its server ended the connection",
        "ProxyError": "the proxy does not answer",
    }
    return names.get(type(error).__name__, f"it cannot be reached ({type(error).__name__})")


class _Public:
    """Connects to public addresses only. The name is resolved once, and what was checked is what is connected to."""

    def _new_conn(self) -> socket.socket:
        host, port = self._dns_host, self.port  # type: ignore[attr-defined]
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise FetchFailed(NOT_FOUND) from None
        if not found or not all(is_public(str(address[0])) for *_, address in found):
            raise FetchFailed(NOT_FOUND)
        problem: OSError | None = None
        for family, kind, protocol, _, address in found:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(_CONNECT_S)
            try:
                connection.connect(address)
            except OSError as error:
                connection.close()
                problem = error
            else:
                return connection
        raise urllib3.exceptions.NewConnectionError(self, str(problem))  # type: ignore[arg-type]


class _PublicConnection(_Public, HTTPConnection):
    pass


class _PublicTlsConnection(_Public, HTTPSConnection):
    pass


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTlsConnection
