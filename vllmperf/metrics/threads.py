"""The lags of each of the client's threads, and which of them is late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import vllmperf._engine as _engine
from vllmperf.metrics.statistics import describe_histogram
from vllmperf.numbers import brief

LAGS = {"schedule_lag_ms": "schedule_lag", "client_lag_ms": "client_lag", "loop_ms": "loop"}
LATE = 2.0
"""A thread is late when its p99 is more than so many times that of the thread in the middle."""


def by_thread(
    histograms: Mapping[str, _engine.Histogram], percentiles: Sequence[float]
) -> list[dict[str, Any]] | None:
    """A row a thread, in ms; None where there is only one, or nothing is known of each."""
    numbers = sorted(int(name.removeprefix("loop.")) for name in histograms if name.startswith("loop."))
    return [
        {"thread": number}
        | {
            key: describe_histogram(histograms.get(f"{name}.{number}"), percentiles)
            for key, name in LAGS.items()
        }
        for number in numbers
    ] or None


def p99s(client: Mapping[str, Any], key: str) -> dict[int, float]:
    """p99 of one of LAGS of each thread that has it."""
    rows = client.get("by_thread") or ()
    return {row["thread"]: float(row[key]["p99"]) for row in rows if row[key]}


def late_words(client: Mapping[str, Any], key: str) -> str:
    """; of threads 0 to 3 it was 2: p99 0.25 ms, of the others at most 0.013 ms"""
    found = p99s(client, key)
    if len(found) < 2:
        return ""
    middle = sorted(found.values())[(len(found) - 1) // 2]
    late = [thread for thread, p99 in found.items() if p99 > LATE * middle]
    if not late:
        return ""
    worst = max(found[thread] for thread in late)
    rest = max(p99 for thread, p99 in found.items() if thread not in late)
    which = f"{'it was' if len(late) == 1 else 'they were'} {', '.join(map(str, late))}"
    return (
        f"; of threads 0 to {len(client['by_thread']) - 1} {which}: p99 {brief(worst)} ms, of the others at "
        f"most {brief(rest)} ms"
    )
