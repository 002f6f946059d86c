"""One number of a run by its name: ttft_p99, itl_mean, requests_per_s. What --fail-if and --until name is parsed here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import BY_NAME, FIGURES
from vllmperf.metrics.entry import Figure, Metric

WORDS = {"mean": "mean", "avg": "mean", "median": "p50", "std": "std", "min": "min", "max": "max"}
"""What may stand for a statistic, and its key in the summary; percentiles are p50, p99.9."""
PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
LEFT_OUT = ("throughput", "requests")
"""Parts of the summary that are not in the name of a figure: requests_per_s, completed."""


class Quantity(NamedTuple):
    """A statistic of a metric ("mean", "p99": the key in its row of the summary), or a figure."""

    name: str
    metric: Metric | None = None
    statistic: str = ""
    figure: Figure | None = None

    @property
    def percentile(self) -> float | None:
        """0 to 100; None for what is no percentile."""
        return float(self.statistic[1:]) if PERCENTILE.fullmatch(self.statistic) else None

    @property
    def unit(self) -> str:
        if self.metric is not None:
            return self.metric.unit
        assert self.figure is not None
        return self.figure.unit

    @property
    def label(self) -> str:
        """P99 TTFT, Requests/s"""
        if self.metric is None:
            assert self.figure is not None
            return self.figure.label
        word = {"p50": "Median"}.get(self.statistic, self.statistic.capitalize())
        return f"{word} {self.metric.short}"

    @property
    def more_is_better(self) -> bool | None:
        """Of times less is, of rates and of the share within the objectives more; None where neither is."""
        if self.metric is not None:
            return False
        assert self.figure is not None
        return True if self.figure.path[0] in ("throughput", "goodput") else None

    def of(self, summary: Mapping[str, Any]) -> float | None:
        """Its value in a summary, which must have the percentile; None where it was not measured."""
        if self.figure is not None:
            return self.figure.of(summary)
        assert self.metric is not None
        value: float | None = (summary["metrics"].get(self.metric.key) or {}).get(self.statistic)
        return value


def of_figure(figure: Figure) -> Quantity:
    return Quantity("_".join(part for part in figure.path if part not in LEFT_OUT), figure=figure)


def of_metric(metric: Metric, statistic: str) -> Quantity:
    return Quantity(f"{metric.name}_{statistic}", metric, statistic)


FIGURES_BY_NAME = {of_figure(figure).name: figure for figure in FIGURES}
ALIASES = {figure.vllm: name for name, figure in FIGURES_BY_NAME.items() if figure.vllm}
"""vLLM's names, which the figures of `compare --json` have."""


def quantity(text: str) -> Quantity:
    """The quantity of a name; p99_ttft and p99_ttft_ms are ttft_p99 too. Raises UsageError with the nearest name.

    >>> quantity("ttft_p99").label, quantity("requests_per_s").unit
    ('P99 TTFT', 'requests/s')
    """
    name = text.strip().lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if figure := FIGURES_BY_NAME.get(name):
        return of_figure(figure)
    bare = name.removesuffix("_ms")
    for split in (bare.rpartition("_"), bare.partition("_")[::-1]):
        metric, statistic = BY_NAME.get(split[0]), _statistic(split[2])
        if metric is not None and statistic is not None:
            return of_metric(metric, statistic)
    raise UsageError(f"there is no metric {text.strip()!r}{_hint(name)}")


def _statistic(word: str) -> str | None:
    if match := PERCENTILE.fullmatch(word):
        return f"p{float(match[1]):g}"
    return WORDS.get(word)


def _hint(name: str) -> str:
    """: did you mean ttft_p99?"""
    if name in BY_NAME:
        return f": say which of its numbers, such as {name}_p99 or {name}_mean"
    known = [
        *FIGURES_BY_NAME,
        *(f"{metric}_{word}" for metric in BY_NAME for word in (*WORDS, "p50", "p90", "p99")),
    ]
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return (
        f": did you mean {close[0]}?"
        if close
        else ": known are such as ttft_p99, itl_mean, requests_per_s (docs/metrics.md)"
    )
