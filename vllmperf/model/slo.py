"""Does a replica keep its SLO at this rate? A test in several looks, with a stated rate of wrong answers.

Requests near in time fail together, so they are taken in batches, and the batches are what is counted. At each look
the share of bad requests gets a one-sided bound on both sides by Student's t over the batches; the allowed error is
shared evenly among the looks. A queue that still grows makes no pass: it is looked at again later. A pass can also be told
from the room that is left below the limits; before the end of a step only where half of them is not used (early_stop.py).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics import goodput
from vllmperf.metrics.view import COMPLETED, Rows
from vllmperf.record.table import Requests

NS = 1e9
BATCHES = 10
ERROR = 0.05
"""Chance of a wrong "pass" or "fail" over all looks of one step, each."""
LOOKS = 5
WIDER = 1.5
"""On the scatter of the batches' quantiles: batches in a row share a queue and are more alike than those of another time.
With 1, a minute at 1.05 of the capacity passes in 7 to 8 % (rehearsals of three servers); with this, in 0 to 3 %."""
CLEAR = 0.5
"""Of the limits: requests that keep within this part of them, as far as can be predicted, are clearly fine."""
FILL_TIMES = 20.0
"""A queue that is fed 5 % too fast takes so many times the limit of the TTFT to grow to that limit: a shorter window passes
only when it is clearly fine."""
GROWING = 1.3
"""More requests in flight in the last third than in the middle one, by this factor: the queue still fills."""


@dataclass(frozen=True)
class Limits:
    """Upper limits in ms of a request's TTFT (from its scheduled time) and of its mean TPOT; None: no limit.
    share: of the requests that must keep them."""

    ttft_ms: float | None
    tpot_ms: float | None
    share: float = 0.99

    @property
    def objectives_ms(self) -> dict[str, float]:
        """By the names that goodput has for them."""
        limits = {"ttft_scheduled": self.ttft_ms, "tpot": self.tpot_ms}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class Answer:
    """verdict: "pass", "fail" or "unclear"; bad: share of bad requests, with its bounds; n: requests counted."""

    verdict: str
    bad: float | None
    low: float
    high: float
    n: int


def good(requests: Requests, limits: Limits) -> NDArray[np.bool_]:
    """Which requests kept the limits; what did not complete did not."""
    kept: NDArray[np.bool_] = goodput.is_good(Rows(requests), limits.objectives_ms)
    kept &= requests["outcome"] == COMPLETED
    return kept


def used(requests: Requests, limits: Limits) -> NDArray[np.float64]:
    """How much of its limits each request used: 1 is exactly the limit of TTFT or TPOT, whichever is nearer. Infinite for
    what did not complete."""
    share = goodput.used(Rows(requests), limits.objectives_ms)
    return np.where(requests["outcome"] == COMPLETED, share, np.inf)


def judged(requests: Requests, limits: Limits) -> Answer:
    """The answer of these requests."""
    kept = good(requests, limits)
    return answer(requests["scheduled_ns"], kept, requests["end_ns"], limits, used(requests, limits))


def answer(
    scheduled_ns: NDArray[np.int64],
    kept: NDArray[np.bool_],
    end_ns: NDArray[np.int64],
    limits: Limits,
    use: NDArray[np.float64] | None = None,
) -> Answer:
    """Judge requests by their scheduled time. use: what used() gives; without it only counting can tell a pass, which
    takes very many requests."""
    from scipy import stats

    order = np.argsort(scheduled_ns, kind="stable")
    bad = ~kept[order]
    n = len(bad)
    if n < 2 * BATCHES:
        return Answer("unclear", float(bad.mean()) if n else None, 0.0, 1.0, n)
    means = np.array([part.mean() for part in np.array_split(bad, BATCHES)])
    level = 1 - ERROR / LOOKS
    half = float(stats.t.ppf(level, BATCHES - 1)) * means.std(ddof=1) / np.sqrt(BATCHES)
    depth = max(_in_flight(scheduled_ns, end_ns), 1.0)
    floor = -np.log(ERROR / LOOKS) * min(depth, n / 4) / n  # nothing bad among n/depth independent groups
    share = float(bad.mean())
    low, high = max(share - half, 0.0), min(max(share + half, floor), 1.0)
    allowed = 1 - limits.share
    growing = _grows(scheduled_ns, end_ns)
    if low > allowed or (growing and share > 5 * allowed):
        verdict = "fail"
    else:
        window_s = float(np.ptp(scheduled_ns)) / NS
        filled = limits.ttft_ms is None or window_s >= FILL_TIMES * limits.ttft_ms / 1000
        room = use is not None and has_room(use[order], limits, 1.0 if filled else CLEAR)
        verdict = "pass" if (high < allowed or room) and not growing else "unclear"
    return Answer(verdict, share, low, high, n)


def has_room(use: NDArray[np.float64], limits: Limits, part: float) -> bool:
    """Whether the next batch, too, will most likely have its quantile within that part of the limits: its
    prediction bound, on the logarithms of the quantiles of all batches. Far below the capacity they are alike and far
    from 1. use: what used() gives, by scheduled time."""
    from scipy import stats

    parts = np.array_split(use, BATCHES)
    quantiles = np.array([np.quantile(part, limits.share, method="higher") for part in parts])
    if not np.isfinite(quantiles).all() or (quantiles <= 0).any():
        return False
    logs = np.log(quantiles)
    wide = WIDER * float(stats.t.ppf(1 - ERROR / LOOKS, BATCHES - 1)) * np.sqrt(1 + 1 / BATCHES)
    return bool(logs.mean() + wide * logs.std(ddof=1) < np.log(part))


def _in_flight(scheduled_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> float:
    last = scheduled_ns.max()
    span = max(float(last - scheduled_ns.min()), 1.0)
    return float(np.sum(np.minimum(end_ns, last) - scheduled_ns)) / span


def _grows(scheduled_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> bool:
    edges = np.linspace(scheduled_ns.min(), scheduled_ns.max(), 4)
    depth = [
        float(
            np.sum(np.clip(np.minimum(end_ns, high) - np.maximum(scheduled_ns, low), 0, None)) / (high - low)
        )
        for low, high in itertools.pairwise(edges[1:])
    ]
    return depth[1] > GROWING * depth[0] + 2
