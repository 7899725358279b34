"""Fetches the input files that a caller names by URL, from public addresses only.

A host name is resolved once, by ``_PublicResolver``, which checks its addresses. The connection goes to one of them.
So a name cannot lead to another address after the check. Redirects are followed here, and each target is checked, too.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from worker.errors import FetchFailed
from worker.public_addresses import NOT_FOUND, NOT_PUBLIC, is_address, is_public

_NUMERIC = re.compile(r"[0-9a-fx.]*[0-9][0-9a-fx.]*", re.IGNORECASE)
_MAX_REDIRECTS = 5
_MAX_FILES = 64
_TIMEOUT_S = 60.0
_CHUNK = 256 * 1024
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class FetchLimits:
    """``max_bytes``: largest size of one file. ``total_bytes``: largest size of all files together.

    ``seconds``: longest time for one file, including the look-up of its host's name and redirects.
    """

    max_bytes: int
    seconds: float = _TIMEOUT_S
    total_bytes: int = 1_000_000_000


class _Budget:
    """``left``: bytes that a job may still fetch."""

    def __init__(self, left: int) -> None:
        self.left = left


def fetch_all(urls: Mapping[str, str], limits: FetchLimits) -> dict[str, bytes | FetchFailed]:
    """Fetch several files at once. Blocks: call it on a thread that runs no event loop.

    Args:
        urls: the URL of each file by its name.
        limits: how large the files may be, and how long they may take.

    Returns:
        Each file's bytes by its name, or the reason why it was not fetched.
    """
    if len(urls) > _MAX_FILES:
        return dict.fromkeys(urls, FetchFailed(f"a job may have {_MAX_FILES} URLs, and this one has {len(urls)}"))
    budget = _Budget(limits.total_bytes)

    async def main() -> dict[str, bytes | FetchFailed]:
        connector = aiohttp.TCPConnector(resolver=_PublicResolver(), use_dns_cache=False, limit=8)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False) as session:
            contents = await asyncio.gather(*(_fetched(session, url, limits, budget) for url in urls.values()))
        return dict(zip(urls, contents, strict=True))

    return asyncio.run(main())


async def _fetched(
    session: aiohttp.ClientSession, url: str, limits: FetchLimits, budget: _Budget
) -> bytes | FetchFailed:
    try:
        async with asyncio.timeout(limits.seconds):
            return await _fetch(session, _parsed(url), limits.max_bytes, budget)
    except FetchFailed as failed:
        return failed
    except TimeoutError:
        return FetchFailed(f"it did not come within {limits.seconds:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None:  # aiohttp wraps what the resolver raised.
            if isinstance(cause, FetchFailed):
                return cause
            cause = cause.__cause__ or cause.__context__
        return FetchFailed(f"it cannot be fetched ({type(error).__name__})")


async def _fetch(session: aiohttp.ClientSession, url: URL, max_bytes: int, budget: _Budget) -> bytes:
    for _ in range(_MAX_REDIRECTS + 1):
        _check_host(url)
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


def _check_host(url: URL) -> None:
    """Check a host that is an IP address: aiohttp connects to it without asking the resolver.

    Raises:
        FetchFailed: the address is not public.
    """
    host = url.host or ""
    # Python does not take 0x7f.1 for an address, but some resolvers do.
    is_numeric = is_address(host) or _NUMERIC.fullmatch(host)
    if is_numeric and not is_public(host):
        raise FetchFailed(NOT_PUBLIC)


class _PublicResolver(AbstractResolver):
    """Resolves names as the system does. It refuses a name if any of its addresses is not public."""

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
            raise FetchFailed(NOT_FOUND) from None
        addresses = [(str(address[0]), kind) for kind, _, _, _, address in found]
        if not addresses or not all(is_public(address) for address, _ in addresses):
            raise FetchFailed(NOT_FOUND)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for address, kind in addresses
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
