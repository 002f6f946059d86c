"""When each request leaves, bit for bit as the original draws it, as an absolute time instead of sleeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving.versions import Version
from vllmperf.errors import UsageError


@dataclass(frozen=True, slots=True)
class RampUp:
    """Rates from start to end over the requests of a run (0.33)."""

    strategy: str
    start: int
    end: int

    def rate(self, number: int, n: int) -> float:
        progress = number / max(n - 1, 1)
        if self.strategy == "linear":
            return self.start + (self.end - self.start) * progress
        return float(self.start * (self.end / self.start) ** progress)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """times_s: planned sends from the start, None when all leave at once. until_s: the run lasts at least so long.

    rates: the requests/s in force at each request of a ramp-up.
    """

    times_s: NDArray[np.float64] | None
    until_s: float = 0.0
    rates: Sequence[float] = ()

    @property
    def times_ns(self) -> NDArray[np.int64] | None:
        return None if self.times_s is None else np.rint(self.times_s * 1e9).astype(np.int64)


def drawn(
    version: Version,
    draw: np.random.RandomState,
    n: int,
    rate: float,
    burstiness: float,
    ramp_up: RampUp | None = None,
) -> Arrivals:
    """The sends of n requests.

    0.6 and 0.8 send the first at once and sleep a gap after every request, the last one too. 0.33 draws all gaps,
    the first request waits for its own, and without a ramp-up they are scaled so that the last leaves at n/rate.
    """
    if ramp_up is None and math.isinf(rate):
        return Arrivals(None)
    if burstiness <= 0:
        raise UsageError(f"--burstiness is {burstiness:g}: give a number above 0")
    rates = [ramp_up.rate(number, n) if ramp_up else rate for number in range(n)]
    if min(rates) <= 0:
        raise UsageError("the request rate is 0 at the start: give a rate above 0")
    gaps_s = np.array([_gap_s(draw, now, burstiness) for now in rates])
    ends_s = np.cumsum(gaps_s)
    if version != "2026":
        return Arrivals(np.concatenate([[0.0], ends_s[:-1]]), float(ends_s[-1]))
    if ramp_up is not None:
        return Arrivals(ends_s, rates=rates)
    return Arrivals(ends_s * (n / rate / ends_s[-1]) if ends_s[-1] else ends_s)


def _gap_s(draw: np.random.RandomState, rate: float, burstiness: float) -> float:
    if math.isinf(burstiness):
        return 1.0 / rate
    return float(draw.gamma(shape=burstiness, scale=1.0 / (rate * burstiness)))


def of_trace(samples: Sequence[Sample]) -> Arrivals:
    """A trace's own times; a request never leaves before the one ahead of it."""
    times_s = np.array([sample.time_s or 0.0 for sample in samples])
    return Arrivals(np.maximum.accumulate(np.maximum(times_s, 0.0)))
