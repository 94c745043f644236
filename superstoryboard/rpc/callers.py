"""Where a call comes from, as gRPC names the other end of its connection."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import unquote

import grpc

from superstoryboard.rpc.tokens import Principal, Role

IPV6_PREFIX = 64
"""Bits of an IPv6 address that one customer of a provider has for itself."""
CERTIFICATE = "x509_pem_cert"


def address_of(peer: str) -> str:
    """What callers are counted by: the IPv4 address, or the /64 of an IPv6 one; the whole text for anything else.

    `peer` is gRPC's, such as `ipv4:192.0.2.7:51044` or `ipv6:%5B2001:db8::7%5D:51044`.
    """
    kind, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False)) if kind == "ipv6" else peer


def stands_for_many(principal: Principal, context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether one address may hold the calls of many: a backend, or a client that has shown a certificate."""
    return principal.role is Role.SERVICE_ROLE or CERTIFICATE in context.auth_context()
