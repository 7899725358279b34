"""Decides which IP addresses belong to the public internet."""

from __future__ import annotations

import ipaddress

# One text for every case, so that a caller cannot find out which names exist in the worker's own network.
NOT_PUBLIC = "its host is not on the public internet"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Counted as not public although Python's ``is_global`` may say otherwise: 6to4, Teredo, local NAT64 and
# IPv4-compatible addresses, which hold an IPv4 address inside; and ranges that no public service uses.
_NEVER_PUBLIC = [
    ipaddress.ip_network(text)
    for text in ("100.64.0.0/10", "192.88.99.0/24", "2002::/16", "2001::/32", "64:ff9b:1::/48", "::/96", "fec0::/10")
]


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet. False for a text that is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address.version == network.version and address in network for network in _NEVER_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
