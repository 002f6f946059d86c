"""Two sets of figures side by side with the change: of runs, of result files of vLLM's clients, or of two rules for one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NotRequired, TypedDict

from vllmperf.comparison.chance import Differences, differences
from vllmperf.comparison.figures import LABELS, STATISTIC, STATISTICS, Figures, key_of
from vllmperf.comparison.setup import Setup, setup
from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.metrics.difference import CHANCE, Difference, holm
from vllmperf.metrics.estimates import WITH_INTERVAL
from vllmperf.metrics.quantity import Quantity, of_figure, of_metric
from vllmperf.shown import Shown

TESTED = ("mean", "p50", "p90", "p99")
"""Statistics of the metrics of the table whose change is held against chance. More of them would make each harder to see."""
QUANTITIES = {
    **{key_of(figure): of_figure(figure) for figure in FIGURES if figure.name in WITH_INTERVAL},
    **{
        f"{STATISTICS.get(word, word)}_{metric.key}": of_metric(metric, word)
        for metric in METRICS
        if metric.is_shown
        for word in TESTED
    },
}
"""What is held against chance, by the key of its row."""
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both sides. tested: the difference, None where none was asked for; p: how often chance alone gives as large
    a difference, corrected for all rows that were tested; None where a side has no interval."""

    key: str
    label: str
    first: float | None
    second: float | None
    tested: Difference | None = None
    p: float | None = None
    more_is_better: bool | None = None

    @property
    def change(self) -> float | None:
        """Of the second against the first, as a share; None where there is none."""
        if self.first is None or self.second is None or self.first == 0:
            return None
        return (self.second - self.first) / abs(self.first)

    @property
    def is_beyond_chance(self) -> bool | None:
        """None where nobody knows."""
        return None if self.p is None else self.p < CHANCE


class Side(TypedDict):
    name: str
    rule: str
    notes: list[str]


class Change(TypedDict):
    """From `difference` on: of rows that were held against chance."""

    a: float | None
    b: float | None
    change: float | None
    difference: NotRequired[float | None]
    ci95: NotRequired[list[float] | None]
    change_ci95: NotRequired[list[float] | None]
    p: NotRequired[float | None]
    beyond_chance: NotRequired[bool | None]


