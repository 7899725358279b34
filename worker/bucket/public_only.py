"""Makes sure that a bucket named by a caller is on the public internet: checks its address and each connection."""

from __future__ import annotations

import socket
from typing import Any

from worker.public_addresses import NOT_FOUND, NOT_PUBLIC, is_address, is_public


def check_host(host: str) -> None:
    """Check that every address of ``host`` is public now.

    Raises:
        ValueError: an address is not public, or the host is unknown.
    """
    text = NOT_PUBLIC if is_address(host) else NOT_FOUND
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(text) from None
    if not found or not all(is_public(str(address[0])) for *_, address in found):
        raise ValueError(text)


def connect_to_public_only(client: Any) -> None:
    """Make a boto3 client refuse every connection to an address that is not public.

    The check looks at the address that the socket is connected to. So a host name whose address has changed since the
    first check, or a redirect, is refused as well.
    """
    from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError

    class Checked:
        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()  # type: ignore[misc]
            if not is_public(str(connection.getpeername()[0])):
                connection.close()
                raise NewConnectionError(self, NOT_FOUND)  # type: ignore[arg-type]
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
