"""How far the mean of values in order of time may be off, when each resembles the ones before it.

The variance of such a mean is the variance that the values have at the lowest frequencies, divided by n. `LongRun` measures
it there: it projects the values, less their mean, on the first few cosines of the run (half a wave, a whole one, …). The
projections are nearly independent and normal whatever the correlation, as long as it is short against the run, so that
their mean square has as many degrees of freedom as there are cosines (Müller 2007; Lazarus, Lewis, Stock and Watson 2018).
docs/intervals.md has what was measured against batch means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics.distributions import student_t

Floats = NDArray[np.float64]

PIECES = 1024
"""Longer series are summed in so many pieces first: the cosines are so slow that nothing is lost."""
FEWEST_COSINES, MOST_COSINES = 8, 24
INDEPENDENT_PER_COSINE = 6.0
"""More cosines than n_effective / 6 would look at frequencies where a correlated series has lost part of its variance."""
HANGS_TOGETHER = 2.0
"""Values to each independent one from which a series depends on what came before."""
NEXT = 7.5
"""Square of the t of the correlation of values with the next ones that shows the same."""
FOLLOWS = 0.6
"""Variance of the mean that the load may bring, as a share of what independent values have."""
BATCHES = 40
"""For the skewness."""
SKEWNESS = 1.5
"""That of a few batches falls short of the true one when tails are long; this factor was found by coverage."""


@lru_cache(maxsize=16)
def _cosines(pieces: int) -> Floats:
    place = (np.arange(pieces) + 0.5) / pieces
    waves: Floats = math.sqrt(2) * np.cos(np.pi * np.outer(np.arange(1, MOST_COSINES + 1), place))
    return waves


@dataclass(frozen=True, eq=False, repr=False)
class LongRun:
    """Of n values in order of time, less their mean.

    n: how many. spread: their own variance. waves: what they have of each of the slowest cosines; the square is the variance
    at that frequency. batches: sums of 40 stretches. pace: how many independent values of it the run holds at most, by what
    else is known of it.
    """

    n: int
    spread: float
    values: Floats
    waves: Floats
    batches: Floats
    pace: float = math.inf

    @classmethod
    def of(cls, residuals: Floats) -> LongRun:
        n = len(residuals)
        sums = _in_pieces(residuals, PIECES)
        waves = _cosines(len(sums)) @ sums / math.sqrt(max(n, 1))
        spread = float(residuals @ residuals) / max(n, 1)
        return cls(n, spread, residuals, waves, _in_pieces(residuals, min(BATCHES, n // 2)))

    def at_pace(self, pace: float) -> LongRun:
        """The same, known to change as slowly as something of which the run holds so many independent values."""
        return replace(self, pace=pace)

    def may_follow(self, other: LongRun) -> bool:
        """Whether the other, slower, could move the mean of this by more than this shows: by the largest correlation that is not
        ruled out (two standard errors above what is seen)."""
        if self.n != other.n or self.spread * other.spread <= 0:
            return False
        seen = abs(float(self.values @ other.values)) / self.n / math.sqrt(self.spread * other.spread)
        return (seen + 2 / math.sqrt(self.n)) ** 2 * other.slowness > FOLLOWS

    @cached_property
    def hangs_together(self) -> bool:
        """Whether values depend on those before them: one on the next one (what chance has once in 300 times), or slowly."""
        if self.spread == 0 or self.slowness > HANGS_TOGETHER:
            return True
        next_one = float(self.values[1:] @ self.values[:-1]) / max(self.n, 1) / self.spread
        return next_one > 0 and next_one**2 * self.n > NEXT

    @cached_property
    def independent(self) -> float:
        """How many independent values would tell the mean as well; not more than n. n when all values are equal."""
        if self.spread <= 0:
            return float(self.n)
        return min(self.n * self.spread / max(self.variance, 1e-300), float(self.n))

    @cached_property
    def slowness(self) -> float:
        """How many values there are to each independent one, by the eight slowest cosines."""
        first = float(np.mean(self.waves[:FEWEST_COSINES] ** 2))
        return first / self.spread if self.spread > 0 else 0.0

    @cached_property
    def degrees(self) -> int:
        """Cosines that are used."""
        independent = min(self.n / self.slowness if self.slowness > 0 else float(self.n), self.pace)
        return int(np.clip(independent / INDEPENDENT_PER_COSINE, FEWEST_COSINES, MOST_COSINES))

    @cached_property
    def variance(self) -> float:
        """Of the sum, by the value: n times the variance of the mean."""
        return float(np.mean(self.waves[: self.degrees] ** 2))

    @cached_property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.variance / self.n)

    def bounds(self, probability: float) -> tuple[float, float]:
        """How far below and above the mean (both positive) the truth lies with that probability.

        Student's t, corrected for skewness (Willink 2005): the mean of a queue's waits is low and its error looks small in
        a run that happened to see no rush, and the other way round.
        """
        t = student_t((1 + probability) / 2, self.degrees)
        skew = SKEWNESS * _skewness(self.batches) / (6 * math.sqrt(max(len(self.batches), 1)))
        return self.error * _bent(t, skew), -self.error * _bent(-t, skew)


def _in_pieces(values: Floats, pieces: int) -> Floats:
    if len(values) <= pieces or pieces < 1:
        return values
    edges = np.arange(pieces) * len(values) // pieces
    sums: Floats = np.add.reduceat(values, edges)
    return sums


def _skewness(values: Floats) -> float:
    """Without the bias of few values; 0 where there is none."""
    n = len(values)
    centred = values - values.mean() if n else values
    deviation = math.sqrt(float(np.mean(centred**2))) if n > 2 else 0.0
    if deviation <= 0:
        return 0.0
    return float(np.mean(centred**3)) / deviation**3 * math.sqrt(n * (n - 1)) / (n - 2)


def _bent(t: float, skew: float) -> float:
    """Willink's transform of a quantile of t."""
    if abs(skew) < 1e-6:
        return t
    return (math.cbrt(1 + 6 * skew * (t - skew)) - 1) / (2 * skew)
