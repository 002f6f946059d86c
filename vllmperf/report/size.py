"""The answer of `vllmperf size` as people read it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from vllmperf.numbers import NOTHING, number
from vllmperf.report import table
from vllmperf.report.console import print_lines, width_of
from vllmperf.report.table import Line, Row, Span, Table, plain, said

if TYPE_CHECKING:
    from vllmperf.model.sizing import Sizing

WIDTH = 100
"""Columns where there is no terminal."""
PERCENTILES = (50, 90, 99)


def text(found: Sizing, width: int = WIDTH) -> str:
    """The answer as plain text."""
    return plain(_lines(found, width))


def fragment(found: Sizing) -> str:
    """The same as HTML."""
    from vllmperf.report import html

    return html.styled(html.said(_head(found)) + html.table(_table(found)) + html.said(_notes(found)))


def show(found: Sizing, file: TextIO | None = None) -> None:
    """Print the answer, the latencies at that rate, and the published models' answers below it."""
    file = file or sys.stdout
    print_lines(_lines(found, width_of(file, WIDTH)), file)


def _lines(found: Sizing, width: int) -> list[Line]:
    blocks = [said(_head(found), width), table.lines(_table(found), width), said(_notes(found), width)]
    return [line for block in blocks if block for line in (*block, [])][:-1]


def _head(found: Sizing) -> list[Span]:
    rate, low, high = map(number, (found.max_rate_per_s, found.low, found.high))
    tokens = f"{found.outcome.output_tokens_per_s:,.0f} output tokens/s"
    return [
        (f"One replica carries {rate} requests/s (95 %: {low} … {high}).", "strong"),
        (f"{tokens}; limited by {_limit(found)}.", ""),
        *([(_replicas(found), "")] if found.replicas is not None else []),
    ]


def _notes(found: Sizing) -> list[Span]:
    return [(f"{name}: {one['why_not']}", "dim") for name, one in found.published.items() if one["why_not"]]


def _limit(found: Sizing) -> str:
    if found.limited_by == "tps":
        return "--tps, which leaves a tenth of the saturated rate unused"
    if found.limited_by == "capacity":
        return "its capacity: the goals are kept up to saturation"
    percentile = found.goals.percentile_of(found.limited_by)
    return f"{found.limited_by.upper()} ({'mean' if percentile is None else f'p{percentile:g}'})"


def _replicas(found: Sizing) -> str:
    count = f"{found.replicas} replica{'s' if found.replicas != 1 else ''}"
    span = f"{found.replicas_low} … {found.replicas_high}"
    return f"The load needs {count} (95 %: {span}), each with {number(found.each_per_s)} requests/s."


def _table(found: Sizing) -> Table:
    published = found.published
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
