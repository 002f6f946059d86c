"""Does what was seen add up? Requests in flight three ways: from their own times, by Little's law, and by the server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vllmperf.model.arrivals import NONE, Arrivals

EDGE = 0.125
"""Share of a run that is ramp or drain, at each end."""
LONG = 10
"""Little's law is held against windows of so many times the latency at least: its edges weigh too much in others."""
OFF = 0.1
LEAST = 1.0
"""A difference counts when it is more than this share, and more than one request."""


@dataclass(frozen=True)
class InFlight:
    """counted: mean over time between sending and last token. little: throughput times mean time in the system, of those
    that ended within the window. Both of the middle of the run; None when nothing ended there."""

    counted: float | None
    little: float | None


def in_flight(arrivals: Arrivals) -> InFlight:
    """From the requests that got a token."""
    last = np.full(len(arrivals.sent_ns), -np.inf)
    np.maximum.at(last, arrivals.stream, arrivals.at_ns)
    known = np.isfinite(last) & (arrivals.sent_ns != NONE)
    if not known.any():
        return InFlight(None, None)
    sent, last = arrivals.sent_ns[known].astype(np.float64), last[known]
    span = last.max() - sent.min()
    low, high = sent.min() + EDGE * span, last.max() - EDGE * span
    if high <= low:
        return InFlight(None, None)
    inside = np.clip(np.minimum(last, high) - np.maximum(sent, low), 0, None)
    ended = (last >= low) & (last < high)
    if not ended.any() or high - low < LONG * np.mean((last - sent)[ended]):
        return InFlight(float(inside.sum() / (high - low)), None)
    little = float(ended.sum() * np.mean((last - sent)[ended]) / (high - low))
    return InFlight(float(inside.sum() / (high - low)), little)


def contradiction(label: str, seen: InFlight, server_running: float | None) -> str | None:
    """What does not add up, in one sentence; None when all does."""
    if seen.counted is None:
        return None
    if server_running is not None and _apart(server_running, seen.counted):
        more = server_running > seen.counted
        why = "it has other clients" if more else "requests wait in its queue, or before it"
        return (
            f"{label}: the server says {server_running:.1f} requests were running, {seen.counted:.1f} were in flight "
            f"here: {why}"
        )
    if seen.little is not None and _apart(seen.little, seen.counted):
        return (
            f"{label}: throughput times latency is {seen.little:.1f}, but {seen.counted:.1f} requests were in flight: "
            "the run was not in a steady state; make it longer"
        )
    return None


def _apart(one: float, other: float) -> bool:
    return abs(one - other) > max(LEAST, OFF * max(one, other))
