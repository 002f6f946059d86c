"""Two sets of figures side by side with the change: of runs, of result files of vLLM's clients, or of two rules for one run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from vllmperf.metrics.definitions import FIGURES, METRICS, Figure
from vllmperf.metrics.summary import Summary
from vllmperf.shown import Shown

OF_VLLM_ALONE = {
    "client_queue_time": "Client queue time",
    "e2el_including_client_queue": "E2EL with the client's queue",
}
"""Metrics that only vLLM's files have."""
LABELS = {metric.name: metric.short for metric in METRICS} | OF_VLLM_ALONE
INTERVALS = ("ci95", "ci95_needs")
SEVERAL_TOKENS_BELOW = 0.9
"""TPOT below this share of ITL: more tokens than chunks."""
STATISTIC = re.compile(r"^(mean|median|std|p[\d.]+)_(\w+)_ms$")
STATISTICS = {"mean": "mean", "p50": "median", "std": "std"}
"""Ours → vLLM's word."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one side says. values: by vLLM's names for them where it has them, None where nothing was measured. notes: what
    has to be known to read them."""

    name: str
    rule: str
    values: Mapping[str, float | None]
    notes: tuple[str, ...] = ()


def figures_of_vllm(found: Mapping[str, object], name: str) -> Figures:
    """The numbers of a result object of vLLM's clients, of any version, or of ours."""
    values: dict[str, float | None] = {
        key.rstrip(":"): value
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Figures(name, str(found.get("profile") or "vLLM's own"), values)


def figures_of_summary(summary: Summary, name: str) -> Figures:
    """The numbers of our summary, under the names that vLLM gives them where it does."""
    values: dict[str, float | None] = {_key(figure): figure.of(summary) for figure in FIGURES}
    for metric in METRICS:
        for ours, value in (summary["metrics"].get(metric.key) or {}).items():
            if ours not in INTERVALS:
                values[f"{STATISTICS.get(ours, ours)}_{metric.key}"] = value
    return Figures(name, str(summary["profile"]), values, tuple(_notes(summary)))


def _key(figure: Figure) -> str:
    return figure.vllm or figure.name


def _notes(summary: Summary) -> Iterator[str]:
    """What is known of tokens only as a whole, or not at all."""
    sources, metrics = summary["tokens"]["sources"], summary["metrics"]
    if sources.get("chunks"):
        yield (
            f"{sources['chunks']} of {sum(sources.values())} answers came without usage: their chunks were counted as "
            "tokens, so that tokens, tokens/s and TPOT are off where a chunk brings several."
        )
    itl, tpot = metrics.get("itl_ms"), metrics.get("tpot_ms")
    if itl and tpot and not metrics.get("itl_token_ms") and tpot["mean"] < SEVERAL_TOKENS_BELOW * itl["mean"]:
        yield (
            "chunks brought several tokens, how many in each was not told: ITL is the time between chunks, that "
            "between tokens is TPOT."
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both sides. change: of the second against the first, as a share; None where there is none."""

    key: str
    label: str
    first: float | None
    second: float | None

    @property
    def change(self) -> float | None:
        if self.first is None or self.second is None or self.first == 0:
            return None
        return (self.second - self.first) / abs(self.first)


class Side(TypedDict):
    name: str
    rule: str
    notes: list[str]


class Change(TypedDict):
    a: float | None
    b: float | None
    change: float | None


class ComparisonDict(TypedDict):
    a: Side
    b: Side
    figures: dict[str, Change]


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Shown):
    """Two sides; rows has their figures.

    >>> first, second = Figures("a", "vllmperf", {"mean_ttft_ms": 40.0}), Figures("b", "vllmperf", {"mean_ttft_ms": 50.0})
    >>> Comparison(first, second)
                             a       b   change
      Mean TTFT (ms)     40.00   50.00   +25.0%
    """

    first: Figures
    second: Figures

    @property
    def rows(self) -> list[Row]:
        """Figures that both sides have; those of vLLM's files, and ITL by tokens beside ITL, also when one side has them."""
        return [*self._totals(), *self._statistics()]

    def _totals(self) -> Iterator[Row]:
        for figure in FIGURES:
            key = _key(figure)
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
        changes = {row.key: Change(a=row.first, b=row.second, change=row.change) for row in self.rows}
        return {"a": a, "b": b, "figures": changes}


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


def short_names(paths: Sequence[str]) -> list[str]:
    """Names for columns: the last parts of the paths, as many as tell them apart, cut to 24 characters."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return [name if len(name) <= 24 else "…" + name[-23:] for name in names]
