"""A task from start to end: its simulated server, its run file, and the session between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.run import ready
from vllmperf.loadgen.subscribers import Enough, Progress, Totals, live, recorder, until
from vllmperf.loadgen.task import Task
from vllmperf.record.writer import RunWriter
from vllmperf.run import Folder, Run
from vllmperf.target import client_of, first_model


def record_run(
    task: Task, record: Path | None, progress: Progress | None = None, enough: Enough | None = None
) -> Run:
    """Carry a task out and write its run file, to `record` or a temporary folder. A simulator of its plan runs inside for
    that long."""
    is_inside, secrets = task.plan.target.simulator is not None, task.credentials.secrets
    with served(task) as here:
        model = task.plan.target.model or _first_model(here)
        # The file is made last: what cannot start leaves none behind.
        with ready(here, model, is_inside) as run:
            folder = None if record else Folder()
            path, plan = record or Path(str(folder)) / "run.vllmperf", task.plan.to_dict()
            with RunWriter(path, plan, environment(), None, secrets, run.feeder.asked, run.facts) as writer:
                run.session.subscribe(recorder(writer, _asker(here)))
                if enough is not None:
                    run.session.subscribe(until(enough))
                if progress is not None:
                    run.session.subscribe(live(run.session, progress))
                run.session.run()
    return Run(path, keep_alive=folder)


def _asker(task: Task) -> Totals | None:
    """What asks the server for its counts."""
    if not task.knobs.server_metrics:
        return None
    from vllmperf.scrape import totals

    return partial(totals.ask, task.plan.target, task.credentials)


def _first_model(task: Task) -> str:
    return first_model(client_of(task.plan.target, task.credentials))


@contextlib.contextmanager
def served(task: Task) -> Iterator[Task]:
    """The task with a server behind it."""
    if task.plan.target.simulator is None:
        yield task
        return
    from vllmperf.sim import Server

    with Server(**dict[str, Any](task.plan.target.simulator)) as server:
        yield task.replace(base_url=server.url)
