"""What the service allows: settled once, when it starts."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vllmperf import reach
from vllmperf.errors import UsageError
from vllmperf.reach import Reach

TOKEN = "VLLMPERF_TOKEN"
SHORTEST_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a request: body_bytes, json_depth, body_s and head_s, which its body and its head may take to come. Of a run: the rest,
    tokens is of each prompt and answer, points of a sweep. Of the service: streams, and connections at once."""

    body_bytes: int = 1 << 20
    json_depth: int = 32
    body_s: float = 20.0
    head_s: float = 10.0
    num_prompts: int = 10_000_000
    duration_s: float = 7 * 86_400.0
    concurrency: int = 20_000
    tokens: int = 2_000_000
    points: int = 2_000
    streams: int = 256
    connections: int = 4096


@dataclass(frozen=True, slots=True)
class Guard:
    """data: the folder that paths of requests are confined to. reach: the servers that runs may be aimed at; None: any."""

    data: Path
    is_loopback: bool = True
    token: str | None = field(default=None, repr=False)
    reach: Reach | None = None
    limits: Limits = Limits()


def guard_of(
    host: str,
    allow_targets: Sequence[str],
    data: Path,
    token: str | None,
    limits: Limits = Limits(),
) -> Guard:
    """What holds for a service that listens on this host. Raises UsageError: on other addresses than this machine's own a
    service without a token would run loads for anybody."""
    is_loopback = listens_on_loopback(host)
    if not is_loopback and not token:
        raise UsageError(
            f"--host {host} is open to others: set {TOKEN} to a secret that they must send, or listen on 127.0.0.1"
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(
            f"{TOKEN} must have at least {SHORTEST_TOKEN} printable ASCII characters: openssl rand -hex 24 makes one"
        )
    allowed = Reach.of(allow_targets) if allow_targets else reach.usual(is_loopback=is_loopback)
    return Guard(data, is_loopback, token or None, allowed, limits)


def listens_on_loopback(host: str) -> bool:
    """Whether only this machine can connect to a service on this host. A name without an address: no."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
