"""What notebooks and the command line both call: make a run, read a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.plan import Plan, Task

if TYPE_CHECKING:
    from vllmperf.comparison import Comparison, Figures
    from vllmperf.load.progress import Snapshot
    from vllmperf.load.subscribers import Enough
    from vllmperf.run import Run
    from vllmperf.sim import Server


def bench(
    target: str | Server | Plan | None = None,
    /,
    *,
    record: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Run:
    """Load a server and give the run.

    target: base URL, like http://127.0.0.1:8000; a vllmperf.sim.Server; or a Plan, which the settings change. Without
    one: base_url=..., or sim=True or sim={"ttft_ms": 50} for a simulated server here.
    settings: those of Plan, named as the flags of `vllmperf bench`, of the engine (keep_text, threads, ...) and of the
    report (goodput, label, ...). url, rate, concurrency and dataset are short names. Durations are seconds, or texts like
    "30s"; request_rate is in requests/s (inf: as fast as max_concurrency allows); num_prompts is 1000 unless duration or
    an arrival file is given. The API key is that of OPENAI_API_KEY unless api_key is given.
    record: path of the run file (else a temporary one, see Run.save).
    progress: True for a live panel on stderr, or a function that takes load.progress.Snapshot.

    Raises UsageError for settings that are not known or do not fit together, TargetError when the server is not there.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     run = vp.bench(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> run.summary["requests"]["completed"], run.summary["tokens"]["output"]
    (6, 24)
    """
    return make_run(_task(target, settings), Path(record) if record else None, progress)


def _task(target: str | Server | Plan | None, settings: dict[str, object]) -> Task:
    """What to do at a target under these settings."""
    base = target if isinstance(target, Plan) else None
    if target is not None and not isinstance(target, Plan):
        settings = {"base_url": target if isinstance(target, str) else target.url, **settings}
    return Task.of(settings, base)


async def bench_async(
    target: str | Server | Plan | None = None,
    /,
    *,
    record: str | Path | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **settings: object,
) -> Run:
    """The same as bench(), beside the loop of asyncio that is running: `run = await vp.bench_async(url)`.

    When the task is cancelled the run ends at once; what came until then stands in the file `record`.

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
    task = _task(target, settings)
    running = asyncio.ensure_future(
        asyncio.to_thread(
            make_run, task, Path(record) if record else None, progress, lambda *_: is_cancelled.is_set()
        )
    )
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        is_cancelled.set()
        with contextlib.suppress(Exception):
            await running
        raise


def compare(first: Run | str | Path, second: Run | str | Path, /) -> Comparison:
    """The figures of two runs side by side, with the change of the second against the first.

    first, second: Runs, run files, or results of other tools (result JSON of vLLM, reports of guidellm, …).
    Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     few, many = (vp.bench(server, max_concurrency=n, num_prompts=8, output_len=4) for n in (1, 8))
    >>> vp.compare(few, many).to_dict()["figures"]["completed"]
    {'a': 8, 'b': 8, 'change': 0.0}
    """
    from vllmperf.comparison import Comparison, short_names

    paths = [str(side if isinstance(side, str | Path) else side.path) for side in (first, second)]
    a, b = (_figures(side, name) for side, name in zip((first, second), short_names(paths), strict=True))
    return Comparison(a, b)


def _figures(side: Run | str | Path, name: str) -> Figures:
    from vllmperf.comparison import figures_of_summary, figures_of_vllm
    from vllmperf.formats import runs
    from vllmperf.formats.runs import vllm
    from vllmperf.formats.runs.file import File

    if not isinstance(side, str | Path):
        return figures_of_summary(side.summary, name)
    file = File(Path(side))
    if vllm.recognise(file):
        return figures_of_vllm(file.data, name)
    return figures_of_summary(runs.read(Path(side)).summary, name)


def make_run(
    task: Task,
    record: Path | None,
    progress: bool | Callable[[Snapshot], None] = False,
    enough: Enough | None = None,
) -> Run:
    """Carry a task out and write its run file. A simulator of its plan runs inside for that long."""
    from vllmperf.load.environment import environment
    from vllmperf.load.run import ready
    from vllmperf.load.subscribers import live, recorder, until
    from vllmperf.record.writer import RunWriter
    from vllmperf.run import Folder, Run

    is_inside, secrets = task.plan.target.simulator is not None, task.credentials.secrets
    with _served(task) as served, _shown(progress) as show:
        model = task.plan.target.model or _first_model(served)
        # The file is made last: what cannot start leaves none behind.
        with ready(served, model, is_inside) as run:
            folder = None if record else Folder()
            path, plan = record or Path(str(folder)) / "run.vllmperf", task.plan.to_dict()
            with RunWriter(path, plan, environment(), None, secrets, run.feeder.asked, run.facts) as writer:
                run.session.subscribe(recorder(writer))
                if enough is not None:
                    run.session.subscribe(until(enough))
                if show is not None:
                    run.session.subscribe(live(run.session, show))
                run.session.run()
    return Run(path, keep_alive=folder)


def _first_model(task: Task) -> str:
    from vllmperf.target import client_of, first_model

    return first_model(client_of(task.plan.target, task.credentials))


@contextlib.contextmanager
def _served(task: Task) -> Iterator[Task]:
    """The task with a server behind it."""
    if task.plan.target.simulator is None:
        yield task
        return
    from vllmperf.sim import Server

    with Server(**dict[str, Any](task.plan.target.simulator)) as server:
        yield task.replace(base_url=server.url)


@contextlib.contextmanager
def _shown(
    progress: bool | Callable[[Snapshot], None],
) -> Iterator[Callable[[Snapshot], None] | None]:
    """Where snapshots go: nowhere, to the caller's function, or to a live panel on stderr."""
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    else:
        from vllmperf.report.live import Live

        with Live() as live:
            yield live
