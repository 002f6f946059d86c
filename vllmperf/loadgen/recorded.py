"""A task from start to end: its simulated server, its run file, and the session between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vllmperf.errors import UsageError
from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.outage import LossGuard, Patience, patience
from vllmperf.loadgen.rest import NothingLeftError, Rest, check_plan
from vllmperf.loadgen.run import Ready, has_sessions, ready
from vllmperf.loadgen.session import NOTHING, Subscriber
from vllmperf.loadgen.sessions import SessionFeeder
from vllmperf.loadgen.subscribers import Enough, Progress, Totals, Watch, gathered, live, recorder, until
from vllmperf.loadgen.task import Task
from vllmperf.record.writer import RunFileError, RunWriter
from vllmperf.run import Folder, Run
from vllmperf.signals import terminable
from vllmperf.target import client_of, first_model

if TYPE_CHECKING:
    from vllmperf.loadgen.precision_checks import PrecisionChecks
    from vllmperf.loadgen.rolling import Rolling, Tell
    from vllmperf.record.unfinished import Unfinished


ONLY_TIME: Mapping[str, Any] = {
    "num_prompts": None,
    "until": None,
    "max_errors": None,
    "max_error_rate": None,
    "keep_gaps": "all",
}
"""Settings of a recording that nothing but its duration ends, and that loses no gap: a step of a fit or a search."""


def record_run(
    task: Task,
    record: Path | None,
    progress: Progress | None = None,
    enough: Enough | None = None,
    tell: Tell | None = None,
    server: Totals | None = None,
    notice: Notice | None = None,
    watch: Watch | None = None,
) -> Run:
    """Carry a task out and write its run file, to `record` or a temporary folder. A simulator of its plan runs inside for
    that long. tell: gets each interval of a task with report_interval. server: asks for the server's counts, before and after;
    by default at its /metrics. notice: gets a sentence when the run waits for its server, and when that is back. watch: listens
    to each session."""
    folder = None if record else Folder()
    path, waits = record or Path(str(folder)) / "run.vllmperf", patience(task)
    listeners = Listeners(progress, enough, tell, server, notice, watch)
    with served(task) as here:
        if waits is not None:
            waits.wait_for_start()
        if _begin(path, here, task, listeners, waits) and waits is not None:
            _go_on(path, here, listeners, waits)
    _add_history(task, path, listeners)
    return Run(path, keep_alive=folder)


def _begin(path: Path, here: Task, task: Task, listeners: Listeners, waits: Patience | None) -> bool:
    """Carry the task out, or its first part; whether the run is paused. What a part needs ends with it: later parts go on for
    hours."""
    is_inside, plan = task.plan.target.simulator is not None, task.plan.to_dict()
    model = task.plan.target.model or _first_model(here)
    # The file is made last: what cannot start leaves none behind.
    with ready(here, model, is_inside) as run:
        secrets = task.credentials.secrets
        with RunWriter(path, plan, environment(), None, secrets, run.feeder.asked, run.facts) as writer:
            return _carry_out(run, writer, here, listeners, waits)


def resume_run(
    task: Task,
    before: Unfinished,
    progress: Progress | None = None,
    tell: Tell | None = None,
    notice: Notice | None = None,
    watch: Watch | None = None,
) -> Run:
    """Carry out what is left of a run that was broken off, and add it to its file. Raises UsageError for another plan."""
    if task.plan.load.until is not None:
        raise UsageError(
            "a run with --until cannot be resumed: its checks are those of one piece; start a new run, or read what it has "
            "with `vllmperf report`"
        )
    if has_sessions(task.plan):
        raise UsageError(
            "a run of conversations cannot be resumed: its sessions need the answers that they had; start a new run, or read "
            "what it has with `vllmperf report`"
        )
    if before.meta["facts"].get("share"):
        raise UsageError(
            "a share of a run cannot be resumed: the other machines' shares are over; start the whole run again"
        )
    check_plan(before, task.plan)
    waits, listeners = patience(task), Listeners(progress, None, tell, None, notice, watch)
    with served(task) as here:
        if waits is not None:
            waits.wait_for_start()
        if _resume(before, here, listeners, waits) and waits is not None:
            _go_on(before.path, here, listeners, waits)
    _add_history(task, before.path, listeners)
    return Run(before.path)


Notice = Callable[[str], object]


class Listeners(NamedTuple):
    """Who is told how a run goes, beside its file; see record_run."""

    progress: Progress | None = None
    enough: Enough | None = None
    tell: Tell | None = None
    server: Totals | None = None
    notice: Notice | None = None
    watch: Watch | None = None

    def note(self, words: str) -> None:
        if self.notice is not None:
            self.notice(words)


def _add_history(task: Task, path: Path, listeners: Listeners) -> None:
    """What is known of power when the run is over."""
    if task.knobs.power is None:
        return
    from vllmperf.loadgen.sampling import add_history

    if trouble := add_history(task, path):
        listeners.note(trouble)


def _samplings(task: Task, writer: RunWriter, from_ns: int) -> list[Subscriber]:
    """Of long runs, and of those that ask for power; others need not import it."""
    if task.knobs.power is None and task.knobs.report_interval is None:
        return []
    from vllmperf.loadgen.sampling import Sampling

    return [Sampling(task, writer, from_ns)]


def _resume(before: Unfinished, here: Task, listeners: Listeners, waits: Patience | None) -> bool:
    """Carry out the rest, or the next part of it; whether the run is paused."""
    from vllmperf.record.resumed import ResumedWriter

    is_inside, rest = here.plan.target.simulator is not None, Rest(before)
    with (
        ready(here, rest.model, is_inside, rest) as run,
        ResumedWriter(before, here.credentials.secrets, run.feeder.asked) as writer,
    ):
        return _carry_out(run, writer, here, listeners, waits, before)


def _go_on(path: Path, here: Task, listeners: Listeners, waits: Patience) -> None:
    """A run whose server was lost: wait until it is back, and carry out the rest, as often as needed."""
    from vllmperf.record.resumed import end
    from vllmperf.record.unfinished import unfinished

    is_paused = True
    while is_paused:
        before = unfinished(path, is_own=True)
        try:
            with terminable():
                listeners.note(
                    f"the server is gone after {before.n_done:,} requests: waiting until it is back"
                )
                is_back = waits.wait(partial(_is_enough, listeners, before))
        except KeyboardInterrupt:
            end(path, "interrupted")
            return
        if not is_back:
            end(path, "interrupted", None if _is_enough(listeners, before) else "server_lost")
            return
        listeners.note("the server is back: the run goes on")
        try:
            is_paused = _resume(before, here, listeners, waits)
        except NothingLeftError:
            end(path, "finished")
            return


def _is_enough(listeners: Listeners, before: Unfinished) -> bool:
    return listeners.enough is not None and bool(listeners.enough(NOTHING, before.meta["counters"]))


def _carry_out(
    run: Ready,
    writer: RunWriter,
    task: Task,
    listeners: Listeners,
    waits: Patience | None = None,
    before: Unfinished | None = None,
) -> bool:
    """Whether the run is paused: its server was lost, and it waits. before: what this part of the run goes on from."""
    look, from_ns = _precision_checks(task), 0 if before is None else before.at_ns
    is_resumed = from_ns > 0
    server = listeners.server or (None if is_resumed else _asker(task))
    subscribers: list[Subscriber] = _samplings(task, writer, from_ns)
    subscribers.append(recorder(writer, server, None if look is None else look.facts))
    if look is not None:
        subscribers.append(until(look))
    if listeners.enough is not None:
        subscribers.append(until(listeners.enough))
    if (rolling := _rolling(task, listeners.tell, from_ns)) is not None:
        subscribers.append(rolling)
    if listeners.progress is not None:
        subscribers.append(live(run.session, listeners.progress))
    if listeners.watch is not None:
        subscribers.append(listeners.watch(run.session, before))
    if isinstance(run.feeder, SessionFeeder):
        late = run.feeder.turnaround
        subscribers = [gathered(one, task.knobs.keep_text, late) for one in subscribers]
    guard = None if waits is None else LossGuard(waits.is_there, subscribers, from_ns)
    run.session.subscribe(*([guard] if guard else subscribers))
    try:
        run.session.run(task.knobs.start_at)
    except RunFileError as error:
        writer.give_up(error, run.session.counters())
        return False
    return guard is not None and guard.has_paused


def _precision_checks(task: Task) -> PrecisionChecks | None:
    """What ends a run that goes on until a number is known; other runs need not import it."""
    if task.plan.load.until is None:
        return None
    from vllmperf.loadgen.precision_checks import checks_of

    return checks_of(task)


def _rolling(task: Task, tell: Tell | None, from_ns: int) -> Rolling | None:
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
