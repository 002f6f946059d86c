"""What collectors put around a log: kubectl, container runtimes, compose, journald, GitHub Actions, Loki, Cloud Logging."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Sent:
    """One line as the collector got it: bytes up to the line end, when, on which stream."""

    wall_ns: int
    stream: str
    data: bytes  # without "\n"

    @property
    def text(self) -> str:
        return self.data.decode()

    def stamp(self, digits: int, zone: str = "Z") -> str:
        """UTC as `2026-04-15T07:11:53.123456789Z` with that many digits behind the point."""
        time = datetime.fromtimestamp(self.wall_ns // NS_PER_S, UTC)
        fraction = f".{self.wall_ns % NS_PER_S:09d}"[: digits + 1] if digits else ""
        return f"{time:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"


def _kubectl(sent: Sent) -> bytes:
    return f"{sent.stamp(9)} ".encode() + sent.data


def _kubectl_prefix(sent: Sent) -> bytes:
    return b"[pod/vllm-7d9c/server] " + sent.data


def _kubectl_prefix_stamp(sent: Sent) -> bytes:
    return b"[pod/vllm-7d9c/server] " + _kubectl(sent)


def _cri(sent: Sent) -> bytes:
    return f"{sent.stamp(9)} {sent.stream} F ".encode() + sent.data


def _docker(sent: Sent) -> bytes:
    entry = {"log": sent.text + "\n", "stream": sent.stream, "time": sent.stamp(9)}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


def _compose(sent: Sent) -> bytes:
    return b"vllm-1  | " + sent.data


def _compose_stamp(sent: Sent) -> bytes:
    return b"vllm-1  | " + _kubectl(sent)


def _journald(sent: Sent) -> bytes:
    time = datetime.fromtimestamp(sent.wall_ns // NS_PER_S, UTC)
    return f"{time:%b %d %H:%M:%S} node-1 vllm[4711]: ".encode() + sent.data


def _journald_iso(sent: Sent) -> bytes:
    return f"{sent.stamp(6, '+00:00')} node-1 vllm[4711]: ".encode() + sent.data


def _github(sent: Sent) -> bytes:
    return f"{sent.stamp(7)} ".encode() + sent.data


def _loki(sent: Sent) -> bytes:
    entry = {"labels": {"app": "vllm", "pod": "vllm-0"}, "line": sent.text, "timestamp": sent.stamp(9)}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


def _cloud(sent: Sent) -> bytes:
    entry = {
        "insertId": f"{sent.wall_ns:x}",
        "labels": {"k8s-pod/app": "vllm"},
        "logName": f"projects/p/logs/{sent.stream}",
        "resource": {"type": "k8s_container", "labels": {"pod_name": "vllm-0"}},
        "severity": "ERROR" if sent.stream == "stderr" else "INFO",
        "textPayload": sent.text,
        "timestamp": sent.stamp(9),
    }
    return json.dumps(entry, ensure_ascii=False).encode()


def _none(sent: Sent) -> bytes:
    return sent.data


@dataclass(frozen=True)
class Envelope:
    """A form, and what it tells of time: its digits behind the second, None when it has no stamp with a year."""

    wrap: Callable[[Sent], bytes]
    digits: int | None = None


ENVELOPES: dict[str, Envelope] = {
    "none": Envelope(_none),
    "kubectl": Envelope(_kubectl, 9),
    "kubectl-prefix": Envelope(_kubectl_prefix),
    "kubectl-prefix-stamp": Envelope(_kubectl_prefix_stamp, 9),
    "cri": Envelope(_cri, 9),
    "docker": Envelope(_docker, 9),
    "compose": Envelope(_compose),
    "compose-stamp": Envelope(_compose_stamp, 9),
    "journald": Envelope(_journald),
    "journald-iso": Envelope(_journald_iso, 6),
    "github": Envelope(_github, 7),
    "loki": Envelope(_loki, 9),
    "cloud": Envelope(_cloud, 9),
}
