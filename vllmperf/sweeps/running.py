"""The points of a sweep one after the other: starts the server of each, makes it forget, measures, goes on after failures."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

from vllmperf.errors import TargetError, VllmperfError
from vllmperf.loadgen.bodies import bodies
from vllmperf.loadgen.recorded import record_run
from vllmperf.loadgen.subscribers import Watch as Listen
from vllmperf.loadgen.task import Task
from vllmperf.record.reader import header
from vllmperf.record.scrapes import add_scrapes
from vllmperf.run import Run
from vllmperf.scrape.watch import Watch
from vllmperf.signals import terminable, uninterrupted
from vllmperf.sweeps.definition import CACHE, RESTART, SALT, Definition
from vllmperf.sweeps.folder import Folder
from vllmperf.sweeps.points import Point, points
from vllmperf.sweeps.setups import (
    EndedError,
    Server,
    Setup,
    SetupError,
    end_leftover,
    is_leftover,
    wait_ready,
    wait_up,
)
from vllmperf.sweeps.setups.ray_serve import NO_IDS
from vllmperf.target import AnswerError, Client, client_of

RESET_PATH = "/reset_prefix_cache"
AS_TEXT = (
    "made-up prompts go as text to all set-ups: routers that look for common prefixes see none in token ids"
)
Tell = Callable[[str], None]


def carry_out(definition: Definition, folder: Folder, tell: Tell, listen: Listen | None = None) -> None:
    """Measure every point that the folder does not have. A set-up that does not get ready is left out, the others go on; a point
    that fails is left out. The folder notes both. Ctrl-C ends the server and raises KeyboardInterrupt. listen: to each run.
    """
    with folder.locked(), terminable(), Servers(definition, folder, tell) as servers:
        _end_leftovers(folder, tell)
        if any(setup.reads_text for setup in definition.setups) and definition.plan.get("text_prompts"):
            tell(AS_TEXT)
        wanted = list(points(definition))
        for number, point in enumerate(wanted, 1):
            if not folder.is_done(point) and point.setup.name not in servers.given_up:
                tell(f"{number} of {len(wanted)}: {point.title}")
                _measure(point, servers, folder, tell, listen)


def _measure(point: Point, servers: Servers, folder: Folder, tell: Tell, listen: Listen | None) -> None:
    try:
        live = servers.of(point.setup)
    except VllmperfError as error:
        servers.give_up(point.setup, str(error))
        return
    try:
        servers.reset(live)
        started_s = time.monotonic()
        _record(point, live, servers.definition, folder, listen)
    except VllmperfError as error:
        folder.note("point_failed", point=point.name, setup=point.setup.name, why=str(error))
        tell(f"  failed: {error}")
        servers.stop()  # what failed once may fail again: the next point gets a new one
        return
    folder.note("point_finished", point=point.name, took_s=round(time.monotonic() - started_s, 3))


class Live:
    """A server that is ready."""

    def __init__(self, setup: Setup, server: Server, model: str, client: Client) -> None:
        self.setup, self.server, self.model, self.client = setup, server, model, client


class Servers:
    """At most one runs at a time. given_up: names of set-ups that did not get ready."""

    def __init__(self, definition: Definition, folder: Folder, tell: Tell) -> None:
        self.definition, self._folder, self._tell = definition, folder, tell
        self.given_up: set[str] = set()
        self._live: Live | None = None
        self._started: Server | None = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def of(self, setup: Setup) -> Live:
        """The one that runs, when it is of this set-up and may be kept; else a new one. Raises VllmperfError."""
        keeps = self.definition.course.reset != RESTART
        if (
            self._live is not None
            and keeps
            and self._live.setup is setup
            and self._live.server.ended() is None
        ):
            return self._live
        self.stop()
        try:
            return self._start(setup)
        except EndedError as error:
            if setup.why_again is None:
                raise
            self._tell(f"  {error}; {setup.why_again}")
        self.stop()
        return self._start(setup)

    def _start(self, setup: Setup) -> Live:
        began_s = time.monotonic()
        with uninterrupted():
            self._started = server = setup.start(self._folder.logs)
            self._folder.note("server_started", setup=setup.name, base_url=server.base_url, **server.facts())
        wait_up(server, setup.ready_timeout)
        task = setup.task(server.base_url, self.definition.plan)
        model = wait_ready(server, task, setup.ready_timeout)
        Watch(_watched(setup, server, task), task.plan.target, task.credentials).await_counts()
        took_s = time.monotonic() - began_s
        self._folder.note("server_ready", setup=setup.name, took_s=round(took_s, 3))
        self._tell(f"  {setup.name} is ready after {took_s:.1f} s")
        self._live = Live(setup, server, model, client_of(task.plan.target, task.credentials))
        return self._live

    def reset(self, live: Live) -> None:
        """Make it forget, if the sweep asks for it. Raises SetupError."""
        if self.definition.course.reset != CACHE:
            return
        try:
            live.client.post(RESET_PATH, b"")
        except AnswerError as error:
            hint = "vLLM has it with VLLM_SERVER_DEV_MODE=1; or take reset: restart or salt"
            raise SetupError(f"the prefix cache was not reset: {error.why or error}; {hint}") from None

    def give_up(self, setup: Setup, why: str) -> None:
        self.given_up.add(setup.name)
        self._folder.note("setup_failed", setup=setup.name, why=why)
        self._tell(f"  {setup.name} is left out: {why}")
        self.stop()

    def stop(self) -> None:
        server, self._started, self._live = self._started, None, None
        if server is not None:
            try:
                server.stop()
            finally:
                self._folder.note("server_stopped")


def _record(point: Point, live: Live, definition: Definition, folder: Folder, listen: Listen | None) -> None:
    """The run file of a point. Raises KeyboardInterrupt for a run that was interrupted."""
    settings: dict[str, Any] = {
        **definition.plan,
        **point.load,
        "seed": point.seed,
        "label": point.setup.name,
    }
    if definition.course.reset == SALT:
        settings["prompt_salt"] = uuid.uuid4().hex[:8]
    task = point.setup.task(live.server.base_url, {"model": live.model, **settings})
    path = folder.part_file(point)
    urls, every_s = _watched(point.setup, live.server, task), definition.course.metrics_interval
    with Watch(urls, task.plan.target, task.credentials, every_s) as watch:
        if watch.is_of_ray() and sends_ids(task, live.model):
            raise SetupError(NO_IDS)
        run = record_run(task, path, server=watch, watch=listen)
        if header(path).state == "interrupted":
            raise KeyboardInterrupt
        completed = len(run.untrimmed.done.requests)
        watch.settle(completed)
    add_scrapes(path, watch.pages)
    if (how := live.server.ended()) is not None:
        raise SetupError(f"the server {how}")
    if not completed:
        raise TargetError(f"no request was completed ({_outcomes(run)}): see {path}")
    path.replace(folder.run_file(point))


def _outcomes(run: Run) -> str:
    """4 http_error"""
    return (
        ", ".join(f"{count} {name}" for name, count in run.summary["requests"]["outcomes"].items())
        or "none was sent"
    )


def _watched(setup: Setup, server: Server, task: Task) -> list[str]:
    return setup.metrics(server.metrics_roots) if task.knobs.server_metrics else []


def sends_ids(task: Task, model: str) -> bool:
    """Whether the prompts of a run are token ids: the first one is drawn to see."""
    first = json.loads(next(iter(bodies(task.plan, model))).data)
    return isinstance(first.get("prompt"), list)


def _end_leftovers(folder: Folder, tell: Tell) -> None:
    """A sweep that was killed could not end its server."""
    last = next((one for one in reversed(folder.events()) if one["event"].startswith("server_st")), None)
    if last is not None and last["event"] == "server_started" and is_leftover(last):
        tell(f"  ending what an earlier sweep left of {last['setup']}")
        end_leftover(last)
        folder.note("server_stopped", setup=last["setup"])
