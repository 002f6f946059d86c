"""The answer of `vllmperf size` as JSON and as people read it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from vllmperf.numbers import number

if TYPE_CHECKING:
    from vllmperf.model.simulate import Load, Outcome
    from vllmperf.model.sizing import Goals, Sizing

SCHEMA = 1
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
    said = {f"p{percent:g}": outcome.value(metric, percent) for percent in PERCENTILES}
    said = {"mean": outcome.value(metric, None), **said, "mean_half_width": outcome.half_width(metric)}
    return {name: None if math.isnan(value) else value for name, value in said.items()}


def show(
    found: Sizing,
    goals: Goals,
    published: Published,
    file: IO[str] | None = None,
    width: int | None = None,
) -> None:
    """Print the answer, the latencies at that rate, and the published models' answers below it."""
    from rich.console import Console

    console = Console(file=file or sys.stdout, width=width, highlight=False)
    rate, low, high = (f"{one:.4g}" for one in (found.max_rate_per_s, found.low, found.high))
    console.print(
        f"One replica carries {rate} requests/s (95 %: {low} … {high}).", style="bold", markup=False
    )
    tokens = f"{found.outcome.output_tokens_per_s:,.0f} output tokens/s"
    console.print(f"{tokens}; limited by {_limit(found, goals)}.", markup=False)
    if found.replicas is not None:
        console.print(_replicas(found), markup=False)
    console.print(_table(found, published))
    for name, one in published.items():
        if one["why_not"]:
            console.print(f"{name}: {one['why_not']}", markup=False, style="dim")


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
    return f"The load needs {count} (95 %: {span}), each with {found.each_per_s:.4g} requests/s."


def _table(found: Sizing, published: Published) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("at that rate", no_wrap=True)
    models = [name.replace("-parameter", "-par.") for name in published]
    for head in ("mean", *(f"p{percent:g}" for percent in PERCENTILES), *models):
        table.add_column(head, justify="right", no_wrap=True)
    for metric in ("ttft", "itl"):
        values = [found.outcome.value(metric, percent) for percent in (None, *PERCENTILES)]
        values += [one[f"{metric}_ms"] for one in published.values()]
        table.add_row(f"{metric.upper()}, ms", *map(_number, values))
    if published:
        table.add_row(
            "largest rate/s", f"{found.max_rate_per_s:.4g}", *["–"] * 3, *map(_rate, published.values())
        )
        table.caption = (
            "Right: published queueing models, of 4 and 3 parameters and for chunked prefill. Theirs are means, "
            "also where they say a largest rate."
        )
        table.caption_justify = "left"
    return table


def _number(value: float | None) -> str:
    return number(None if value is None or math.isnan(value) else float(value))


def _rate(one: Mapping[str, Any]) -> str:
    return "none" if one["max_rate_per_s"] is None else f"{one['max_rate_per_s']:.4g}"
