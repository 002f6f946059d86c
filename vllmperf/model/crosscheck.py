"""Does what was seen add up? Requests in flight three ways: from their own times, by Little's law, and by the server.
And steps that took longer than the work in them that is known of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.arrivals import NONE, Arrivals
from vllmperf.model.steps import Steps

EDGE = 0.125
"""Share of a run that is ramp or drain, at each end."""
LONG = 10
"""Little's law is held against windows of so many times the latency at least: its edges weigh too much in others."""
OFF = 0.1
LEAST = 1.0
"""A difference counts when it is more than this share, and more than one request."""
LONGER, DEVIATIONS = 0.08, 6.0
"""A step is too long for what it holds when it takes this share more than the law says, and so many deviations."""
MADE_UP = 0.6
"""A step that was only seen late is made up for by a neighbour. One that really was longer keeps this part of it in the sum
with either."""
TOO_OFTEN = 0.02
"""Of the steps of a server without other clients no more than 0.5 % were too long, on a busy machine too."""
LEAST_STEPS = 200


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
        why = (
            f"it has other clients; alpha and gamma hold beta times their {server_running - seen.counted:.1f}"
            if more
            else "requests wait in its queue, or before it"
        )
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


def strangers(runs: Sequence[Steps], alpha_ms: float, beta_ms: float) -> list[str]:
    """A sentence (else none) when steps that hold nothing but our decodes too often take longer than those do, as a prompt
    of another client makes them. Steps that stood still are marked before and do not count."""
    parts = [_too_long(run, alpha_ms, beta_ms) for run in runs]
    found = np.concatenate(parts) if parts else np.zeros(0, dtype=bool)
    if len(found) < LEAST_STEPS or found.mean() <= TOO_OFTEN:
        return []
    return [
        f"{found.mean():.1%} of the steps that held no prompt of ours took longer than their batch does, as prompts of "
        "another client make them: alpha and gamma then hold its part; measure the server without it"
    ]


def _too_long(run: Steps, alpha_ms: float, beta_ms: float) -> NDArray[np.bool_]:
    """Of the pure steps that lie between two others."""
    pure = run.pure
    rows = np.flatnonzero(pure[:-2] & pure[1:-1] & pure[2:]) + 1
    if len(rows) == 0:
        return np.zeros(0, dtype=bool)
    over = run.duration_ns / 1e6 / (alpha_ms + beta_ms * run.decodes) - 1
    here, before, after = over[rows], over[rows - 1], over[rows + 1]
    deviation = 1.4826 * float(np.median(np.abs(here - np.median(here))))
    long = here > max(DEVIATIONS * deviation, LONGER)
    return np.asarray(long & (here + before > MADE_UP * here) & (here + after > MADE_UP * here))
