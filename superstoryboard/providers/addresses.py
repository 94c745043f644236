"""Which addresses belong to the public internet, by a table of our own.

Python's `is_global` changes from version to version, and lets several addresses pass that lead inwards. The table has
IANA's registries of special-purpose addresses, and what clouds put beside them.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only part of IPv6 that is routed on the public internet: all else is local, wrapped or not assigned."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Outside of `UNICAST`, and as public as the IPv4 address in its last 32 bits: networks of IPv6 alone need it."""
ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Upper half of an interface's part of an IPv6 address, whose lower half then is an IPv4 address inside a site."""
_LOW_32_BITS = 0xFFFF_FFFF

NOT_PUBLIC: dict[Network, str] = {
    ipaddress.ip_network(network): use
    for network, use in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by customers of a provider; metadata of some clouds"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "services of the Azure host"),
        ("169.254.0.0/16", "link-local; metadata of most clouds"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments; metadata of some clouds"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "relays of 6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
        ("2001::/23", "protocol assignments: Teredo, benchmarks, ORCHID"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4: an IPv4 address in disguise"),
        ("3fff::/20", "documentation"),
    )
}


def is_public(address: Address) -> bool:
    """True for addresses of the public internet, also where IPv6 wraps an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & _LOW_32_BITS))
        if address not in UNICAST or int(address) >> 32 & _LOW_32_BITS in ISATAP:
            return False
    return not any(address.version == network.version and address in network for network in NOT_PUBLIC)
