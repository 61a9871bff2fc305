"""Which addresses a server may connect to because somebody outside says so."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER_4 = [
    ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3")
]
"""Besides what Python calls not global: protocol assignments, the 6to4 relays, and multicast with
all above it."""
UNICAST_6 = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out to be reached. Outside lie mapped (`::ffff:`), compatible and translated
(`64:ff9b::`) IPv4 addresses, link-local, unique local, site-local and multicast ones."""
NEVER_6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
"""Inside of that: protocol assignments with Teredo, documentation, and 6to4, which hides an IPv4
address."""


def is_public(address: Address) -> bool:
    """Return whether an address is one of the open internet, by IANA's special-purpose registries.

    RFC 6890 and its successors.
    """
    if not address.is_global:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in NEVER_4)
    return address in UNICAST_6 and not any(address in network for network in NEVER_6)


def refused(addresses: Iterable[Address], also: Iterable[Network]) -> list[Address]:
    """Return the addresses that are neither public nor in one of the networks `also`."""
    networks = list(also)
    return [
        address
        for address in addresses
        if not is_public(address) and not any(address in network for network in networks)
    ]
