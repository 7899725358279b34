"""Where the editor listens: who reaches it there, and whether the port is free."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket

from worker.errors import StartError


def is_open(listen: str) -> bool:
    """Whether other machines may reach a server on ``listen``, ComfyUI's list of addresses with commas."""
    return not all(_is_loopback(host) for host in listen.split(","))


def check_port(listen: str, port: int) -> None:
    """Look whether ComfyUI will be able to listen, since it would find out only after its long start.

    Raises:
        StartError: the port is taken, or there is no such address.
    """
    for host in listen.split(","):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, port), family=family).close()
        except (OSError, OverflowError) as error:
            raise StartError(_reason(host, port, error)) from None


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _reason(host: str, port: int, error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"Port {port} is in use already: choose another with --port"
        case errno.EACCES:
            return f"Port {port} is not allowed to this user: choose one above 1023 with --port"
        case _:
            return f"--listen {host}: this machine has no such address"
