"""Names to addresses, once before the run, so that no look-up falls into a measurement."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from vllmperf.errors import TargetError


def addresses(url: str) -> list[str]:
    """All numeric addresses of the URL's host, IPv6 in brackets. TargetError when the name has none."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except TargetError:  # not allowed: reach.py
        raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TargetError(
            f"cannot resolve {parts.hostname!r}: {reason}; check the URL of the server"
        ) from None
    numeric = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [f"[{address}]" if ":" in address else address for address in numeric if "%" not in address]


def usable_addresses(url: str) -> list[str]:
    """Those of `addresses` that take a connection now. All of them when none does: the run will say why.

    localhost often has an IPv6 address that nobody listens on: half of the requests would be refused.
    """
    found = addresses(url)
    if len(found) < 2:
        return found
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [address for address in found if _listens(address.strip("[]"), port)] or found


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False
