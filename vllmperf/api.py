"""What notebooks and the command line both call: make a run, read a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.plan import Plan, Task

if TYPE_CHECKING:
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
    """
    base = target if isinstance(target, Plan) else None
    if target is not None and base is None:
        settings = {"base_url": target if isinstance(target, str) else target.url, **settings}
    return make_run(Task.of(settings, base), Path(record) if record else None, progress)


def load(path: str | Path) -> Run:
    """The run in a run file. Raises UsageError when there is none or it is no run file."""
    from vllmperf.run import open_run

    return open_run(path)


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
