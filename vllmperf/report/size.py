"""The answer of `vllmperf size` as people read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from vllmperf.numbers import NOTHING, brief, number, plural
from vllmperf.report.sheet import Sheet
from vllmperf.report.table import Row, Span, Table

if TYPE_CHECKING:
    from vllmperf.model.burst import Burst
    from vllmperf.model.cost import Cost
    from vllmperf.model.sizing import Sizing

PERCENTILES = (50, 90, 99)


def sheet(found: Sizing) -> Sheet:
    """The answer, the latencies at that rate, and the published models' answers below it."""
    return Sheet([_head(found), _table(found), _notes(found)])


def _head(found: Sizing) -> list[Span]:
    rate, low, high = map(number, (found.max_rate_per_s, found.low, found.high))
    tokens = f"{found.outcome.output_tokens_per_s:,.0f} output tokens/s"
    return [
        (f"One replica carries {rate} requests/s (95 %: {low} … {high}).", "strong"),
        (f"{tokens}; limited by {_limit(found)}.", ""),
        *([(_replicas(found), "")] if found.replicas is not None else []),
        *([(burst(found.burst), "")] if found.burst is not None else []),
        *([(cost(found, found.cost), "")] if found.cost is not None else []),
    ]


def burst(one: Burst) -> str:
    """A burst to 300 requests/s needs 9 replicas before it comes (95 %: 8 … 10): 3 spare …"""
    spare = f"{one.spare} spare (the load before needs {one.base})" if one.spare else "none spare"
    queue = (
        f"with the rate above what they serve, queues grow to a wait of {brief(one.wait_s)} s"
        if one.wait_s > 0
        else "they serve all of it"
    )
    return (
        f"A jump to {brief(one.rate_per_s)} requests/s needs {plural(one.replicas, 'replica')} (95 %: {one.least} … {one.most}) "
        f"that already run, {spare}: during the {brief(one.startup_s)} s until others have started, {queue}, and the requests of "
        f"that time keep the goals. The jump needs {one.after} if it stays."
    )


def cost(found: Sizing, one: Cost) -> str:
    """3,200 output tokens/s for each GPU; a million output tokens cost 0.21 …"""
    told = f"{number(one.output_tokens_per_s_per_gpu)} output tokens/s for each GPU"
    if one.price is None:
        return f"{told}."
    high, low = (one.scaled(rate / found.max_rate_per_s) for rate in (found.low, found.high))
    ends = f"95 %: {brief(low.per_million_output_tokens)} … {brief(high.per_million_output_tokens)}"
    told += (
        f"; a million output tokens cost {brief(one.per_million_output_tokens)} ({ends}), prompts counted "
    )
    told += f"{brief(one.per_million_tokens)}, at this rate"
    if found.each_per_s is not None:
        each = one.scaled(found.each_per_s / found.max_rate_per_s)
        told += f", and {brief(each.per_million_output_tokens)} at the load's {number(found.each_per_s)}/s of each"
    return f"{told}."


def _notes(found: Sizing) -> list[Span]:
    rests = [(f"Rests on {found.basis[0]}.", "dim")] if found.basis else []
    rests += [(f"! {text}", "warning") for text in found.basis[1:]]
    return rests + [
        (f"{name}: {one['why_not']}", "dim") for name, one in found.published.items() if one["why_not"]
    ]


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
    for metric in ("ttft", "tpot"):
        values = [found.outcome.value(metric, percent) for percent in (None, *PERCENTILES)]
        values += [cast("float", one[f"{metric}_ms"]) for one in published.values()]
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
