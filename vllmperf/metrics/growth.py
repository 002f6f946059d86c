"""Whether a queue was still growing: more requests arrive than the server serves, and latencies say how long the run was.

Counted are requests without a first token, and requests in flight. In a steady load both level off: after a time to first
token, and after a whole answer. Long contexts need no other rule: the ramp is left out by how long answers really take.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.statistics import median, quantiles
from vllmperf.record.table import Requests

NS = 1e9
BLOCKS = 8
RISING = 0.6
"""Kendall's tau of the blocks: 23 of 28 pairs rise. Of eight unrelated values one in fifty does so."""
FEWEST_ARRIVALS = 20
LEAST_MORE = 5.0
"""A queue that grew by fewer requests than this is not told from chance."""
LEAST_FACTOR = 1.3
"""… nor one whose last quarter is less than this many times its first."""
RAMP = 2.0
"""The ramp of waiting lasts this many first times to first token."""
MOST_RAMP = 0.6
"""With a longer part of the run in the ramp nothing can be said."""

Floats = NDArray[np.float64]


class Growth(NamedTuple):
    """share: of the arrivals that joined the queue for good. what: "waiting" for a first token, or "in_flight". first, last:
    mean requests in the first and last quarter of the stretch from from_s to to_s (since the first send)."""

    share: float
    what: str
    first: float
    last: float
    from_s: float
    to_s: float
    per_s: float


def growth_of(levels: Sequence[float], seconds: float, per_s: float) -> float:
    """The share of arrivals that pile up, from the mean level in blocks of equal length; 0 where it does not rise for sure."""
    values = np.asarray(levels, dtype=np.float64)
    if len(values) < BLOCKS or per_s <= 0 or seconds <= 0:
        return 0.0
    quarter = len(values) // 4
    first, last = float(values[:quarter].mean()), float(values[-quarter:].mean())
    if last - first < LEAST_MORE or last < LEAST_FACTOR * first or tau(values) < RISING:
        return 0.0
    middles = (np.arange(len(values)) + 0.5) * seconds / len(values)
    return min(max(float(np.polyfit(middles, values, 1)[0]) / per_s, 0.0), 1.0)


def tau(values: Floats) -> float:
    """Kendall's tau of values against their order: 1 when all rise, -1 when all fall."""
    signs = np.sign(values[None, :] - values[:, None])[np.triu_indices(len(values), 1)]
    return float(signs.mean())


def growth(requests: Requests) -> Growth | None:
    """The worst growth of an open loop's queue. None where it cannot be told: too few arrivals after the ramp."""
    requests = requests[requests["sent_ns"] != _engine.NONE]
    if len(requests) < FEWEST_ARRIVALS:
        return None
    sent = np.sort(requests["sent_ns"])
    first = _known(requests["first_token_ns"], requests["end_ns"])
    end = _known(requests["end_ns"], np.full(len(requests), int(sent[-1])))
    order = np.argsort(requests["sent_ns"], kind="stable")
    first, end = first[order], end[order]
    early = max(len(sent) // 20, 5)
    ramps = {
        "waiting": (first, RAMP * median((first - sent)[:early])),
        "in_flight": (end, quantiles((end - sent).astype(np.float64), [0.95])[0]),
    }
    found = [one for what, (until, ramp) in ramps.items() if (one := _stretch(what, sent, until, ramp))]
    return max(found, key=lambda one: one.share) if found else None


def _known(column: NDArray[np.int64], instead: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(column == _engine.NONE, instead, column)


def _stretch(what: str, sent: NDArray[Any], until: NDArray[Any], ramp_ns: float) -> Growth | None:
    begin, end = float(sent[0]) + ramp_ns, float(sent[-1])
    arrivals = int((sent >= begin).sum())
    if arrivals < FEWEST_ARRIVALS or ramp_ns > MOST_RAMP * (end - float(sent[0])):
        return None
    edges = np.linspace(begin, end, BLOCKS + 1)
    levels = [_level(sent, until, a, b) for a, b in pairwise(edges.tolist())]
    seconds = (end - begin) / NS
    per_s = arrivals / seconds
    share = growth_of(levels, seconds, per_s)
    at_s = (begin - float(sent[0])) / NS
    return Growth(share, what, sum(levels[:2]) / 2, sum(levels[-2:]) / 2, at_s, at_s + seconds, per_s)


def _level(sent: NDArray[Any], until: NDArray[Any], begin: float, end: float) -> float:
    """Mean number of requests between the two instants that each lies in."""
    return float((np.clip(until, begin, end) - np.clip(sent, begin, end)).sum()) / (end - begin)
