"""Make runs: one, several, one beside the loop of asyncio, the rest of one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.api.given import task_of
from vllmperf.errors import UsageError
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan

if TYPE_CHECKING:
    from vllmperf.loadgen.progress import Snapshot
    from vllmperf.loadgen.rolling import Tell
    from vllmperf.loadgen.subscribers import Enough, Watch
    from vllmperf.metrics.rolling import Interval
    from vllmperf.record.unfinished import Unfinished
    from vllmperf.repeats import Repeats
    from vllmperf.run import Run
    from vllmperf.sim import Server


def bench(
    target: str | Server | Sequence[str | Server] | Plan | None = None,
    /,
    *,
    record: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Run:
    """Load a server and give the run.

    target: base URL, like http://127.0.0.1:8000; a vllmperf.sim.Server; a Plan, which the settings change; or a list of URLs
    and Servers, which are loaded in turn (docs/targets.md). Without one: base_url=..., or sim=True or sim={"ttft_ms": 50} for
    a simulated server here.
    settings: those of Plan, named as the flags of `vllmperf bench`, of the engine (keep_text, threads, ...) and of the
    report (goodput, label, ...). url, rate, concurrency and dataset are short names. Durations are seconds, or texts like
    "30s"; request_rate is in requests/s (inf: as fast as max_concurrency allows); num_prompts is 1000 unless duration or
    an arrival file is given. The API key is that of OPENAI_API_KEY unless api_key is given. ready_check_timeout_sec waits for
    the server before the run.
    record: path of the run file (else a temporary one, see Run.save). resume: a run file whose run was broken off (killed,
    interrupted): send the requests that are not in it and add them to it; the settings must be those of its plan.
    progress: True for a live panel on stderr, or a function that takes a vllmperf.loadgen.progress.Snapshot. With
    report_interval=10 a line on stderr reports every 10 s what the run did in them; run.summary["intervals"] has the same.

    Raises UsageError for settings that are not known or do not fit together, TargetError when the server is not there.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     run = vp.bench(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> run.summary["requests"]["completed"], run.summary["tokens"]["output"]
    (6, 24)
    """
    if resume is None:
        return make_run(task_of(target, settings), Path(record) if record else None, progress)
    if record is not None or target is not None:
        raise UsageError("resume goes on with the plan and the file of a run: give no target and no record")
    from vllmperf.record.plans import plan_of
    from vllmperf.record.unfinished import unfinished

    before = unfinished(resume)
    return finish_run(Task.of(settings, plan_of(before.meta)), before, progress)


def repeat(
    target: str | Server | Sequence[str | Server] | Plan | None = None,
    k: int = 5,
    /,
    *,
    record: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Repeats:
    """Make the same run k times with different seeds (seed, seed + 1, …): each number's mean over the runs with the interval
    between runs, and whether the runs differ more than their own intervals allow.

    record: run.vllmperf gives run files run.1.vllmperf and so on. The other arguments and the errors are those of bench().

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     repeats = vp.repeat(server, 2, max_concurrency=2, num_prompts=6, output_len=4)
    >>> len(repeats), repeats.ttft_mean.mean >= 5
    (2, True)
    """
    return make_repeats(task_of(target, settings), k, Path(record) if record else None, progress)


async def bench_async(
    target: str | Server | Sequence[str | Server] | Plan | None = None,
    /,
    *,
    record: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Run:
    """The same as bench(), beside the loop of asyncio that is running: `run = await vp.bench_async(url)`.

    If the task is cancelled, the run ends at once; the file `record` holds what came until then. Raises what bench() raises.

    >>> import asyncio
    >>> import vllmperf as vp
    >>> async def work():
    ...     with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...         return await vp.bench_async(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> asyncio.run(work()).e2el.n
    6
    """
    import asyncio
    import threading

    is_cancelled = threading.Event()

    def work() -> Run:
        path = Path(record) if record else None
        return make_run(task_of(target, settings), path, progress, lambda *_: is_cancelled.is_set())

    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        is_cancelled.set()
        with contextlib.suppress(Exception):
            await running
        raise


def make_run(
    task: Task,
    record: Path | None,
    progress: bool | Callable[[Snapshot], None] = False,
    enough: Enough | None = None,
    watch: Watch | None = None,
    notice: Callable[[str], object] | None = None,
    tell: Tell | None = None,
) -> Run:
    """Carry a task out and write its run file; see loadgen.recorded.record_run. progress: as in bench()."""
    from vllmperf.loadgen.recorded import record_run

    with _shown(progress, task) as show:
        return record_run(
            task, record, show, enough, tell or tell_interval, notice=notice or _notice, watch=watch
        )


def make_repeats(
    task: Task,
    k: int,
    record: Path | None,
    progress: bool | Callable[[Snapshot], None] = False,
    trim: bool = True,
) -> Repeats:
    """Carry a task out k times; see loadgen.repeated.repeat_run. progress: as in bench()."""
    from vllmperf.loadgen.repeated import repeat_run

    return repeat_run(task, k, record, lambda: _shown(progress, task), trim, tell_interval)


def finish_run(
    task: Task,
    before: Unfinished,
    progress: bool | Callable[[Snapshot], None] = False,
    watch: Watch | None = None,
    notice: Callable[[str], object] | None = None,
    tell: Tell | None = None,
) -> Run:
    """Carry out what is left of a run; see loadgen.recorded.resume_run."""
    from vllmperf.loadgen.recorded import resume_run

    with _shown(progress, task) as show:
        return resume_run(task, before, show, tell or tell_interval, notice=notice or _notice, watch=watch)


def tell_interval(interval: Interval) -> None:
    """A line of --report-interval."""
    from vllmperf.report.live import tell_interval as line_of

    line_of(interval)


def _notice(words: str) -> None:
    print(f"vllmperf: {words}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _shown(
    progress: bool | Callable[[Snapshot], None], task: Task
) -> Iterator[Callable[[Snapshot], None] | None]:
    """Where snapshots go: nowhere, to the caller's function, or to a live panel on stderr."""
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    else:
        from vllmperf.report.live import Live

        with Live(has_lines=task.knobs.report_interval is None) as live:
            yield live
