"""What a run did in each stretch of --report-interval: of the requests that ended in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.statistics import NS_PER_MS, quantiles
from vllmperf.metrics.view import COMPLETED, NS, Rows, happened
from vllmperf.record.reader import Recording
from vllmperf.record.table import Requests

INCOMPLETE = _engine.OUTCOMES.index("incomplete")


class Interval(NamedTuple):
    """Seconds count from the start of the run. done: requests that ended, whatever became of them; errors: those that failed.
    Rates and latencies are of the completed ones, tokens with the end of their request. in_flight: at the end of the
    interval. None: not measured.
    """

    start_s: float
    end_s: float
    done: int
    completed: int
    errors: int
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms_p50: float | None
    ttft_ms_p99: float | None
    itl_ms_p50: float | None
    itl_ms_p99: float | None
    in_flight: int


def interval(
    rows: Requests,
    gaps_ns: NDArray[np.float32],
    start_ns: int,
    end_ns: int,
    in_flight: int,
) -> Interval:
    """Of the requests that ended from start_ns to end_ns. gaps_ns: those of the completed ones, in any order."""
    outcomes = rows["outcome"]
    good = Rows(rows[outcomes == COMPLETED])
    seconds = (end_ns - start_ns) / NS
    return Interval(
        start_ns / NS,
        end_ns / NS,
        len(rows),
        len(good.requests),
        int((outcomes != COMPLETED).sum() - (outcomes == INCOMPLETE).sum()),
        len(good.requests) / seconds,
        (good.sum("output_tokens") or 0) / seconds,
        *_percentiles(per_request(good, "ttft")),
        *_percentiles(gaps_ns),
        in_flight,
    )


def _percentiles(times_ns: NDArray[np.floating[Any]]) -> tuple[float | None, float | None]:
    """p50 and p99 in ms."""
    known = times_ns[~np.isnan(times_ns)]
    if not len(known):
        return None, None
    p50, p99 = quantiles(known, [0.5, 0.99])
    return p50 / NS_PER_MS, p99 / NS_PER_MS


def intervals(recording: Recording) -> list[dict[str, Any]] | None:
    """Of a whole recording, at the length that its run was asked for; None where it was asked for none. The last one ends
    with the run."""
    seconds = recording.plan.get("report_interval")
    return [one._asdict() for one in intervals_of(recording, round(seconds * NS))] if seconds else None


def intervals_of(recording: Recording, every_ns: int) -> Iterator[Interval]:
    """Of so many ns each."""
    where = np.flatnonzero(recording.requests["end_ns"] != _engine.NONE)
    if not len(where):
        return
    where = where[np.argsort(recording.requests["end_ns"][where], kind="stable")].astype(np.int32)
    rows = recording.requests[where]
    ends = rows["end_ns"]
    last_ns, first = int(ends[-1]), 0
    count = max(1, math.ceil((last_ns + 1) / every_ns))
    edges = np.minimum(np.arange(1, count + 1) * every_ns, last_ns + 1)
    after = np.searchsorted(ends, edges).tolist()
    in_flight = np.searchsorted(np.sort(happened(recording, "sent_ns")), edges)
    in_flight -= np.searchsorted(ends[rows["sent_ns"] != _engine.NONE], edges)
    del ends
    for i, gaps_ns in enumerate(_gaps_of_intervals(recording, every_ns, count)):
        some = rows[first : after[i]]
        yield interval(some, gaps_ns, i * every_ns, int(edges[i]), int(in_flight[i]))
        first = after[i]


def _gaps_of_intervals(recording: Recording, every_ns: int, count: int) -> Iterator[NDArray[np.float32]]:
    """Of the completed requests that ended in each interval. Requests end nearly in the order of their numbers, so that few
    intervals wait for the gaps of a late one."""
    number = _numbers_of_intervals(recording, every_ns)
    last = np.full(count, -1)
    np.maximum.at(last, number[number >= 0], np.flatnonzero(number >= 0))
    waiting: list[list[NDArray[np.float32]]] = [[] for _ in range(count)]
    told = 0
    for block in recording.gap_blocks():
        of_gap = np.repeat(number[block.rows], block.lengths)
        for each in np.unique(of_gap[of_gap >= 0]).tolist():
            waiting[each].append(block.ns[of_gap == each])
        while told < count and last[told] < block.rows.stop:
            yield np.concatenate([np.zeros(0, dtype=np.float32), *waiting[told]])
            waiting[told] = []
            told += 1


def _numbers_of_intervals(recording: Recording, every_ns: int) -> NDArray[np.int32]:
    """In which interval each request ended, -1 for those that did not complete."""
    end = recording.requests["end_ns"]
    counts = (end != _engine.NONE) & (recording.requests["outcome"] == COMPLETED)
    return np.where(counts, (np.maximum(end, 0) // every_ns).astype(np.int32), np.int32(-1))
