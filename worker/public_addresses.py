"""Which IP addresses belong to the public internet."""

from __future__ import annotations

import ipaddress

NOT_PUBLIC = "its host is not on the public internet"  # Of an address that the caller wrote.
# Of a name: one text for every case, so that a caller cannot find out which names exist in the worker's own network.
NOT_FOUND = "its host was not found on the public internet; is its name right?"

# A table of our own, since Python's ``is_global`` differs between versions. IANA's registries of special-purpose
# addresses are in it as a whole, also the ranges that routers forward: nobody offers files there.
SPECIAL_IPV4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by customers of a provider; metadata of Alibaba Cloud and Tencent Cloud",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local; metadata of most clouds",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments; metadata of Oracle Cloud",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved, with the broadcast address",
    # Addresses of providers that only their own machines reach.
    "161.26.0.0/16": "services of IBM Cloud",
    "166.8.0.0/14": "services of IBM Cloud",
    "168.63.129.16/32": "the host of an Azure machine",
}
# Addresses outside GLOBAL_IPV6 are loopback, private, link-local, multicast, or reserved.
GLOBAL_IPV6 = "2000::/3"
SPECIAL_IPV6 = {
    "2001::/23": "protocol assignments: Teredo, benchmarks, AMT, AS112, ORCHID and others",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4, which holds an IPv4 address",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
}
NAT64 = "64:ff9b::/96"  # Holds an IPv4 address, which decides.

_special = [ipaddress.ip_network(text) for text in (*SPECIAL_IPV4, *SPECIAL_IPV6)]
_global_ipv6, _nat64 = ipaddress.ip_network(GLOBAL_IPV6), ipaddress.ip_network(NAT64)


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address, and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet. False for a text that is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _nat64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif address not in _global_ipv6:
            return False
    return not any(address.version == network.version and address in network for network in _special)
