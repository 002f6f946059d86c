"""When requests leave: absolute times in ns after the start, in pieces, so that long runs need no memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vllmperf import datasets
from vllmperf.errors import SettingError
from vllmperf.loadgen.arrival_file import read_trace
from vllmperf.loadgen.bodies import spec_of
from vllmperf.plan import Plan

PIECE = 1 << 16
Times = NDArray[np.int64]


class Schedule(NamedTuple):
    """How many requests there are, and when they leave.

    n: None when only time ends the run. times: pieces in order; None in a closed loop, where a request leaves
    as soon as there is a free slot.
    """

    n: int | None
    times: Iterator[Times] | None


def schedule(plan: Plan) -> Schedule:
    """The schedule of a plan. Raises UsageError for a bad arrival file."""
    if plan.load.arrival in ("trace", "dataset"):
        times = trace_ns(plan) if plan.load.arrival == "trace" else dataset_ns(plan)
        return Schedule(len(times), iter([times]))
    if not math.isfinite(plan.load.request_rate):
        return Schedule(plan.load.num_prompts, None)
    limits = [plan.load.num_prompts] if plan.load.num_prompts is not None else []
    if plan.load.duration is not None:
        limits.append(max(1, round(plan.load.request_rate * plan.load.duration)))
    n = min(limits)
    return Schedule(n, _spaced(plan, n))


def _spaced(plan: Plan, n: int) -> Iterator[Times]:
    if plan.load.arrival == "constant" or math.isinf(plan.load.burstiness):
        return constant_ns(plan.load.request_rate, n)
    shape = 1.0 if plan.load.arrival == "poisson" else plan.load.burstiness
    return gamma_ns(plan.load.request_rate, n, shape, plan.workload.seed)


def constant_ns(rate: float, n: int) -> Iterator[Times]:
    """Request i at i / rate, the first at once."""
    for first in range(0, n, PIECE):
        numbers = np.arange(first, min(first + PIECE, n), dtype=np.float64)
        yield np.rint(numbers * (1e9 / rate)).astype(np.int64)


def gamma_ns(rate: float, n: int, shape: float, seed: int) -> Iterator[Times]:
    """Gaps of a gamma distribution with mean 1/rate; shape 1 is a Poisson process, below 1 comes in bursts.

    As `vllm bench serve` draws them since July 2025 (vllm/benchmarks/serve.py, get_request): NumPy's legacy
    generator, gaps scaled so that the last request leaves at n/rate, the first after a gap of its own.
    """
    last_s = 0.0
    for times_s in _gamma_s(rate, n, shape, seed):  # drawn twice: the scale is known only at the end
        last_s = float(times_s[-1])
    scale = n / rate / last_s if last_s > 0 else 1.0
    for times_s in _gamma_s(rate, n, shape, seed):
        yield np.rint(times_s * scale * 1e9).astype(np.int64)


def _gamma_s(rate: float, n: int, shape: float, seed: int) -> Iterator[NDArray[np.float64]]:
    generator = np.random.RandomState(seed)
    last_s = 0.0
    for first in range(0, n, PIECE):
        gaps_s = generator.gamma(shape=shape, scale=1.0 / (rate * shape), size=min(PIECE, n - first))
        gaps_s[0] += last_s
        times_s = np.cumsum(gaps_s)
        last_s = float(times_s[-1])
        yield times_s


# ---- arrival files ----


def trace_ns(plan: Plan) -> Times:
    """The times of the plan's arrival file, from its earliest on, as many as the plan asks for."""
    path = Path(plan.load.arrival_file or "")
    times_s = np.sort(np.asarray(read_trace(path), dtype=np.float64))
    return _kept(plan, "{arrival_file}", path, times_s)


def dataset_ns(plan: Plan) -> Times:
    """The times of the plan's data set, from the first on; a request never leaves before the one ahead of it."""
    times_s = np.maximum.accumulate(np.asarray(datasets.times_s(spec_of(plan)), dtype=np.float64))
    if not len(times_s):
        raise SettingError("{dataset_path} {path} holds no usable row", path=plan.workload.dataset_path)
    return _kept(plan, "{dataset_path}", plan.workload.dataset_path, times_s)


def _kept(plan: Plan, of: str, path: object, times_s: NDArray[np.float64]) -> Times:
    times_ns: Times = np.rint((times_s - times_s[0]) * 1e9).astype(np.int64)
    if plan.load.num_prompts is not None and len(times_ns) < plan.load.num_prompts:
        raise SettingError(
            of + " {path} has {n} times, {num_prompts} is {got}: lower it",
            path=path,
            n=len(times_ns),
            got=plan.load.num_prompts,
        )
    kept = times_ns[: plan.load.num_prompts]
    return kept if plan.load.duration is None else kept[kept < plan.load.duration * 1e9]
