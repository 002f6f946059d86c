"""Locust's statistics: entries by (method, name) and their sum, with its rounding or without."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable

Round = Callable[[float], float]


def locust_round(value: float) -> float:
    """As locust 2.18 keeps a sample: to 1 below 100, to 10 below 1,000, to 100 below 10,000, else to 1,000."""
    if value < 100:
        return round(value)
    return round(value, -1 if value < 1000 else -2 if value < 10000 else -3)


def unrounded(value: float) -> float:
    """The sample itself."""
    return value


class Entry:
    """The samples of one name: ms of a request, or the value of a metric."""

    def __init__(self, method: str, name: str) -> None:
        self.method, self.name = method, name
        self.failures = 0
        self._values = array("d")
        self._sorted: array[float] | None = None

    def add(self, value: float) -> None:
        """One more sample."""
        self._values.append(value)
        self._sorted = None

    @property
    def count(self) -> int:
        return len(self._values)

    @property
    def mean(self) -> float:
        """0 when there is none, as locust has it."""
        return math.fsum(self._values) / self.count if self.count else 0.0

    @property
    def least(self) -> float:
        return min(self._values, default=0.0)

    @property
    def most(self) -> float:
        return max(self._values, default=0.0)

    @property
    def failed_share(self) -> float:
        if not self.count:
            return 1.0 if self.failures else 0.0
        return self.failures / self.count

    def median(self, rounding: Round) -> float:
        """The lower one of two in the middle, within the extremes."""
        if not self.count:
            return 0
        value = rounding(self._in_order()[(self.count - 1) // 2])
        return max(self.least, min(self.most, value))

    def percentile(self, share: float, rounding: Round) -> float:
        """The sample of rank int(n * share), counted from 0; the largest one beyond. 0 when there is none."""
        if not self.count:
            return 0
        return rounding(self._in_order()[min(self.count - 1, int(self.count * share))])

    def _in_order(self) -> array[float]:
        if self._sorted is None:
            self._sorted = array("d", sorted(self._values))
        return self._sorted


class Stats:
    """All entries of a run. Times are s from its start."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.start_s = 0.0
        self.last_s: float | None = None
        self.total = Entry("", "Aggregated")

    def entry(self, method: str, name: str) -> Entry:
        """The entry of that name, made when there is none yet."""
        return self.entries.setdefault((name, method), Entry(method, name))

    def add(self, method: str, name: str, value: float, at_s: float) -> None:
        """A sample that came at at_s."""
        self.entry(method, name).add(value)
        self.total.add(value)
        self.last_s = at_s if self.last_s is None else max(at_s, self.last_s)

    def fail(self, method: str, name: str, error: str) -> None:
        """The sample just added was a failure."""
        self.entry(method, name).failures += 1
        self.total.failures += 1
        self.errors[method, name, error] += 1

    def reset(self, at_s: float) -> None:
        """Throw all samples away, keep the names."""
        self.entries = {key: Entry(entry.method, entry.name) for key, entry in self.entries.items()}
        self.total = Entry("", "Aggregated")
        self.errors.clear()
        self.start_s, self.last_s = at_s, None

    def rate(self, count: int) -> float:
        """So many in the time from the start to the last sample of any name, a second."""
        span_s = (self.last_s or 0.0) - self.start_s
        return count / span_s if self.last_s is not None and span_s > 0 else 0.0

    def in_order(self) -> list[Entry]:
        """By name, then method."""
        return [self.entries[key] for key in sorted(self.entries)]
