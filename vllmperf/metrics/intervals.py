"""95 % intervals for the means, percentiles, shares and rates of one run, whose values resemble the ones before them.

Values come in the order in which their requests were sent. The variance comes from `long_run`; percentiles turn it into a
number of independent values and take the order statistics that so many would need (Woodruff 1952, Korn and Graubard 1998).
An interval that the run cannot carry is None, with the number of requests that would do. docs/intervals.md has the rule of
each, the measured coverage, and what was rejected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.distributions import normal, order_levels, share_bounds, student_t
from vllmperf.metrics.gap_facts import piece_sums
from vllmperf.metrics.long_run import MOST_COSINES, PIECES, LongRun
from vllmperf.metrics.statistics import EXACT_UP_TO, Samples, quantiles

Floats = NDArray[np.float64]
Counts = NDArray[np.integer[Any]]
Numbers = NDArray[Any]
"""In any type, the narrower the less memory a long run takes."""

NS = 1e9
AT_A_TIME = 65_536
"""Values, so that what is computed on the way takes little memory."""

LEVEL = 0.95
FEWEST_INDEPENDENT = 24.0
"""Independent values below which no interval is given: three for each of the eight cosines."""
FEWEST_BEYOND = 6.0
"""Independent values that must lie beyond a percentile, on its rarer side."""
FEWEST_BEYOND_TOGETHER, FEWEST_SLOW_BEYOND = 10.0, 5.0
"""The same for what hangs together, and of the slowest thing known: how independent rare values are is itself known badly."""
TURNOVERS = 8.0
"""A run must send so many times the requests that are in flight at once."""


class Interval(NamedTuple):
    """low and high: in the unit of the values, None where the run is too short; then `needed` says how many requests would
    do (about, two digits), else it is None.

    effective: how many independent values would tell as much. degrees: of freedom of the variance behind it.
    """

    low: float | None
    high: float | None
    effective: float
    needed: int | None = None
    degrees: float = math.inf

    @property
    def half(self) -> float | None:
        """Half the width, for ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


class ByRequest(Protocol):
    """Values of which each request has several or none, in order of send: it is the request that depends on the one before it;
    its own values depend on each other."""

    def __len__(self) -> int:
        """How many values."""

    @property
    def mean(self) -> float: ...
    def sums(self) -> Floats:
        """Of each request's values."""

    def counts(self) -> Numbers:
        """How many values each request has."""

    def at_most(self, limits: Sequence[float]) -> Iterator[Numbers]:
        """For each limit, how many of each request's values do not exceed it."""

    def quantiles(self, levels: Sequence[float]) -> list[float]: ...


def mean_interval(
    values: Samples | ByRequest,
    lengths: Counts | None = None,
    *,
    in_flight: Numbers | None = None,
) -> Interval:
    """Of the mean. values: one a request in order of send, or, with `lengths`, so many of each request, one request after
    another. in_flight: how many requests were in flight when each was sent, in order of send.
    """
    if len(values) == 0:
        return _unknown(0, 0.0, math.nan)
    units = _by_request(values, lengths)
    run, counts = _mean_run(units)
    reach = Reach(run, (), Load.of(in_flight))
    if reach.lacks > 1:
        return _unknown(run.n, reach.independent, reach.lacks)
    run = reach.run
    mean, scale = units.mean, run.n / float(counts.sum())
    below, above = run.bounds(LEVEL)
    return Interval(mean - below * scale, mean + above * scale, run.independent, None, run.degrees)


def percentile_intervals(
    values: Samples | ByRequest,
    percentiles: Sequence[float],
    lengths: Counts | None = None,
    *,
    in_flight: Numbers | None = None,
) -> list[Interval]:
    """Of percentiles (0 to 100, NumPy's default rule). Arguments as for `mean_interval`.

    >>> import numpy as np
    >>> percentile_intervals(np.random.default_rng(1).exponential(size=200), [99.9])[0].needed
    6700
    """
    if len(values) == 0:
        return [_unknown(0, 0.0, math.nan) for _ in percentiles]
    units = _by_request(values, lengths)
    mean_run, counts = _mean_run(units)
    load = Load.of(in_flight)
    found: list[Interval | None] = []
    levels: list[float] = []
    worth: list[tuple[float, int]] = []
    limits = units.quantiles([p / 100 for p in percentiles])
    for percentile, at_most in zip(percentiles, units.at_most(limits), strict=True):
        rarer = min(percentile, 100 - percentile) / 100
        reach = Reach(_run_of(at_most, counts), (mean_run,), load)
        run = reach.run
        n = _worth_of(run, float(counts.sum()), percentile / 100)
        lacks = reach.lacks_beyond(n, len(values), rarer)
        worth.append((run.independent, run.degrees))
        found.append(_unknown(run.n, run.independent, lacks) if lacks > 1 else None)
        bounds = order_levels(percentile / 100, n, LEVEL) if lacks <= 1 else (0.0, 1.0)
        levels += [min(max(((len(values) + 1) * u - 1) / max(len(values) - 1, 1), 0.0), 1.0) for u in bounds]
        del reach, run  # an array of all requests, which the next one needs as well
    ends = units.quantiles(levels)
    return _rising(
        percentiles,
        [
            unknown or Interval(ends[2 * i], ends[2 * i + 1], independent, None, degrees)
            for i, (unknown, (independent, degrees)) in enumerate(zip(found, worth, strict=True))
        ],
    )


