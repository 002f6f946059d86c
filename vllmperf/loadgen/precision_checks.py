"""Checks a run while it goes on, and ends it when it knows the number that --until names well enough.

What finished is collected here, not read from the run file, which would hold its writer up; gaps only where the number needs
them. A check computes in a thread of its own, so that the session feeds the engine meanwhile.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.loadgen.subscribers import DRAIN
from vllmperf.loadgen.task import Task
from vllmperf.metrics.precise import checked, is_known, wanted
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.stopping import first_check, next_check
from vllmperf.metrics.trim import view
from vllmperf.plan.precision import Precision
from vllmperf.record.gaps import HeldGaps
from vllmperf.record.reader import Recording

COMPLETED = _engine.OUTCOMES.index("completed")


class PrecisionChecks:
    """Asked after each batch of finished requests (vllmperf.loadgen.subscribers.Enough)."""

    def __init__(self, plan: dict[str, Any], found: Quantity, precision: Precision) -> None:
        """plan: the run's settings by name."""
        self._plan, self._found, self._precision = plan, found, precision
        self._needs_gaps = found.metric is not None and found.metric.of_request is None
        self._rows: list[NDArray[np.void]] = []
        self._gaps: list[NDArray[np.void]] = []
        self._completed, self._next = 0, first_check(found.percentile)
        self._pending: Future[bool] | None = None
        self._pool = ThreadPoolExecutor(1, "vllmperf-precision")
        self._checked_at: list[int] = []
        self._stopped = False

    def __call__(self, batch: _engine.Batch, _: _engine.Counters) -> bool | str:
        if self._stopped:
            return False
        self._collect(batch)
        if self._pending is not None:
            if not self._pending.done():
                return False
            self._stopped, self._pending = self._pending.result(), None
        elif self._completed >= self._next:
            self._checked_at.append(self._completed)
            self._next = next_check(self._completed)
            self._pending = self._pool.submit(self._check, list(self._rows), list(self._gaps))
        return DRAIN if self._stopped else False

    def facts(self) -> dict[str, Any]:
        """For the run file, at the end of the run: completed requests at each check, and whether one ended it."""
        self._pool.shutdown(cancel_futures=True)
        return {"checked_at": self._checked_at, "stopped": self._stopped}

    def _collect(self, batch: _engine.Batch) -> None:
        rows = np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
        if not len(rows):
            return
        self._rows.append(rows)
        self._completed += int((rows["outcome"] == COMPLETED).sum())
        if self._needs_gaps:
            self._gaps.append(np.frombuffer(batch["gaps"], dtype=np.dtype(_engine.GAP_DTYPE)))

    def _check(self, rows: list[NDArray[np.void]], gaps: list[NDArray[np.void]]) -> bool:
        return is_known(view(_recording(self._plan, rows, gaps)), self._found, self._precision)


def checks_of(task: Task) -> PrecisionChecks | None:
    """Of a task that is to go on until a number is known well enough; else None."""
    plan = task.described()
    precision, found = wanted(plan), checked(plan)
    return None if precision is None or found is None else PrecisionChecks(plan, found, precision)


def _recording(plan: dict[str, Any], rows: list[NDArray[np.void]], gaps: list[NDArray[np.void]]) -> Recording:
    """As much of a recording as estimates take: requests in the order in which they ended."""
    requests = np.concatenate(rows)
    all_gaps = np.concatenate(gaps) if gaps else np.zeros(0, dtype=np.dtype(_engine.GAP_DTYPE))
    return Recording(
        path=Path(),
        plan=plan,
        environment={},
        meta={},
        state="running",
        requests=requests,
        gaps=HeldGaps(
            np.ascontiguousarray(all_gaps["ns"], dtype=np.float32),
            np.ascontiguousarray(all_gaps["tokens"], dtype=np.uint16),
            all_gaps["shared"].astype(np.bool_),
        ),
        stamps=np.zeros((0, 2), dtype=np.int64),
        texts=[],
        errors=[],
        histograms={},
    )
