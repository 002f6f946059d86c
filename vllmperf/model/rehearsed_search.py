"""A search in virtual time: how often its interval holds the truth, and how often a step's verdict is wrong, can be
tried with many seeds on a server of known law."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.loadgen.subscribers import DRAIN
from vllmperf.loadgen.task import Task
from vllmperf.model.early_stop import EarlyStop
from vllmperf.model.rehearsal import cut, first_ones, rehearse
from vllmperf.model.search import NS, Search
from vllmperf.model.slo import Limits
from vllmperf.record.reader import Recording


class RehearsedSearch(Search):
    """Search with replays in place of runs. settings: of the batching simulator; stamp_ms as in rehearse()."""

    def __init__(
        self,
        settings: dict[str, Any],
        task: Task,
        limits: Limits,
        budget_s: float,
        folder: Path,
        max_num_seqs: int | None = None,
        stamp_ms: float = 0.0,
    ) -> None:
        self.virtual_s = 0.0
        super().__init__(task, limits, budget_s, folder, max_num_seqs)
        self.settings, self.stamp_ms = settings, stamp_ms

    def now_s(self) -> float:
        return self.virtual_s

    def _carry_out(self, task: Task, path: Path, early_stop: EarlyStop | None = None) -> Recording:
        plan = task.plan
        if plan.load.max_concurrency is not None:
            recording = self._single_requests(task)
        else:
            times = poisson_s(plan.load.request_rate, plan.load.duration or 0.0, plan.workload.seed)
            recording = self._rehearsed(task, len(times), arrival_s=times)
            recording = looked_at(recording, early_stop) if early_stop else recording
            last = ((plan.load.duration or 0.0) + plan.limits.grace_period) * NS
            if recording.requests["end_ns"].max(initial=0) > last:
                recording = cut(recording, last)
        self.virtual_s += float(recording.requests["end_ns"].max(initial=0)) / NS
        return replace(recording, path=path)

    def _single_requests(self, task: Task) -> Recording:
        load = task.plan.load
        if load.num_prompts is not None:
            return self._rehearsed(task, load.num_prompts, concurrency=1)
        one = self._rehearsed(task, 1, concurrency=1).requests["end_ns"][0] / NS
        return self._rehearsed(task, max(1, int((load.duration or 0.0) / one)), concurrency=1)

    def _rehearsed(self, task: Task, count: int, **load: Any) -> Recording:
        work = task.plan.workload
        rng, usual = np.random.default_rng(work.seed + 1), work.lengths
        prompts = spread_lengths(rng, usual.input, work.random_range_ratio, count)
        outputs = spread_lengths(rng, usual.output, work.random_range_ratio, count)
        return rehearse(
            self.settings,
            task.described(),
            prompts,
            outputs,
            stamp_ms=self.stamp_ms,
            seed=work.seed,
            **load,
        )


def poisson_s(rate: float, duration_s: float, seed: int) -> NDArray[np.float64]:
    """Poisson arrivals within the duration, the first one at least."""
    count = max(1, round(rate * duration_s))
    times = np.cumsum(np.random.default_rng(seed).exponential(1.0, count)) / rate
    return times[times <= max(duration_s, float(times[0]))]


def spread_lengths(
    rng: np.random.Generator, mean: int | None, spread: float, count: int
) -> NDArray[np.int64]:
    low, high = max(1, round((mean or 1) * (1 - spread))), max(1, round((mean or 1) * (1 + spread)))
    return rng.integers(low, high + 1, count)


def looked_at(recording: Recording, early_stop: EarlyStop) -> Recording:
    """The run as `early_stop` would have left it: whole, cut at the first look that was a failure, or without what would have
    been sent after one that was clear."""
    requests = recording.requests
    for at_s in early_stop.at_s:
        at_ns = at_s * NS
        back = requests[requests["end_ns"] <= at_ns]
        out = int(np.sum((requests["scheduled_ns"] <= at_ns) & (requests["end_ns"] > at_ns)))
        end = early_stop.look(back, out, at_s)
        if end:
            return first_ones(recording, len(back) + out) if end == DRAIN else cut(recording, at_ns)
    return recording
