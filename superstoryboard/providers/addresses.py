"""Which addresses belong to the public internet. Python's own `is_global` lets several others pass."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only part of IPv6 that is routed on the public internet: all else is local, wrapped or not assigned."""
_SPECIAL = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # services of the Azure host
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments; metadata of some clouds
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    ipaddress.IPv6Network("2002::/16"),  # 6to4: an IPv4 address in disguise
    ipaddress.IPv6Network("3fff::/20"),  # documentation
)


def is_public(address: Address) -> bool:
    """True for addresses of the public internet, also where IPv6 wraps an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST:
            return False
    special = any(address.version == network.version and address in network for network in _SPECIAL)
    return address.is_global and not address.is_multicast and not special
