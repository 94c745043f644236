"""What callers are counted by."""

import pytest

from superstoryboard.rpc.callers import address_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:51044", "192.0.2.7"),
        ("ipv4:192.0.2.7:1", "192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:51044", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:7", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:51044", "192.0.2.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:51044", "fe80::/64"),
        ("unix:/run/ingest.sock", "unix:/run/ingest.sock"),
        ("unknown", "unknown"),
    ],
)
def test_a_peer_is_counted_by_its_address(peer: str, address: str) -> None:
    assert address_of(peer) == address
