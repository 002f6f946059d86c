"""What the GPUs of a server drew while it was loaded, and what a request and a token took of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np

from vllmperf.metrics.view import NS
from vllmperf.record.reader import Recording
from vllmperf.record.samples import Series

GPU, POWER, LIMIT, ENERGY = "gpu ", "power_w", "limit_w", "energy_j"
NEAR = 0.9
"""A GPU that draws less than this share of its limit on average is not near it."""
LEAST_ABOVE_IDLE = 0.05
"""Share of the limit by which power must lie above idle for the rate to follow from it."""


class OfGpu(TypedDict):
    gpu: str
    mean_w: float
    max_w: float
    idle_w: float | None
    limit_w: float | None


class Power(TypedDict):
    """Watts of all GPUs together and of one, joules of all. energy_from: "counter" of the GPUs, or "samples" of watts.
    share_of_limit: of their mean power. idle_w: of all before the run. rate_may_rise_by: factors, the cautious one (power goes
    with the rate from 0 W) and that with idle power left out; None near the limit, or where it is not known."""

    source: str
    gpus: list[OfGpu]
    samples: int
    mean_w: float
    max_w: float
    mean_w_per_gpu: float
    max_w_per_gpu: float
    energy_j: float
    energy_from: str
    j_per_output_token: float | None
    j_per_token: float | None
    j_per_request: float | None
    limit_w_per_gpu: float | None
    share_of_limit: float | None
    idle_w: float | None
    rate_may_rise_by: list[float] | None


def power(
    recording: Recording, requests: int, tokens: Mapping[str, Any], seconds: float | None
) -> Power | None:
    """None where nothing was sampled. requests, tokens: completed ones, and those of the whole run; seconds: its length."""
    watts = {source: rows for (source, name), rows in recording.samples.items() if name == POWER}
    watts = {source: rows for source, rows in watts.items() if (rows[:, 0] >= 0).any()}
    if not watts or not seconds:
        return None
    limits = {source: _limit(recording, source) for source in watts}
    gpus = [_gpu(source, rows, limits[source]) for source, rows in sorted(watts.items())]
    mean = sum(one["mean_w"] for one in gpus)
    counted = _counted_watts(recording, list(watts))
    joules = (mean if counted is None else counted) * seconds
    output, prompt = tokens.get("output"), tokens.get("prompt")
    limit = _all(limits.values())
    idle = _all(one["idle_w"] for one in gpus)
    share = mean / limit if limit else None
    return Power(
        source=str(recording.plan.get("power")),
        gpus=gpus,
        samples=sum(int((rows[:, 0] >= 0).sum()) for rows in watts.values()),
        mean_w=mean,
        max_w=_highest(list(watts.values())),
        mean_w_per_gpu=mean / len(gpus),
        max_w_per_gpu=max(one["max_w"] for one in gpus),
        energy_j=joules,
        energy_from="samples" if counted is None else "counter",
        j_per_output_token=joules / output if output else None,
        j_per_token=joules / (output + prompt) if output and prompt else None,
        j_per_request=joules / requests if requests else None,
        limit_w_per_gpu=limit / len(gpus) if limit else None,
        share_of_limit=share,
        idle_w=idle,
        rate_may_rise_by=_rise(mean, limit, idle),
    )


def _gpu(source: str, rows: Series, limit_w: float | None) -> OfGpu:
    during = rows[rows[:, 0] >= 0, 1]
    before = rows[rows[:, 0] < 0, 1]
    return OfGpu(
        gpu=source.removeprefix(GPU),
        mean_w=float(during.mean()),
        max_w=float(during.max()),
        idle_w=float(before.min()) if len(before) else None,
        limit_w=limit_w,
    )


def _limit(recording: Recording, source: str) -> float | None:
    """As given, else as the GPU says."""
    if given := recording.plan.get("gpu_tdp"):
        return float(given)
    rows = recording.samples.get((source, LIMIT))
    return None if rows is None else float(rows[-1, 1])


def _all(values: Any) -> float | None:
    """The sum, if all are known."""
    known = list(values)
    return None if any(value is None for value in known) else float(sum(known))


def _highest(series: list[Series]) -> float:
    """Of all together: at each instant of the first, what each drew last."""
    at = np.unique(np.concatenate([rows[rows[:, 0] >= 0, 0] for rows in series]))
    total = np.zeros(len(at))
    for rows in series:
        during = rows[rows[:, 0] >= 0]
        place = np.clip(np.searchsorted(during[:, 0], at, side="right") - 1, 0, None)
        total += during[place, 1]
    return float(total.max())


def _counted_watts(recording: Recording, sources: list[str]) -> float | None:
    """Mean power of all by their counters of energy, without the time in which one began anew; None where one has no counter."""
    edges = [one["at_ns"] for one in recording.meta.get("breaks", ())]
    total = 0.0
    for source in sources:
        rows = recording.samples.get((source, ENERGY))
        rows = None if rows is None else rows[rows[:, 0] >= 0]
        watts = None if rows is None else _watts_between(rows, edges)
        if watts is None:
            return None
        total += watts
    return total


def _watts_between(rows: Series, edges: list[int]) -> float | None:
    joules = seconds = 0.0
    for (a_ns, a), (b_ns, b) in pairwise(rows.tolist()):
        if b >= a and b_ns > a_ns and not any(a_ns <= edge < b_ns for edge in edges):
            joules, seconds = joules + b - a, seconds + (b_ns - a_ns) / NS
    return joules / seconds if seconds and joules else None


def _rise(mean: float, limit: float | None, idle: float | None) -> list[float] | None:
    if limit is None or mean <= 0 or mean >= NEAR * limit:
        return None
    from_zero = limit / mean
    if idle is None or mean - idle < LEAST_ABOVE_IDLE * limit:
        return [from_zero, from_zero]
    return [from_zero, (limit - idle) / (mean - idle)]
