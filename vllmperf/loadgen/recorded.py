"""A task from start to end: its simulated server, its run file, and the session between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.rest import Rest, check_plan
from vllmperf.loadgen.run import Ready, has_sessions, ready
from vllmperf.loadgen.sessions import SessionFeeder
from vllmperf.loadgen.subscribers import Enough, Progress, Totals, gathered, live, recorder, until
from vllmperf.loadgen.task import Task
from vllmperf.record.writer import RunFileError, RunWriter
from vllmperf.run import Folder, Run
from vllmperf.target import client_of, first_model

if TYPE_CHECKING:
    from vllmperf.loadgen.looks import Looks
    from vllmperf.loadgen.rolling import Rolling, Tell
    from vllmperf.record.unfinished import Unfinished


def record_run(
    task: Task,
    record: Path | None,
    progress: Progress | None = None,
    enough: Enough | None = None,
    tell: Tell | None = None,
    server: Totals | None = None,
) -> Run:
    """Carry a task out and write its run file, to `record` or a temporary folder. A simulator of its plan runs inside for
    that long. tell: gets each interval of a task with report_interval. server: asks for the server's counts, before and after;
    by default at its /metrics."""
    is_inside, plan = task.plan.target.simulator is not None, task.plan.to_dict()
    with served(task) as here:
        model = task.plan.target.model or _first_model(here)
        # The file is made last: what cannot start leaves none behind.
        with ready(here, model, is_inside) as run:
            folder = None if record else Folder()
            path, secrets = record or Path(str(folder)) / "run.vllmperf", task.credentials.secrets
            with RunWriter(path, plan, environment(), None, secrets, run.feeder.asked, run.facts) as writer:
                _carry_out(run, writer, here, progress, enough, _rolling(here, tell), server)
    return Run(path, keep_alive=folder)


def resume_run(
    task: Task, before: Unfinished, progress: Progress | None = None, tell: Tell | None = None
) -> Run:
    """Carry out what is left of a run that was broken off, and add it to its file. Raises UsageError for another plan."""
    if task.plan.load.until is not None:
        raise UsageError(
            "a run with --until cannot be resumed: its looks are those of one piece; start a new run, or read what it has "
            "with `vllmperf report`"
        )
    if has_sessions(task.plan):
        raise UsageError(
            "a run of conversations cannot be resumed: its sessions need the answers that they had; start a new run, or read "
            "what it has with `vllmperf report`"
        )
    from vllmperf.record.resumed import ResumedWriter

    check_plan(before, task.plan)
    is_inside, rest = task.plan.target.simulator is not None, Rest(before)
    with (
        served(task) as here,
        ready(here, rest.model, is_inside, rest) as run,
        ResumedWriter(before, task.credentials.secrets, run.feeder.asked) as writer,
    ):
        _carry_out(run, writer, here, progress, rolling=_rolling(here, tell, before.at_ns))
    return Run(before.path)


def _carry_out(
    run: Ready,
    writer: RunWriter,
    task: Task,
    progress: Progress | None,
    enough: Enough | None = None,
    rolling: Rolling | None = None,
    server: Totals | None = None,
) -> None:
    look = _looks(task)
    subscribers = [recorder(writer, server or _asker(task), None if look is None else look.facts)]
    if look is not None:
        subscribers.append(until(look))
    if enough is not None:
        subscribers.append(until(enough))
    if rolling is not None:
        subscribers.append(rolling)
    if progress is not None:
        subscribers.append(live(run.session, progress))
    if isinstance(run.feeder, SessionFeeder):
        late = run.feeder.turnaround
        subscribers = [gathered(one, task.knobs.keep_text, late) for one in subscribers]
    run.session.subscribe(*subscribers)
    try:
        run.session.run()
    except RunFileError as error:
        writer.give_up(error, run.session.counters())


def _looks(task: Task) -> Looks | None:
    """What ends a run that goes on until a number is known; other runs need not import it."""
    if task.plan.load.until is None:
        return None
    from vllmperf.loadgen.looks import looks

    return looks(task)


def _rolling(task: Task, tell: Tell | None, from_ns: int = 0) -> Rolling | None:
    every_s = task.knobs.report_interval
    if every_s is None or tell is None:
        return None
    from vllmperf.loadgen.rolling import Rolling

    return Rolling(every_s, tell, from_ns)


def _asker(task: Task) -> Totals | None:
    """What asks the server for its counts."""
    if not task.knobs.server_metrics:
        return None
    from vllmperf.scrape import totals

    return partial(totals.ask_all, task.plan.target, task.credentials)


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
