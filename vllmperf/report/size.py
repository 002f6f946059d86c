"""The answer of `vllmperf size` as JSON and as people read it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from vllmperf.numbers import NOTHING, number
from vllmperf.report import table
from vllmperf.report.console import print_lines, width_of
from vllmperf.report.table import Line, Row, Table, said

if TYPE_CHECKING:
    from vllmperf.model.simulate import Load, Outcome
    from vllmperf.model.sizing import Goals, Sizing

SCHEMA = 1
WIDTH = 100
"""Columns where there is no terminal."""
PERCENTILES = (50, 90, 99)
Published = Mapping[str, Mapping[str, Any]]
"""By the model's name: what published.answer() gives."""


def to_json(found: Sizing, goals: Goals, load: Load, published: Published) -> dict[str, Any]:
    """The object that `--json` prints; docs/sizing.md has its schema."""
    outcome = found.outcome
    return {
        "schema": SCHEMA,
        "max_rate_per_s": {"value": found.max_rate_per_s, "ci95": [found.low, found.high]},
        "limited_by": found.limited_by,
        "slo": {
            "ttft_ms": goals.ttft_ms,
            "ttft_percentile": goals.percentile_of("ttft"),
            "itl_ms": goals.itl_ms,
            "itl_percentile": goals.percentile_of("itl"),
            "output_tokens_per_s": goals.output_tokens_per_s,
        },
        "requests": {
            "input_tokens": load.input_tokens,
            "output_tokens": load.output_tokens,
            "input_spread": load.input_spread,
            "output_spread": load.output_spread,
            "distribution": "seen" if load.seen is not None else load.distribution,
        },
        "at_max_rate": {metric: _values(outcome, metric) for metric in ("ttft", "itl")},
        "output_tokens_per_s": outcome.output_tokens_per_s,
        "replicas": None
        if found.replicas is None
        else {"value": found.replicas, "ci95": [found.replicas_low, found.replicas_high]},
        "rate_of_each_per_s": found.each_per_s,
        "published_models": {name: dict(one) for name, one in published.items()} or None,
    }


def _values(outcome: Outcome, metric: str) -> dict[str, float | None]:
    values = {f"p{percent:g}": outcome.value(metric, percent) for percent in PERCENTILES}
    values = {"mean": outcome.value(metric, None), **values, "mean_half_width": outcome.half_width(metric)}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def show(found: Sizing, goals: Goals, published: Published, file: TextIO | None = None) -> None:
    """Print the answer, the latencies at that rate, and the published models' answers below it."""
    file = file or sys.stdout
    print_lines(_lines(found, goals, published, width_of(file, WIDTH)), file)


def _lines(found: Sizing, goals: Goals, published: Published, width: int) -> list[Line]:
    rate, low, high = map(number, (found.max_rate_per_s, found.low, found.high))
    tokens = f"{found.outcome.output_tokens_per_s:,.0f} output tokens/s"
    head = [
        (f"One replica carries {rate} requests/s (95 %: {low} … {high}).", "strong"),
        (f"{tokens}; limited by {_limit(found, goals)}.", ""),
        *([(_replicas(found), "")] if found.replicas is not None else []),
    ]
    notes = [(f"{name}: {one['why_not']}", "dim") for name, one in published.items() if one["why_not"]]
    blocks = [said(head, width), table.lines(_table(found, published), width), said(notes, width)]
    return [line for block in blocks if block for line in (*block, [])][:-1]


def _limit(found: Sizing, goals: Goals) -> str:
    if found.limited_by == "tps":
        return "--tps, which leaves a tenth of the saturated rate unused"
    if found.limited_by == "capacity":
        return "its capacity: the goals are kept up to saturation"
    percentile = goals.percentile_of(found.limited_by)
    return f"{found.limited_by.upper()} ({'mean' if percentile is None else f'p{percentile:g}'})"


def _replicas(found: Sizing) -> str:
    count = f"{found.replicas} replica{'s' if found.replicas != 1 else ''}"
    span = f"{found.replicas_low} … {found.replicas_high}"
    return f"The load needs {count} (95 %: {span}), each with {number(found.each_per_s)} requests/s."


def _table(found: Sizing, published: Published) -> Table:
    models = [name.replace("-parameter", "-par.") for name in published]
    rows = []
    for metric in ("ttft", "itl"):
        values = [found.outcome.value(metric, percent) for percent in (None, *PERCENTILES)]
        values += [one[f"{metric}_ms"] for one in published.values()]
        rows.append(Row(f"{metric.upper()}, ms", tuple(map(_number, values))))
    if published:
        rates = [number(found.max_rate_per_s), *[NOTHING] * len(PERCENTILES), *map(_rate, published.values())]
        rows.append(Row("largest rate/s", tuple(rates)))
    heads = ("mean", *(f"p{percent:g}" for percent in PERCENTILES), *models)
    return Table("at that rate", heads, tuple(rows), PUBLISHED if published else "")


PUBLISHED = (
    "Right: published queueing models, of 4 and 3 parameters and for chunked prefill. Theirs are means, also where they say "
    "a largest rate."
)


def _number(value: float | None) -> str:
    return number(None if value is None or math.isnan(value) else float(value))


def _rate(one: Mapping[str, Any]) -> str:
    return "none" if one["max_rate_per_s"] is None else number(one["max_rate_per_s"])
