"""Each range of addresses that is not the public internet, and what lies beside it."""

from __future__ import annotations

import ipaddress

import pytest

from worker.public_addresses import NAT64, SPECIAL_IPV4, SPECIAL_IPV6, is_public

# IANA's registries of special-purpose addresses, as of 2025, and what is reserved without being in them.
REGISTRY = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32 224.0.0.0/4
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128
2001:1::3/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8 ::/96 ::ffff:0:0:0/96 4000::/3 e000::/4
"""
BESIDE = """
9.255.255.255 11.0.0.0 1.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.101.0
203.0.112.255 203.0.114.0 223.255.255.255 161.25.255.255 161.27.0.0 166.7.255.255 166.12.0.0 168.63.129.15
168.63.129.17 2001:200:: 2001:db7:ffff:: 2001:db9:: 2003:: 2620:4f:7fff:: 2620:4f:8001:: 3ffe:: 2600:: 2a00:1450::1
::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""
METADATA = {
    "169.254.169.254": "AWS, Azure, Google, Oracle, DigitalOcean, Hetzner and others",
    "169.254.170.2": "containers on AWS",
    "169.254.42.42": "Scaleway",
    "168.63.129.16": "Azure's host",
    "192.0.0.192": "Oracle, classic",
    "100.100.100.200": "Alibaba",
    "100.88.222.5": "Tencent",
    "161.26.0.10": "IBM, services",
    "166.9.0.1": "IBM, services",
    "fd00:ec2::254": "AWS",
    "fd00:ec2::23": "containers on AWS",
    "fd20:ce::254": "Google",
    "fd00:c1::a9fe:a9fe": "Oracle",
    "fd00:42::42": "Scaleway",
    "fe80::a9fe:a9fe": "OpenStack",
}


@pytest.mark.parametrize("text", [*REGISTRY.split(), *SPECIAL_IPV4, *SPECIAL_IPV6])
def test_no_address_of_a_special_range_is_public(text: str) -> None:
    network = ipaddress.ip_network(text)
    first, last = int(network[0]), int(network[-1])
    for number in {first, first + 1 if first < last else first, (first + last) // 2, last}:
        address = ipaddress.IPv4Address(number) if network.version == 4 else ipaddress.IPv6Address(number)
        for spelling in _spellings(address):
            assert not is_public(spelling), spelling


def _spellings(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    if isinstance(address, ipaddress.IPv6Address):
        return [str(address), address.exploded, f"{address}%eth0"]
    held = f"{int(address):08x}"
    held = f"{held[:4]}:{held[4:]}"
    return [str(address), f"::ffff:{held}", f"64:ff9b::{held}", f"::{held}", f"2002:{held}::1"]


@pytest.mark.parametrize("text", list(METADATA))
def test_no_metadata_address_is_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", BESIDE.split())
def test_what_lies_beside_a_range_is_public(text: str) -> None:
    assert is_public(text)


def test_the_prefix_that_holds_an_ipv4_address_decides_nothing() -> None:
    network = ipaddress.ip_network(NAT64)
    assert not is_public(str(network[0]))
    assert not is_public(str(network[-1]))
