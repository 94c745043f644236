"""Which addresses count as public: each range by its edges, and no fewer than Python refuses."""

from __future__ import annotations

import ipaddress
import itertools
import random

import pytest

from superstoryboard.providers.addresses import NOT_PUBLIC, UNICAST, Address, is_public

SAMPLES = 20_000
PUBLIC = (
    *(
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
    ),
    *(
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
    ),
    *("192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"),
    *("198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "2606:4700::1111", "3ffe:ffff::", "3fff:1000::"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::5eff:808:808", "2606:4700:0:5efe::1"),
)
INWARD = (
    *("0.0.0.1", "10.0.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.169.254"),
    *("172.31.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.19.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    "0.0.0.2",
)
WRAPS = (
    "::ffff:{}",
    "64:ff9b::{}",
    "64:ff9b:1::{}",
    "::{}",
    "::ffff:0:{}",
    "2606:4700::5efe:{}",
    "2606:4700::200:5efe:{}",
    "fe80::5efe:{}",
)
OTHERS = (
    *("::", "::1", "100::1", "100:0:0:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "feff::1"),
    *(
        "ff02::1",
        "ff0e::1",
        "5f00::1",
        "4000::1",
        "1fff:ffff::",
        "a000::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
    ),
    *(
        "2001:1::1",
        "2001:3::1",
        "2001:4:112::1",
        "2001:1ff:ffff::",
        "2001:db8::1",
        "2001:db8:ffff::",
        "3fff::1",
        "3fff:fff:ffff::",
    ),
    *("2606:4700::5efe:808:808", "2606:4700::200:5efe:808:808", "64:ff9b:1::808:808", "::808:808"),
)


@pytest.mark.parametrize("text", PUBLIC)
def test_neighbours_of_special_ranges_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", [*INWARD, *OTHERS])
def test_what_leads_inwards_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("wrap", WRAPS)
def test_an_inward_address_stays_one_in_every_wrap(wrap: str) -> None:
    for inner in INWARD:
        assert not is_public(ipaddress.ip_address(wrap.format(inner))), inner


def test_6to4_and_teredo_are_not_public_whatever_they_wrap() -> None:
    for inner in (*INWARD, "8.8.8.8"):
        number = int(ipaddress.IPv4Address(inner))
        assert not is_public(ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 1))
        assert not is_public(ipaddress.IPv6Address(0x2001_0000 << 96 | number ^ 0xFFFF_FFFF))


@pytest.mark.parametrize("network", NOT_PUBLIC, ids=str)
def test_a_range_is_refused_from_its_first_address_to_its_last(network: ipaddress.IPv4Network) -> None:
    assert not any(is_public(address) for address in (network[0], network[-1], network[network.num_addresses // 2]))


def samples() -> list[Address]:
    """Addresses at the edges of every range that this Python knows, and others at random."""
    chance = random.Random(1)
    constants = (ipaddress._IPv4Constants, ipaddress._IPv6Constants)  # type: ignore[attr-defined]
    networks = [*itertools.chain(*(kind._private_networks for kind in constants)), *NOT_PUBLIC]
    edges: list[Address] = [address for network in networks for address in (network[0], network[-1])]
    fours = [ipaddress.IPv4Address(chance.getrandbits(32)) for _ in range(SAMPLES)]
    sixes = [ipaddress.IPv6Address(int(UNICAST[0]) | chance.getrandbits(125)) for _ in range(SAMPLES)]
    anywhere = [ipaddress.IPv6Address(chance.getrandbits(128)) for _ in range(SAMPLES)]
    inside = [network[chance.randrange(network.num_addresses)] for network in networks for _ in range(20)]
    return [*edges, *inside, *fours, *sixes, *anywhere]


def test_nothing_is_public_that_python_refuses() -> None:
    wrapped = ("64:ff9b::/96", "::ffff:0:0/96")
    for address in samples():
        if is_public(address) and not any(
            address in ipaddress.ip_network(net) for net in wrapped if address.version == 6
        ):
            assert address.is_global, address
            assert not address.is_multicast, address
