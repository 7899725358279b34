"""Fetching from addresses that a caller names, without reaching anything that is not public.

Names are resolved once, by ``PublicResolver``; the connection goes to what it found and to nothing else, so a name
cannot point elsewhere the second time it is asked for. Redirects are followed by hand, each under the same rules.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from worker.errors import FetchFailed

# One text for all cases: which names there are inside is nobody's business.
_NOT_PUBLIC = "its host is not on the public internet"
_NUMERIC = re.compile(r"[0-9a-fx.]*[0-9][0-9a-fx.]*", re.IGNORECASE)
_MAX_REDIRECTS = 5
_MAX_FILES = 64
_TIMEOUT_S = 60.0
_CHUNK = 256 * 1024
_REDIRECTS = {301, 302, 303, 307, 308}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Forms that hold an IPv4 address of their own (6to4, Teredo, local NAT64, IPv4-compatible), or are of no use to anyone.
_NEVER = [
    ipaddress.ip_network(text)
    for text in ("100.64.0.0/10", "192.88.99.0/24", "2002::/16", "2001::/32", "64:ff9b:1::/48", "::/96", "fec0::/10")
]


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet, whatever it is written as."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address.version == network.version and address in network for network in _NEVER):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class PublicResolver(AbstractResolver):
    """Resolves names as the system does, and refuses those that lead to any address that is not public."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=socket.AF_UNSPEC)
        except (OSError, UnicodeError):
            raise FetchFailed(_NOT_PUBLIC) from None
        addresses = [(str(address[0]), kind) for kind, _, _, _, address in found]
        if not addresses or not all(is_public(address) for address, _ in addresses):
            raise FetchFailed(_NOT_PUBLIC)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for address, kind in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Limits:
    """``max_bytes`` of one file, ``total_bytes`` of all; ``seconds`` for one, from the first name to the last byte."""

    max_bytes: int
    seconds: float = _TIMEOUT_S
    total_bytes: int = 1_000_000_000


class _Budget:
    """Bytes that a job may still fetch."""

    def __init__(self, left: int) -> None:
        self.left = left


def fetch_all(urls: Mapping[str, str], limits: Limits) -> dict[str, bytes | FetchFailed]:
    """Fetch several files at once; by their names, each its bytes or why there are none. Not for an event loop."""

    if len(urls) > _MAX_FILES:
        return dict.fromkeys(urls, FetchFailed(f"a job may have {_MAX_FILES} URLs, and this one has {len(urls)}"))
    budget = _Budget(limits.total_bytes)

    async def main() -> dict[str, bytes | FetchFailed]:
        connector = aiohttp.TCPConnector(resolver=PublicResolver(), use_dns_cache=False, limit=8)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False) as session:
            contents = await asyncio.gather(*(_fetched(session, url, limits, budget) for url in urls.values()))
        return dict(zip(urls, contents, strict=True))

    return asyncio.run(main())


async def _fetched(session: aiohttp.ClientSession, url: str, limits: Limits, budget: _Budget) -> bytes | FetchFailed:
    try:
        async with asyncio.timeout(limits.seconds):
            return await _fetch(session, _parsed(url), limits.max_bytes, budget)
    except FetchFailed as failed:
        return failed
    except TimeoutError:
        return FetchFailed(f"it did not come within {limits.seconds:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None:  # The resolver's refusal comes wrapped.
            if isinstance(cause, FetchFailed):
                return cause
            cause = cause.__cause__ or cause.__context__
        return FetchFailed(f"it cannot be fetched ({type(error).__name__})")


async def _fetch(session: aiohttp.ClientSession, url: URL, max_bytes: int, budget: _Budget) -> bytes:
    for _ in range(_MAX_REDIRECTS + 1):
        check_host(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "comfy-worker"}
        async with session.get(url, allow_redirects=False, headers=headers) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                url = _parsed(str(url.join(URL(response.headers["Location"]))))
                continue
            if response.status != 200:
                raise FetchFailed(f"its server answered {response.status}")
            return await _read(response, max_bytes, budget)
    raise FetchFailed(f"it was redirected more than {_MAX_REDIRECTS} times")


async def _read(response: aiohttp.ClientResponse, max_bytes: int, budget: _Budget) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        content += chunk
        budget.left -= len(chunk)
        if len(content) > max_bytes:
            raise FetchFailed(f"it has more than {max_bytes / 1e6:.1f} MB")
        if budget.left < 0:
            raise FetchFailed("the files of this job are too large together")
    return bytes(content)


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise FetchFailed("it is no valid URL") from None
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise FetchFailed("it is no http(s) URL")
    return url


def check_host(url: URL) -> None:
    """Addresses that stand in the URL itself never come before the resolver.

    Raises:
        FetchFailed: it is one that is not public.
    """
    host = url.host or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if _NUMERIC.fullmatch(host):  # Other ways to write an address, which some would read as one.
            raise FetchFailed(_NOT_PUBLIC) from None
        return
    if not is_public(host):
        raise FetchFailed(_NOT_PUBLIC)


def check_endpoint(endpoint: str) -> None:
    """See that every address of ``endpoint``'s host is public, now.

    Raises:
        ValueError: one is not, or the host is not known.
    """
    host = URL(endpoint).host or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(_NOT_PUBLIC) from None
    if not found or not all(is_public(str(address[0])) for *_, address in found):
        raise ValueError(_NOT_PUBLIC)


def connect_to_public_only(client: Any) -> None:
    """Let a boto3 client send nothing to an address that is not public, whatever name led there and whenever."""
    from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError

    class Checked:
        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()  # type: ignore[misc]
            if not is_public(str(connection.getpeername()[0])):
                connection.close()
                raise NewConnectionError(self, _NOT_PUBLIC)  # type: ignore[arg-type]
            return connection

    plain = type("Plain", (Checked, AWSHTTPConnection), {})
    tls = type("Tls", (Checked, AWSHTTPSConnection), {})
    pools = {
        "http": type("PlainPool", (AWSHTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("TlsPool", (AWSHTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
    session = client._endpoint.http_session
    session._pool_classes_by_scheme = pools
    session._manager.pool_classes_by_scheme = pools