def _rising(percentiles: Sequence[float], found: Sequence[Interval]) -> list[Interval]:
    """A rarer percentile needs no fewer requests than one nearer to the median: the few values beyond it do not show how they
    hang together, those of the other do."""

    def least(percentile: float) -> int:
        nearer = (
            one.needed or 0
            for p, one in zip(percentiles, found, strict=True)
            if min(percentile, 50) <= p <= max(percentile, 50)
        )
        return max(nearer, default=0)

    return [
        one._replace(needed=max(one.needed, least(percentile))) if one.needed else one
        for percentile, one in zip(percentiles, found, strict=True)
    ]


def share_interval(
    flags: NDArray[np.bool_], values: Floats | None = None, *, in_flight: Numbers | None = None
) -> Interval:
    """Of the share of requests, in order of send, that are True.

    values: what the flags were told from, NaN where it is unknown. A few rare flags do not show that they come together;
    the values do.
    """
    if len(flags) == 0:
        return _unknown(0, 0.0, math.nan)
    share = float(flags.mean())
    run = LongRun.of(flags.astype(np.float64) - share)
    known = np.zeros(0) if values is None else values[np.isfinite(values)]
    reach = Reach(run, [LongRun.of(known - known.mean())] if len(known) else [], Load.of(in_flight))
    if reach.lacks > 1:
        return _unknown(run.n, reach.independent, reach.lacks)
    low, high = share_bounds(share, reach.independent * _worth(reach.run.degrees), LEVEL)
    return Interval(low, high, reach.independent, None, reach.run.degrees)


def rate_interval(
    instants_ns: NDArray[np.integer[Any]],
    start_ns: int,
    end_ns: int,
    amounts: NDArray[Any] | None = None,
    *,
    in_flight: Numbers | None = None,
) -> Interval:
    """Of events a second, or of the amounts (tokens) that they bring, from start to end; events outside are left out."""
    within = (instants_ns >= start_ns) & (instants_ns <= end_ns)
    n = int(within.sum())
    if n < 2 or end_ns <= start_ns:
        return _unknown(n, 0.0, math.nan)
    pieces = min(PIECES, n)
    sums = np.zeros(pieces)
    for first in range(0, len(within), AT_A_TIME):
        some = slice(first, first + AT_A_TIME)
        place = (instants_ns[some][within[some]] - start_ns) * (pieces / (end_ns - start_ns))
        weights = 1.0 if amounts is None else amounts[some][within[some]].astype(np.float64)
        np.add.at(sums, np.minimum(place.astype(np.int64), pieces - 1), weights)
    run = LongRun.of(sums - sums.mean())
    reach = Reach(run, (), Load.of(in_flight))
    if reach.lacks > 1:
        return _unknown(n, reach.independent * n / pieces, reach.lacks)
    run = reach.run
    per_s = pieces * NS / (end_ns - start_ns)
    below, above = run.bounds(LEVEL)
    mean, effective = float(sums.mean()), run.independent * n / pieces
    return Interval((mean - below) * per_s, (mean + above) * per_s, effective, None, run.degrees)


def needed(percentile: float | None = None) -> int | None:
    """How many independent requests an interval takes: of a percentile (0 to 100), or of a mean, share or rate (None). More
    when they resemble the ones before them; None for the percentiles 0 and 100, which have no interval."""
    if percentile is None:
        return math.ceil(FEWEST_INDEPENDENT)
    rarer = min(percentile, 100 - percentile) / 100
    beyond = FEWEST_BEYOND / _worth(MOST_COSINES)
    return _about(max(beyond / rarer, FEWEST_INDEPENDENT)) if rarer > 0 else None