class ComparisonDict(TypedDict):
    a: Side
    b: Side
    figures: dict[str, Change]
    differs: NotRequired[dict[str, dict[str, list[object]]]]
    paired: NotRequired[bool]


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Two sides; rows has their figures. others: how many comparisons with the same first side are made beside this one.

    >>> first, second = Figures("a", "vllmperf", {"mean_ttft_ms": 40.0}), Figures("b", "vllmperf", {"mean_ttft_ms": 50.0})
    >>> Comparison(first, second)
                             a       b   change
      Mean TTFT (ms)     40.00   50.00   +25.0%
    """

    first: Figures
    second: Figures
    others: int = 0

    @cached_property
    def setup(self) -> Setup | None:
        """What differs beside the figures; None where a side is a file of vLLM, which does not say."""
        if self.first.summary is None or self.second.summary is None:
            return None
        return setup(self.first.summary, self.second.summary)

    @property
    def has_requests(self) -> bool:
        """Whether both sides have single requests by one rule, so that chance can be told."""
        return None not in (self.first.done, self.second.done) and self.first.rule == self.second.rule

    @property
    def is_paired(self) -> bool:
        """Whether both sides sent the same requests, so that each is compared with its twin."""
        return self.has_requests and self.setup is not None and self.setup.is_paired

    def differences(self, wanted: Sequence[Quantity]) -> Differences:
        """By name, of those that both runs have; none without single requests on both sides."""
        if not self.has_requests or self.first.done is None or self.second.done is None:
            return {}
        return differences(self.first.done, self.second.done, wanted, self.is_paired)

    @cached_property
    def rows(self) -> list[Row]:
        """Figures that both sides have; those of vLLM's files, and ITL by tokens beside ITL, also when one side has them."""
        rows = [*self._totals(), *self._statistics()]
        tested = self._tested(rows)
        return [self._with_chance(row, tested) for row in rows]

    @property
    def tells_chance(self) -> bool:
        """Whether the change of some figure could be held against chance."""
        return any(row.tested is not None for row in self.rows)

    @property
    def main_rows(self) -> list[Row]:
        """Those of the table: where chance can be told, what is held against it and failures; else all."""
        if not self.tells_chance:
            return self.rows
        return [
            row
            for row in self.rows
            if row.tested is not None or (row.key == FAILED and (row.first or row.second))
        ]

    def _tested(self, rows: Sequence[Row]) -> dict[str, tuple[Difference, float | None]]:
        """Difference and corrected p by key."""
        wanted = {row.key: QUANTITIES[row.key] for row in rows if row.key in QUANTITIES}
        found = self.differences(list(wanted.values()))
        known = {key: found[one.name] for key, one in wanted.items() if one.name in found}
        corrected = self.corrected([each.p for each in known.values()])
        return {key: (known[key], p) for key, p in zip(known, corrected, strict=True)}

    def corrected(self, p: Sequence[float | None]) -> list[float | None]:
        """For being several, here and in the other comparisons."""
        return [None if one is None else min(one * (1 + self.others), 1.0) for one in holm(p)]

    def _with_chance(self, row: Row, tested: Mapping[str, tuple[Difference, float | None]]) -> Row:
        if row.key not in tested:
            return row
        found, p = tested[row.key]
        better = QUANTITIES[row.key].more_is_better
        return Row(row.key, row.label, row.first, row.second, found, p, better)

    def _totals(self) -> Iterator[Row]:
        for figure in FIGURES:
            key = key_of(figure)
            first, second = self.first.values.get(key), self.second.values.get(key)
            has_both = first is not None and second is not None
            if has_both or (figure.vllm and (first is not None or second is not None)):
                yield Row(key, figure.label + (" (s)" if figure.unit == "s" else ""), first, second)

    def _statistics(self) -> Iterator[Row]:
        keys = dict.fromkeys([*self.first.values, *self.second.values])
        shown: set[str] = set()
        for metric, label in LABELS.items():
            for key in sorted((key for key in keys if _is_of(key, metric)), key=_place):
                both = self.first.values.get(key), self.second.values.get(key)
                is_beside = metric == "itl_token" and key.replace("itl_token", "itl") in shown
                if None not in both or (is_beside and both != (None, None)):
                    shown.add(key)
                    yield Row(key, f"{_word(key)} {label} (ms)", *both)

    def to_dict(self) -> ComparisonDict:
        """The same for machines."""
        a, b = (
            Side(name=side.name, rule=side.rule, notes=list(side.notes)) for side in (self.first, self.second)
        )
        found: ComparisonDict = {"a": a, "b": b, "figures": {row.key: _change(row) for row in self.rows}}
        if self.setup is not None:
            found["differs"] = self.setup.to_dict()
        if self.has_requests:
            found["paired"] = self.is_paired
        return found


@dataclass(frozen=True, repr=False)
class Comparisons(Shown):
    """Several runs, each against the first."""

    each: tuple[Comparison, ...]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    def to_dict(self) -> dict[str, list[ComparisonDict]]:
        """{"comparisons": [one of two sides, …]}"""
        return {"comparisons": [one.to_dict() for one in self.each]}


def compared(sides: Sequence[Figures]) -> Comparison | Comparisons:
    """Each side against the first."""
    first, *rest = sides
    found = tuple(Comparison(first, second, len(rest) - 1) for second in rest)
    return found[0] if len(found) == 1 else Comparisons(found)


def _change(row: Row) -> Change:
    found = Change(a=row.first, b=row.second, change=row.change)
    if row.tested is not None:
        found["difference"] = row.tested.change
        found["ci95"] = _both(row.tested.low, row.tested.high)
        found["change_ci95"] = _both(row.tested.share_low, row.tested.share_high)
        found["p"], found["beyond_chance"] = row.p, row.is_beyond_chance
    return found


def _both(low: float | None, high: float | None) -> list[float] | None:
    return None if low is None or high is None else [low, high]


def _is_of(key: str, metric: str) -> bool:
    match = STATISTIC.match(key)
    return match is not None and match[2] == metric


def _place(key: str) -> tuple[int, float]:
    """Mean, median, deviation, then percentiles as they rise."""
    word = key.partition("_")[0]
    order = ("mean", "median", "std")
    return (order.index(word), 0.0) if word in order else (len(order), float(word[1:]))


def _word(key: str) -> str:
    word = key.partition("_")[0]
    return {"mean": "Mean", "median": "Median", "std": "Std"}.get(word, word.upper())
