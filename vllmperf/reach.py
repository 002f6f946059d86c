"""Which servers a process may reach: decided by address, after a name was looked up, and held for every way out.

A `Reach` is a list of rules; `limit(reach)` holds the whole process to one, for good. From then on
- a name is looked up once: whoever asks again gets the same addresses, so an answer cannot change between check and use;
- every socket that Python connects (questions to servers, the hub, scrapes, uploads) is checked by address and port;
- an engine connects to nothing but the addresses that it was given (`for_engine`), wherever a redirect leads.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vllmperf.errors import TargetError, UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")
CLUSTER = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", *LOOPBACK)
"""Private networks (RFC 1918, 4193), the shared one that clusters use as well (RFC 6598), and this machine."""
HUB = ("huggingface.co:443", "*.huggingface.co:443", "*.hf.co:443")
GROUPS = {"cluster": CLUSTER, "hub": HUB}
"""Words of an allow-list that stand for several rules."""
NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",  # link-local: cloud metadata, credentials of ECS and EKS
            "fe80::/10",
            "fd00:ec2::/32",  # AWS' services of an instance
            "fd20:ce::254/128",  # Google's metadata
            "100.100.100.200/32",  # Alibaba's
            "168.63.129.16/32",  # Azure's
            "192.0.0.192/32",  # Oracle's
            "0.0.0.0/8",  # this machine by another name
            "::/128",
            "224.0.0.0/4",
            "ff00::/8",
            "240.0.0.0/4",
        ),
    )
)
"""Not reached by a wider network or by a name: only by a rule for such a network or a part of it."""
CARRIES_IPV4 = ((ipaddress.IPv6Network("64:ff9b::/96"), 0), (ipaddress.IPv6Network("2002::/16"), 80))
"""IPv6 networks whose addresses lead to an IPv4 address (NAT64, 6to4), and how far from the right it stands."""
ANY_PORT = (1, 65535)
FORMS = "HOST, HOST:PORT, *.SUFFIX:PORT, NETWORK/BITS:PORT, [IPV6]:PORT, cluster, hub, or *"


class NotAllowedError(TargetError, OSError):
    """A server that this process must not reach. An OSError, so that whoever connects takes it for a failed attempt."""


class Rule(NamedTuple):
    """One entry of an allow-list: a network, a name, the end of names (".svc"), or all (neither); and ports."""

    text: str
    networks: tuple[Network, ...] = ()
    name: str = ""
    ports: tuple[int, int] = ANY_PORT

    @classmethod
    def of(cls, text: str) -> Rule:
        """Raises UsageError for what is no rule. The host of a URL counts, its path does not."""
        given = text.strip()
        try:
            host, ports = _host_and_ports(
                given.rpartition("://")[2].split("/")[0] if "://" in given else given
            )
            if host == "*":
                return cls(text, ports=ports)
            if host == "localhost":
                return cls(text, tuple(map(ipaddress.ip_network, LOOPBACK)), ports=ports)
            if networks := _networks(host):
                return cls(text, networks, ports=ports)
            return cls(text, name=_checked_name(host), ports=ports)
        except ValueError as error:
            raise UsageError(f"--allow-target {text!r} is no target ({error}): give {FORMS}") from None

    def fits(self, address: Address, port: int, names: Iterable[str]) -> bool:
        """Does it allow this address, which these names led to? Port 0: at any port."""
        if port and not self.ports[0] <= port <= self.ports[1]:
            return False
        if self.networks:
            return any(address in network for network in self.networks)
        # who answers for a name must not make it mean this machine
        return not self.name or (not address.is_loopback and any(map(self._is_of, names)))

    def lists(self, special: Network) -> bool:
        """Is it for a network of NEVER or a part of it?"""
        return any(
            each.version == special.version and each.subnet_of(special)  # type: ignore[arg-type]
            for each in self.networks
        )

    def _is_of(self, name: str) -> bool:
        return name.endswith(self.name) if self.name.startswith(".") else name == self.name

    def names(self, host: str, port: int) -> bool:
        """Does it allow this name, whatever its addresses?"""
        return self.fits(ipaddress.IPv4Address("192.0.2.1"), port, [_plain_name(host)]) and not self.networks


def _host_and_ports(text: str) -> tuple[str, tuple[int, int]]:
    host, colon, ports = text.rpartition(":")
    if "]" in ports or (not text.startswith("[") and text.count(":") > 1) or not colon:
        host, ports = text, ""  # IPv6 without a port, or no port
    host = host.strip("[]").rstrip(".").lower()
    if not host:
        raise ValueError("it has no host")
    if not ports:
        return host, ANY_PORT
    first, dash, last = ports.partition("-")
    found = int(first), int(last if dash else first)
    if not 1 <= found[0] <= found[1] <= 65535:
        raise ValueError(f"{ports} is no port")
    return host, found


def _networks(host: str) -> tuple[Network, ...]:
    try:
        return (ipaddress.ip_network(host, strict=False),)
    except ValueError:
        if "/" in host or ":" in host or host.replace(".", "").isdigit():
            raise
        return ()


def _checked_name(host: str) -> str:
    name = host.removeprefix("*")
    if "*" in name or (host.startswith("*") and not name.startswith(".")):
        raise ValueError("* stands alone or before a suffix: *.svc")
    if not all(letter.isalnum() or letter in "-_." for letter in name):
        raise ValueError("it is neither a name nor an address")
    return _plain_name(name)


def _plain_name(host: str) -> str:
    """As it is compared: in lower case, without the dot of the root, international names as the DNS has them."""
    name = host.rstrip(".").lower()
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


class Reach(NamedTuple):
    """An allow-list. No rule: nothing may be reached."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Reach:
        """Raises UsageError for what is no rule."""
        words = (word.strip() for text in texts for word in text.split(",") if word.strip())
        return cls(tuple(Rule.of(each) for word in words for each in GROUPS.get(word, (word,))))

    def __str__(self) -> str:
        return ",".join(rule.text for rule in self.rules)

    def allows(self, address: str, port: int = 0, names: Iterable[str] = ()) -> bool:
        """Whether a numeric address, which these names led to, may be reached. Port 0: at any port."""
        seen, known = _views(address), list(names)
        for special in NEVER:
            if any(view in special for view in seen) and not any(rule.lists(special) for rule in self.rules):
                return False
        return any(rule.fits(view, port, known) for view in seen for rule in self.rules)

    def names(self, host: str, port: int) -> bool:
        """Whether a name is listed as a name."""
        return any(rule.names(host, port) for rule in self.rules)

    def checked(self, host: str, addresses: Iterable[str], port: int) -> list[str]:
        """Those of a name's addresses that may be reached. Raises NotAllowedError when none may."""
        found = list(addresses)
        allowed = [each for each in found if self.allows(each, port, [_plain_name(host)])]
        if found and not allowed:
            raise self.refused(host, port, found)
        return allowed

    def check_url(self, url: str) -> None:
        """Looks the host up and checks it, for an early answer. Raises NotAllowedError; what has no address passes."""
        parts = urlsplit(url)
        host, port = (
            (parts.hostname or "").rstrip("."),
            parts.port or (443 if parts.scheme == "https" else 80),
        )
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        self.checked(host, dict.fromkeys(str(entry[4][0]) for entry in entries), port)

    def refused(self, host: str, port: int, addresses: Iterable[str] = ()) -> NotAllowedError:
        others = [each for each in addresses if each != host]
        where = f" ({', '.join(others)})" if others else ""
        place = f"[{host}]" if ":" in host else host
        return NotAllowedError(
            f"{place}:{port}{where} is not among the targets that this service may reach: "
            "list it with --allow-target"
        )


