"""Many starts in numbers: each phase's distribution, and the change from one set to another with what n allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from vllmperf.metrics.distributions import student_t
from vllmperf.metrics.percentiles import percentile
from vllmperf.report.startup.spans import place, resolution_s, seconds_by_phase, total_s
from vllmperf.starts.result import Start

TOTAL = "total"
LEVEL = 0.95
FEWEST_FOR_INTERVAL = 3
"""Starts on either side: with two, an interval by Student's t is wider than anybody's question."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds of one phase over the starts that have it. `slowest` is the start of the maximum."""

    phase: str
    n: int
    p50_s: float
    p90_s: float
    max_s: float
    slowest: str


@dataclass(frozen=True, slots=True)
class Change:
    """From set a to set b, in seconds of their means. None: a side lacks the phase.

    interval_s: 95 % interval of the change by Welch's t, from three starts a side on; else None.
    spread_s: smallest and largest change between any start of a and any of b.
    is_resolved: the change is larger than how far one stamp may be off.
    """

    phase: str
    n_a: int
    n_b: int
    mean_a_s: float | None
    mean_b_s: float | None
    change_s: float | None
    change_share: float | None
    interval_s: tuple[float, float] | None
    spread_s: tuple[float, float] | None
    is_resolved: bool

    @property
    def is_sure(self) -> bool:
        """The interval, or without one the spread, leaves no doubt about the sign."""
        low, high = self.interval_s or self.spread_s or (0.0, 0.0)
        return self.is_resolved and (low > 0 or high < 0)


def reached(starts: Sequence[Start]) -> list[Start]:
    """Those that came to their end: the others' phases are no start-up times."""
    return [start for start in starts if start.reached]


def samples(starts: Sequence[Start]) -> dict[str, list[tuple[float, str]]]:
    """(seconds, name of the start) by phase, in order of phases, the total last. Only starts that were reached."""
    found: dict[str, list[tuple[float, str]]] = {}
    for start in reached(starts):
        for name, seconds in seconds_by_phase(start).items():
            found.setdefault(name, []).append((seconds, start.name))
    found = {name: found[name] for name in sorted(found, key=place)}
    totals = [(total, s.name) for s in reached(starts) if (total := total_s(s)) is not None]
    return found | ({TOTAL: totals} if totals else {})


def distribution(starts: Sequence[Start]) -> list[Distribution]:
    return [_describe(name, values) for name, values in samples(starts).items()]


def _describe(name: str, values: Sequence[tuple[float, str]]) -> Distribution:
    seconds = [value for value, _ in values]
    slowest = max(values, key=lambda pair: pair[0])
    p50, p90 = percentile(seconds, [50.0, 90.0]).tolist()
    return Distribution(name, len(values), p50, p90, slowest[0], slowest[1])


def compare(starts_a: Sequence[Start], starts_b: Sequence[Start]) -> list[Change]:
    """The change of each phase and of the total from a to b, in order of phases."""
    a, b = _values(starts_a), _values(starts_b)
    names = sorted(({*a, *b}) - {TOTAL}, key=place)
    coarsest = max((r for s in [*starts_a, *starts_b] if (r := resolution_s(s)) is not None), default=0.0)
    return [_change(name, a.get(name, []), b.get(name, []), coarsest) for name in (*names, TOTAL)]


def _values(starts: Sequence[Start]) -> dict[str, list[float]]:
    return {name: [value for value, _ in pairs] for name, pairs in samples(starts).items()}


def _change(name: str, a: Sequence[float], b: Sequence[float], resolution: float) -> Change:
    mean_a, mean_b = (fmean(a) if a else None), (fmean(b) if b else None)
    if mean_a is None or mean_b is None:
        return Change(name, len(a), len(b), mean_a, mean_b, None, None, None, None, False)
    change = mean_b - mean_a
    return Change(
        name,
        len(a),
        len(b),
        mean_a,
        mean_b,
        change,
        change / mean_a if mean_a > 0 else None,
        welch(a, b),
        (min(b) - max(a), max(b) - min(a)),
        abs(change) > resolution,
    )


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Confidence interval of mean(b) − mean(a), variances not taken as equal (Welch 1947). None for fewer than three
    values a side. It covers the scatter between starts, not what all starts share (a cold page cache, a slow node)."""
    if min(len(a), len(b)) < FEWEST_FOR_INTERVAL:
        return None
    change = fmean(b) - fmean(a)
    part_a, part_b = variance(a) / len(a), variance(b) / len(b)
    both = part_a + part_b
    if both == 0:
        return change, change
    degrees = both**2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
    half = student_t((1 + LEVEL) / 2, degrees) * math.sqrt(both)
    return change - half, change + half
