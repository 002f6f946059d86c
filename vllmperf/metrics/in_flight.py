"""How many requests were in flight, from the moments at which they were sent and ended."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.record.table import Requests

Floats = NDArray[np.float64]

AT_A_TIME = 65_536
"""Instants, so that what is found on the way takes little memory."""


class InFlight(NamedTuple):
    """mean: over the time that counts. mean_sending: the same up to the last send. max: of the whole run."""

    mean: float | None
    mean_sending: float | None
    max: int


def sweep(requests: Requests, window_ns: tuple[int, int] | None = None) -> InFlight:
    """From all recorded requests that were sent, whatever became of them.

    window_ns: the time that counts; None: first sent to last end.
    """
    sent, end = _intervals(requests)
    if len(sent) == 0:
        return InFlight(None, None, 0)
    first, last = window_ns or (int(sent.min()), int(end.max()))
    return InFlight(
        mean=_mean(sent, end, first, last),
        mean_sending=_mean(sent, end, first, min(int(sent.max()), last)),
        max=_highest(sent, end),
    )


def mean_between(requests: Requests, first_ns: int, last_ns: int) -> float | None:
    """The mean from one moment to another; None where there is no time between them."""
    return _mean(*_intervals(requests), first_ns, last_ns)


def means(requests: Requests, edges_ns: NDArray[np.int64]) -> Floats:
    """The mean within each of the times between the edges, which ascend."""
    sent, end = (_since(column, edges_ns) for column in _intervals(requests))
    held: Floats = np.diff(sent - end) / np.diff(edges_ns)
    return held


def at_send(requests: Requests, instants_ns: NDArray[np.int64]) -> NDArray[np.int32]:
    """How many were in flight at each of these moments; one that is sent then counts, one that ends then does not."""
    sent, end = _intervals(requests)
    held = _until(sent, instants_ns)
    del sent
    held -= _until(end, instants_ns)
    return held


def _until(instants_ns: NDArray[np.int64], edges_ns: NDArray[np.int64]) -> NDArray[np.int32]:
    """How many of the instants are not after each edge. Sorts them, where they are."""
    instants_ns.sort()
    found = np.empty(len(edges_ns), dtype=np.int32)
    for first in range(0, len(edges_ns), AT_A_TIME):
        edges = edges_ns[first : first + AT_A_TIME]
        found[first : first + AT_A_TIME] = np.searchsorted(instants_ns, edges, "right")
    return found


def _since(instants_ns: NDArray[np.int64], edges_ns: NDArray[np.int64]) -> Floats:
    """The sum of the times from each instant to the edge, of those before it; of an edge at the first one 0."""
    sums = (instants_ns - edges_ns[0]).astype(np.float64)
    sums.sort()
    edges = (edges_ns - edges_ns[0]).astype(np.float64)
    before = np.searchsorted(sums, edges)
    np.cumsum(sums, out=sums)  # in place: a long run has millions of requests
    found: Floats = before * edges - np.where(before > 0, sums[before - 1], 0.0)
    return found


def _intervals(requests: Requests) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    has_both = (requests["sent_ns"] != _engine.NONE) & (requests["end_ns"] != _engine.NONE)
    return requests["sent_ns"][has_both], requests["end_ns"][has_both]


def _mean(sent: NDArray[np.int64], end: NDArray[np.int64], first_ns: int, last_ns: int) -> float | None:
    if last_ns <= first_ns:
        return None
    within = np.minimum(end, last_ns)
    within -= np.maximum(sent, first_ns)
    np.maximum(within, 0, out=within)
    return float(within.sum(dtype=np.float64)) / (last_ns - first_ns)


def _highest(sent: NDArray[np.int64], end: NDArray[np.int64]) -> int:
    """At some send; at one instant the end counts first."""
    held = _until(sent, sent)
    held -= _until(end, sent)
    return max(int(held.max()), 1)
