"""Joins what a log tells with what was seen from outside into the phases of one start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vllmperf.starts.result import NS_PER_S, Phase, StartupLog

REST = "unattributed"


@dataclass(frozen=True)
class Seen:
    """Instants seen from outside, on the axis of the start; None: not seen (yet)."""

    first_line_ns: int | None = None
    ready_ns: int | None = None  # first 200 on /health, or the pod's Ready
    ready_source: str = "probe"
    ready_resolution_s: float | None = None
    first_request_ns: int | None = None
    first_token_ns: int | None = None


def log_phases(log: StartupLog | None) -> list[Phase]:
    """The log's own phases; what it could not explain is found again after the join."""
    return [phase for phase in log.phases if phase.name != REST] if log else []


def imports(
    started_ns: int | None, log: StartupLog | None, seen: Seen, resolution_s: float, is_open: bool = False
) -> list[Phase]:
    """The process's start to vLLM's first line; nothing when the log's beginning is missing. Libraries may speak before:
    that is a detail. is_open: it runs, and a first line may come."""
    if started_ns is not None and is_open and log is None:
        return [Phase("imports", started_ns, None, "process", resolution_s)]
    said = log.first_log_ns if log else None
    first = said if said is not None else seen.first_line_ns
    if started_ns is None or first is None or (log is not None and log.cut_at_start):
        return []
    # A whole-second start can lie after the first line of the same second.
    end = max(first, started_ns) if started_ns - first < NS_PER_S else first
    detail = _other_lines(started_ns, seen.first_line_ns, first)
    return (
        [Phase("imports", started_ns, end, "process", resolution_s, detail=detail)]
        if end >= started_ns
        else []
    )


def _other_lines(started_ns: int, line_ns: int | None, first_ns: int) -> str | None:
    """Where libraries spoke long before vLLM."""
    if line_ns is None or first_ns - line_ns < NS_PER_S:
        return None
    return f"libraries' first line after {(line_ns - started_ns) / NS_PER_S:.1f} s"


def after_log(log: StartupLog | None, seen: Seen) -> list[Phase]:
    """From the server's `startup complete` to ready, and from there to the first token."""
    phases = []
    up = log.ready_ns if log else None
    if up is not None and seen.ready_ns is not None:
        start = min(up, seen.ready_ns)
        phases.append(Phase("ready", start, seen.ready_ns, seen.ready_source, seen.ready_resolution_s))
    if seen.ready_ns is not None and seen.first_token_ns is not None:
        phases.append(Phase("first_token", seen.ready_ns, seen.first_token_ns, "probe", 0.001))
    return phases


def end_of(seen: Seen, log: StartupLog | None) -> tuple[str, int | None]:
    """The last instant that is known, and its name."""
    if seen.first_token_ns is not None:
        return "first token", seen.first_token_ns
    if seen.ready_ns is not None:
        return "ready", seen.ready_ns
    if log is not None and log.ready_ns is not None:
        return "server up", log.ready_ns
    return "ready", None


def tail(lines: Iterable[bytes], count: int = 20) -> tuple[str, ...]:
    """The last lines as text, for evidence."""
    texts = [line.rstrip(b"\r\n").split(b"\r")[-1].decode("utf-8", "replace") for line in lines]
    return tuple(text for text in texts if text.strip())[-count:]
