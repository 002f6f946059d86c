"""Two sets of figures side by side with the change: a run file, a result JSON of vLLM, or two rules for one run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.numbers import align

METRICS = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "itl_token": "ITL per token",
    "e2el": "E2EL",
    "client_queue_time": "Client queue time",
}
TOTALS = (
    ("completed", "Successful requests"),
    ("failed", "Failed requests"),
    ("duration", "Duration (s)"),
    ("total_input_tokens", "Input tokens"),
    ("total_output_tokens", "Output tokens"),
    ("request_throughput", "Requests/s"),
    ("request_goodput", "Requests/s within the objectives"),
    ("output_throughput", "Output tokens/s"),
    ("total_token_throughput", "All tokens/s"),
    ("max_output_tokens_per_s", "Output tokens in the busiest second"),
    ("max_concurrent_requests", "Most requests at once"),
)
SEVERAL_TOKENS_BELOW = 0.9
"""TPOT below this share of ITL: more tokens than chunks."""
STATISTIC = re.compile(r"^(mean|median|std|p[\d.]+)_(\w+)_ms$")
UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one side says. values: by vLLM's names for them, None where nothing was measured. notes: what has to
    be known to read them."""

    name: str
    rule: str
    values: Mapping[str, float | None]
    notes: tuple[str, ...] = ()


def figures_of_vllm(found: Mapping[str, Any], name: str) -> Figures:
    """The numbers of a result object of vLLM's clients, of any version, or of ours."""
    values = {
        key.rstrip(":"): value
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Figures(name, str(found.get("profile") or "vLLM's own"), values)


def figures_of_summary(
    summary: Mapping[str, Any], name: str, peak_tokens_per_s: float | None = None
) -> Figures:
    """The numbers of our summary, under the names that vLLM gives them."""
    requests, tokens, throughput = summary["requests"], summary["tokens"], summary["throughput"]
    goodput = summary.get("goodput")
    values: dict[str, float | None] = {
        "completed": requests["completed"],
        "failed": sum(requests["outcomes"].values()) - requests["completed"],
        "duration": summary["duration_s"],
        "total_input_tokens": tokens["prompt"],
        "total_output_tokens": tokens["output"],
        "request_throughput": throughput["requests_per_s"],
        "request_goodput": goodput["requests_per_s"] if goodput else None,
        "output_throughput": throughput["output_tokens_per_s"],
        "total_token_throughput": throughput["total_tokens_per_s"],
        "max_output_tokens_per_s": peak_tokens_per_s,
        "max_concurrent_requests": summary["in_flight"]["max"],
    }
    for metric in METRICS:
        row = summary["metrics"].get(f"{metric}_ms") or {}
        for ours, value in row.items():
            statistic = {"mean": "mean", "p50": "median", "std": "std"}.get(ours, ours)
            values[f"{statistic}_{metric}_ms"] = value
    return Figures(name, str(summary["profile"]), values, tuple(_notes(summary)))


def _notes(summary: Mapping[str, Any]) -> Iterator[str]:
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


def rows(first: Figures, second: Figures) -> list[Row]:
    """Figures that both sides have; totals, and ITL by tokens beside ITL, also when one side has them."""
    found = [Row(key, label, first.values.get(key), second.values.get(key)) for key, label in TOTALS]
    keys = dict.fromkeys([*first.values, *second.values])
    shown: set[str] = set()
    for metric, label in METRICS.items():
        for key in sorted((key for key in keys if _is_of(key, metric)), key=_place):
            both = first.values.get(key), second.values.get(key)
            if None not in both or (metric == "itl_token" and key.replace("itl_token", "itl") in shown):
                shown.add(key)
                found.append(Row(key, f"{_word(key)} {label} (ms)", *both))
    return [row for row in found if row.first is not None or row.second is not None]


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


def lines(first: Figures, second: Figures) -> Iterator[str]:
    """The table, and a line when the two follow different rules."""
    found = rows(first, second)
    labels = ["", *(row.label for row in found)]
    width = max(map(len, labels))
    columns = [
        _column(first.name, [_shown(row.first) for row in found]),
        _column(second.name, [_shown(row.second) for row in found]),
        _column("change", [_percent(row.change) for row in found]),
    ]
    for label, *cells in zip(labels, *columns, strict=True):
        yield "  ".join([label.ljust(width), *cells]).rstrip()
    if first.rule != second.rule:
        yield (
            f"{first.name} follows the rule {first.rule!r}, {second.name} {second.rule!r}: "
            "what differs may be the rule (docs/profiles.md)."
        )
    for side in (first, second):
        yield from (f"{side.name}: {note}" for note in side.notes)


def _column(head: str, cells: Sequence[str]) -> list[str]:
    """Decimal points under each other, the head flush right above them."""
    aligned = align(cells)
    width = max([len(head), *map(len, aligned)])
    return [head.rjust(width), *(cell.rjust(width) for cell in aligned)]


def to_json(first: Figures, second: Figures) -> dict[str, Any]:
    """The same for machines."""
    return {
        "a": {"name": first.name, "rule": first.rule, "notes": list(first.notes)},
        "b": {"name": second.name, "rule": second.rule, "notes": list(second.notes)},
        "figures": {
            row.key: {"a": row.first, "b": row.second, "change": row.change} for row in rows(first, second)
        },
    }


def _shown(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _percent(change: float | None) -> str:
    return UNKNOWN if change is None else f"{change:+.1%}"


def short_names(paths: Sequence[str]) -> list[str]:
    """Names for columns: the last parts of the paths, as many as tell them apart, cut to 24 characters."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return [name if len(name) <= 24 else "…" + name[-23:] for name in names]