def _views(address: str) -> list[Address]:
    """An address, and the IPv4 address that it leads to."""
    found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return [found]
    if found.ipv4_mapped:
        return [found.ipv4_mapped]
    behind = [right for network, right in CARRIES_IPV4 if found in network]
    return [found, *(ipaddress.IPv4Address((int(found) >> right) & 0xFFFFFFFF) for right in behind)]


# ---- the whole process ----


class _Gate:
    """Holds a process to a reach: what names led to, and the checks."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._look_up = socket.getaddrinfo
        self._addresses: dict[str, list[str]] = {}
        self._names: dict[str, set[str]] = {}
        self._own: set[tuple[str, int]] = set()

    def include(self, host: str, port: int) -> None:
        """A server of this process."""
        self._own.update((address, port) for address in self._addresses_of(host))

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 as in socket
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """In the place of socket.getaddrinfo: once for each name, and without the addresses that are not allowed."""
        if host is None:
            return self._look_up(host, port, family, type, proto, flags)
        name = host.decode() if isinstance(host, bytes) else str(host)
        found = [
            entry
            for address in self._addresses_of(name)
            for entry in self._numeric(address, port, family, type, proto, flags)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "it has no address of the kind that is asked for")
        own = [entry for entry in found if entry[4][:2] in self._own]
        if own:
            return own
        allowed = set(self.reach.checked(name, {entry[4][0] for entry in found}, int(found[0][4][1])))
        return [entry for entry in found if entry[4][0] in allowed]

    def _addresses_of(self, name: str) -> list[str]:
        known = _plain_name(name)
        if known not in self._addresses:
            entries = self._look_up(name, None, type=socket.SOCK_STREAM)
            self._addresses[known] = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
            for address in self._addresses[known]:
                self._names.setdefault(address, set()).add(known)
        return self._addresses[known]

    def _numeric(self, address: str, port: Any, family: int, kind: int, proto: int, flags: int) -> list[Any]:
        try:
            return self._look_up(address, port, family, kind, proto, flags | socket.AI_NUMERICHOST)
        except socket.gaierror:  # of another family
            return []

    def allows(self, address: str, port: int) -> bool:
        is_own = (address, port) in self._own
        return is_own or self.reach.allows(address, port, self._names.get(address, ()))

    def watch(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook: sees every address that Python is about to connect or send to."""
        if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            return
        connection, address = args[0], args[1]
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or not address:
            return
        host, port = str(address[0]), int(address[1])
        try:
            is_allowed = self.allows(host, port)
        except ValueError:  # a name: what it would mean now is not what was checked
            is_allowed = False
        if not is_allowed:
            raise self.reach.refused(host, port)


_held: list[_Gate] = []
"""The gate of this process, once there is one: an audit hook is for good, and so is this."""


def limit(reach: Reach) -> None:
    """Hold this process to a reach, for good. Raises RuntimeError the second time."""
    if _held:
        raise RuntimeError("this process is held to a reach already")
    gate = _Gate(reach)
    _held.append(gate)
    socket.getaddrinfo = gate.getaddrinfo
    sys.addaudithook(gate.watch)


def is_limited() -> bool:
    return bool(_held)


def include(host: str, port: int) -> None:
    """This process listens there itself: it may reach that, whatever it is held to."""
    if _held:
        _held[0].include(host, port)


def for_engine(config: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's configuration that keeps to this process' reach. Raises NotAllowedError."""
    if not _held:
        return dict(config)
    parts = urlsplit(str(config["url"]))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for address in config["addresses"]:
        if not _held[0].allows(address.strip("[]"), port):
            raise _held[0].reach.refused(parts.hostname or "", port, [address])
    return {**config, "only_port": port}


def usual(*, is_loopback: bool) -> Reach | None:
    """Without --allow-target: who is on this machine can reach anything anyway (None); others this machine and cluster."""
    return None if is_loopback else Reach.of(CLUSTER)
