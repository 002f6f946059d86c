"""The same task several times, with a seed of its own each time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.errors import CheckError, SettingError, UsageError, VllmperfError
from vllmperf.loadgen.recorded import record_run
from vllmperf.loadgen.subscribers import Progress
from vllmperf.loadgen.task import Task
from vllmperf.metrics.ending import ending
from vllmperf.record.plans import described
from vllmperf.record.reader import header
from vllmperf.repeats import INTERRUPTED, Repeats
from vllmperf.run import Run

if TYPE_CHECKING:
    from vllmperf.loadgen.rolling import Tell

MOST = 1000
SEEDS = 2**32

Shown = Callable[[], AbstractContextManager[Progress | None]]
"""Gives each run its own display."""


def repeat_run(
    task: Task,
    k: int,
    record: Path | None = None,
    shown: Shown = nullcontext,
    trim: bool = True,
    tell: Tell | None = None,
) -> Repeats:
    """Carry a task out k times, one run after the other, with seeds from its own on. record: NAME.vllmperf gives run files
    NAME.1.vllmperf and so on. Ctrl-C, or an error after the first run, ends the series and keeps the finished runs. tell: as
    in record_run().

    Raises UsageError for k out of bounds and for a run file that is there already, before the first run.
    """
    if not 2 <= k <= MOST:
        raise SettingError("{repeat} takes 2 to {most} runs (got {k})", most=MOST, k=k)
    paths = [None if record is None else numbered(record, i + 1) for i in range(k)]
    if taken := next((path for path in paths if path is not None and path.exists()), None):
        raise UsageError(f"{taken} exists already: choose another name or remove it")
    runs: list[Run] = []
    ended = ""
    for i, path in enumerate(paths):
        one = task.replace(seed=(task.plan.workload.seed + i) % SEEDS)
        try:
            with shown() as progress:
                run = record_run(one, path, progress, tell=tell)
        except KeyboardInterrupt:
            ended = INTERRUPTED
        except VllmperfError as error:
            if not runs:
                raise
            ended = str(error)
        else:
            ended = _cut_short(run.path)
            if not ended:
                runs.append(run if trim else Run(run.path, run, trim=False))
        if ended:
            break
    if not runs and ended != INTERRUPTED:
        raise CheckError(f"the first run is of no use: {ended}")
    if not runs:
        raise KeyboardInterrupt
    return Repeats(runs, k, ended)


def _cut_short(path: Path) -> str:
    """Why this run ended early; "" when it did not."""
    found = header(path)
    gave_up = ending(described(found.meta), found.meta.get("counters") or {})
    return (
        f"it gave up: {gave_up['words']}" if gave_up else INTERRUPTED if found.state == "interrupted" else ""
    )


def numbered(path: Path, number: int) -> Path:
    """run.vllmperf → run.1.vllmperf"""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
