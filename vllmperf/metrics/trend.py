"""Whether figures drift over the hours of a run: the slope of each over time, with an interval that allows for values that
resemble the ones before them.

The slope is that of least squares over blocks of equal length. Its error comes from `long_run`: the products of time and residual
are a series whose mean is 0 without a drift, and whose variance at the lowest frequencies says how far that mean may be off.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

import vllmperf._engine as _engine
from vllmperf.metrics.distributions import student_t
from vllmperf.metrics.long_run import Floats, LongRun
from vllmperf.metrics.rolling import intervals_of
from vllmperf.metrics.view import NS, Completed

LEVEL = 0.99
"""Several trends are looked at: by chance one of 25 runs would show one of four."""
SHORTEST_S = 600.0
"""A shorter run says nothing of hours."""
BLOCKS, FEWEST_BLOCKS = 240, 40
SHORTEST_BLOCK_S = 5.0
FEWEST_REQUESTS = 20
"""Of a block on average: a median of fewer jumps."""
HOUR_S = 3600.0
FIGURES = (("requests_per_s", "requests/s"), ("ttft_ms_p50", "TTFT p50"), ("itl_ms_p50", "ITL p50"))
MEMORY = ("client_rss_mb", "client memory")
SETTLED = 0.1
"""Share of a process's life after which its memory should not grow any more."""


class Trend(TypedDict):
    """per_hour in the unit of the figure; percent_per_hour of its mean, `level`. ci: of both, at LEVEL. drifts: 0 is outside."""

    figure: str
    label: str
    level: float
    per_hour: float
    percent_per_hour: float
    ci: list[float]
    ci_percent: list[float]
    hours: float
    drifts: bool


def trends(done: Completed) -> list[Trend] | None:
    """Of throughput, TTFT, ITL and the client's memory; None for a run of less than SHORTEST_S, or with too few requests."""
    whole = done.whole.recording
    end = whole.requests["end_ns"]
    known = end[end != _engine.NONE]
    if not len(known):
        return None
    seconds = float(known.max()) / NS
    length_s = max(seconds / BLOCKS, SHORTEST_BLOCK_S, FEWEST_REQUESTS * seconds / len(known))
    if seconds < SHORTEST_S or seconds / length_s < FEWEST_BLOCKS + 2:
        return None
    # Without the first block, in which the load fills up, and the last one, which is shorter.
    blocks = list(intervals_of(whole, round(length_s * NS)))[1:-1]
    found = [
        _trend_of(name, label, [(one.start_s, getattr(one, name)) for one in blocks])
        for name, label in FIGURES
    ]
    return [one for one in [*found, _memory(done)] if one is not None] or None


def _memory(done: Completed) -> Trend | None:
    """Of the last process of the client."""
    recording = done.whole.recording
    samples = recording.samples.get(("client", "rss_bytes"))
    if samples is None:
        return None
    at_s, mb = samples[:, 0] / NS, samples[:, 1] / 1e6
    ends = [
        one["at_ns"] / NS for one in recording.meta.get("breaks", ()) if one.get("reason") != "server_lost"
    ]
    began_s = max(ends, default=0.0)
    is_settled = at_s >= began_s + SETTLED * (at_s[-1] - began_s)
    if at_s[-1] - began_s < SHORTEST_S:
        return None
    return _trend_of(*MEMORY, list(zip(at_s[is_settled].tolist(), mb[is_settled].tolist(), strict=True)))


def _trend_of(figure: str, label: str, points: list[tuple[float, float | None]]) -> Trend | None:
    known = np.array([(at_s, value) for at_s, value in points if value is not None])
    if len(known) < FEWEST_BLOCKS or not known[:, 1].mean():
        return None
    at_h, values = known[:, 0] / HOUR_S, known[:, 1]
    level = float(values.mean())
    slope, half = slope_of(at_h, values)
    percent = [100 * value / level for value in (slope, slope - half, slope + half)]
    return Trend(
        figure=figure,
        label=label,
        level=level,
        per_hour=slope,
        percent_per_hour=percent[0],
        ci=[slope - half, slope + half],
        ci_percent=percent[1:],
        hours=float(at_h[-1] - at_h[0]),
        drifts=abs(slope) > half,
    )


def slope_of(at: Floats, values: Floats) -> tuple[float, float]:
    """The slope of values over time, and half the width of its interval."""
    centred = at - at.mean()
    spread = float(centred @ centred)
    slope = float(centred @ values) / spread
    residuals = values - values.mean() - slope * centred
    run = LongRun.of(centred * residuals)
    return slope, student_t((1 + LEVEL) / 2, run.degrees) * run.error * run.n / spread


def words(found: Trend) -> str:
    """ITL p50 +0.4 %/h (−0.1 … +0.9): no drift"""
    low, high = found["ci_percent"]
    end = (
        f"drift, {_signed(found['percent_per_hour'] * found['hours'])} % over the run"
        if found["drifts"]
        else "no drift"
    )
    return (
        f"{found['label']} {_signed(found['percent_per_hour'])} %/h ({_signed(low)} … {_signed(high)}): {end}"
    )


def _signed(value: float) -> str:
    """+0.4, −12, 0.0"""
    text = f"{abs(value):.1f}" if abs(value) < 100 else f"{abs(value):,.0f}"
    return text if float(text.replace(",", "")) == 0 else ("−" if value < 0 else "+") + text
