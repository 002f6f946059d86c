"""The figures of one side of a comparison: of a run, of a result file of another tool, or of another rule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.metrics.entry import Figure
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.statistics import NS_PER_MS, quantiles
from vllmperf.metrics.summary import Summary
from vllmperf.metrics.view import Completed
from vllmperf.numbers import clean, measured

OF_VLLM_ALONE = {
    "client_queue_time": "Client queue time",
    "e2el_including_client_queue": "E2EL with the client's queue",
}
"""Metrics that only vLLM's files have."""
LABELS = {metric.name: metric.short for metric in METRICS} | OF_VLLM_ALONE
INTERVALS = ("ci95", "ci95_needs", "mlcommons")
SEVERAL_TOKENS_BELOW = 0.9
"""TPOT below this share of ITL: more tokens than chunks."""
STATISTIC = re.compile(r"^(mean|median|std|p[\d.]+)_(\w+)_ms$")
STATISTICS = {"mean": "mean", "p50": "median", "std": "std"}
"""Ours → vLLM's word."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one side says. values: by vLLM's names for them where it has them, None where nothing was measured. notes: what
    has to be known to read them. warnings: what speaks against its figures. summary and done: of a run; done is None where there
    are no single requests."""

    name: str
    rule: str
    values: Mapping[str, float | None]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    summary: Summary | None = field(default=None, repr=False, compare=False)
    done: Completed | None = field(default=None, repr=False, compare=False)

    def value(self, wanted: Quantity) -> float | None:
        """A number by its name, in ms for times; None where it was not measured."""
        found = None if self.summary is None else wanted.of(self.summary)
        if (
            found is None
            and self.done is not None
            and wanted.metric is not None
            and wanted.percentile is not None
        ):
            samples = wanted.metric.values(self.done)
            return quantiles(samples, [wanted.percentile / 100])[0] / NS_PER_MS if len(samples) else None
        return found


def figures_of_vllm(found: Mapping[str, object], name: str) -> Figures:
    """The numbers of a result object of vLLM's clients, of any version, or of ours."""
    values: dict[str, float | None] = {
        key.rstrip(":"): measured(value)
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Figures(name, str(found.get("profile") or "vLLM's own"), values)


def figures_of_summary(summary: Summary, name: str, done: Completed | None = None) -> Figures:
    """The numbers of our summary, under the names that vLLM gives them where it does."""
    values: dict[str, float | None] = {key_of(figure): figure.of(summary) for figure in FIGURES}
    for metric in METRICS:
        for ours, value in (summary["metrics"].get(metric.key) or {}).items():
            if ours not in INTERVALS:
                values[f"{STATISTICS.get(ours, ours)}_{metric.key}"] = value
    return Figures(name, str(summary["profile"]), values, tuple(_notes(summary)), (), summary, done)


def key_of(figure: Figure) -> str:
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


def short_names(paths: Sequence[str]) -> list[str]:
    """Names for columns: the last parts of the paths, as many as tell them apart, cut to 24 characters."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return [name if len(name) <= 24 else "…" + name[-23:] for name in map(clean, names)]