@dataclass(frozen=True, slots=True)
class Held:
    """ByRequest of an array. values: all of them, one request after another. lengths: how many each has; None for one each."""

    values: Samples
    lengths: Counts | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values, dtype=np.float64))

    def sums(self) -> Floats:
        return self._sums(self.values)

    def at_most(self, limits: Sequence[float]) -> Iterator[Numbers]:
        for limit in limits:
            is_at_most = self.values <= limit
            yield is_at_most if self.lengths is None else self._sums(is_at_most)

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        return _quantiles(self.values, levels)

    def _sums(self, values: NDArray[Any]) -> Floats:
        """Of each request's part of an array like `values`; exact for flags."""
        if self.lengths is None:
            return values.astype(np.float64, copy=False)
        # In the type of the values, which is several times as fast and good to 1e-5 for a request.
        dtype, sums = np.int32 if values.dtype == bool else values.dtype, np.zeros(len(self.lengths))
        after = 0
        for first in range(0, len(sums), AT_A_TIME):
            lengths = self.lengths[first : first + AT_A_TIME]
            start, after = after, after + int(lengths.sum(dtype=np.int64))
            sums[first : first + AT_A_TIME] = piece_sums(values[start:after], lengths, dtype)
        return sums

    def counts(self) -> Numbers:
        return np.broadcast_to(1.0, len(self.values)) if self.lengths is None else self.lengths


class Load(NamedTuple):
    """Requests in flight: how many on average, and how they change over the run; None where nobody knows."""

    level: float
    run: LongRun | None

    @classmethod
    def of(cls, in_flight: Numbers | None) -> Load:
        if in_flight is None or not in_flight.any():
            return cls(0.0, None)
        level = float(in_flight.mean())
        return cls(level, LongRun.of(in_flight - level))


class Reach:
    """Whether a run is long enough for one interval.

    own: the metric's. others: what else shows how slowly the run changes, beside the requests in flight.
    """

    def __init__(self, own: LongRun, others: Sequence[LongRun], load: Load) -> None:
        slow = [*others, *([load.run] if load.run is not None else [])]
        self.slowest = min([own.independent, *(run.independent for run in slow)])
        self.hangs_together = any(
            run.hangs_together or (load.run is not None and run.may_follow(load.run))
            for run in (own, *others)
        )
        """Then the slowest thing known tells how long the run is."""
        self.run = own.at_pace(self.slowest) if self.hangs_together else own
        self.independent = min(self.run.independent, self.run.pace)
        self.lacks = max(FEWEST_INDEPENDENT / max(self.independent, 1e-9), TURNOVERS * load.level / own.n)
        """So many times as many requests would do; at most 1 is enough."""

    def lacks_beyond(self, n: float, values: int, rarer: float) -> float:
        """The same of a percentile, beyond which lies the share `rarer` of the values, which are worth n independent ones."""
        if rarer <= 0:
            return math.inf
        if values * rarer < FEWEST_BEYOND:  # so few that they do not show how they hang together
            return max(self.lacks, FEWEST_BEYOND / (rarer * values * _worth(MOST_COSINES)))
        if not self.hangs_together:
            return max(self.lacks, FEWEST_BEYOND / (rarer * n))
        slow = FEWEST_SLOW_BEYOND / max(rarer * self.slowest, 1e-9)
        return max(self.lacks, FEWEST_BEYOND_TOGETHER / (rarer * n), slow)


def _by_request(values: Samples | ByRequest, lengths: Counts | None) -> ByRequest:
    return Held(values, lengths) if isinstance(values, np.ndarray) else values


def _mean_run(units: ByRequest) -> tuple[LongRun, Numbers]:
    sums, counts = units.sums(), units.counts()
    return _run_of(sums, counts), counts


def _run_of(sums: Numbers, counts: Numbers) -> LongRun:
    """Of the mean of the values, from their sum and number in each request; of the share of those that are at most some limit,
    from how many are."""
    found: Floats = counts * (sums.sum(dtype=np.float64) / counts.sum(dtype=np.float64))
    np.subtract(sums, found, out=found)
    return LongRun.of(found)


def _worth_of(run: LongRun, values: float, share: float) -> float:
    """How many independent values would tell the share as well as these, not more than there are."""
    error = run.error * run.n / values
    n = share * (1 - share) / error**2 if error > 0 else math.inf
    return min(n * _worth(run.degrees), values)


def _worth(degrees: float) -> float:
    """What an independent value is worth when the variance is known with so many degrees of freedom (Korn and Graubard)."""
    above = (1 + LEVEL) / 2
    return (normal(above) / student_t(above, degrees)) ** 2


def _quantiles(values: Samples, levels: Sequence[float]) -> list[float]:
    if len(values) <= EXACT_UP_TO:
        return quantiles(values, levels)
    histogram = _engine.Histogram()
    histogram.add(np.ascontiguousarray(values))
    return [histogram.quantile(level) for level in levels]


def _unknown(n: int, effective: float, lacks: float) -> Interval:
    return Interval(None, None, effective, _about(n * lacks) if math.isfinite(lacks) else None)


def _about(count: float) -> int:
    """Rounded up to two digits."""
    digits = max(math.floor(math.log10(max(count, 1.0))) - 1, 0)
    return int(math.ceil(count / 10**digits) * 10**digits)
