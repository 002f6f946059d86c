"""Ray Serve's own lines: `INFO 2026-06-21 08:00:00,210 llm_LLMServer:m 7zp9kavw -- message` (2.x), and which of them say ready.

Wordings are those of Ray 2.9 to 2.60 (`_private/client.py`, `deployment_state.py`, `replica.py`; a run of 2.60 with vLLM 0.32).
A replica's actor is there before its engine; `Started <…LongPollClient …>` only says that a handle has a client, and the
replica in front of the engines is up minutes before them. So a line counts only if it speaks of the engine's replica, or
of its application, and comes after the engine's last line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from vllmperf.starts.log.wallclock import Moment

_LINE = re.compile(
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<date>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (?P<component>\S{1,300})"
    r" (?P<id>\S{1,200}) (?:(?!-- )\S{1,300} ){0,3}?(?:-- |[\w.]{1,60}\.py:\d{1,9} - )(?P<message>.*)$",
    re.S,
)
_WORKER_LINE = re.compile(r"(?:Deployed (?:Serve )?app|Application '|Deployment ')")
_REPLICA = re.compile(
    r"Replica\(id='[^']{0,100}', deployment='(?P<deployment>[^']{0,300})'(?:, app='(?P<app>[^']{0,300})')?\)"
    r" started successfully on node '[^']{0,200}' after [\d.]{1,20}s \(PID: (?P<pid>\d{1,12})\)"
)
_APPLICATION = re.compile(
    r"Application '(?P<app>[^']{0,300})' is ready\b|Deployment '(?P<deployment>[^']{0,300})' is ready\b"
    r"|Deployed (?:Serve )?app(?: '(?P<deployed>[^']{0,300})')? successfully\."
)
_CALLED = re.compile(r"(?:CALL|__CALL__|HANDLE) .{0,200}\bOK \d|POST \S{1,2000} 2\d\d \d")
MAX_EARLY = 256
ACTOR = ":actor_name:ServeReplica:"
_STARTS, _FINISHED, _ENGINE = (
    "Started initializing replica.",
    "Finished initializing replica.",
    "Started vLLM engine.",
)


class ServeLine(NamedTuple):
    level: str
    date: str
    component: str  # "llm_LLMServer:m", "controller", "serve"
    message: str


def read(text: str) -> ServeLine | None:
    found = _LINE.match(text)
    return ServeLine(found["level"], found["date"], found["component"], found["message"]) if found else None


def is_of_serve(file: str | None, message: str) -> bool:
    """Whether a line of Ray's other format (`2024-06-19 18:21:19,139 INFO api.py:583 -- …`) is Serve's."""
    return file in ("api.py", "client.py") and _WORKER_LINE.match(message) is not None


def _replica(component: str, message: str) -> re.Match[str] | None:
    """Only the controller speaks of other processes."""
    return _REPLICA.match(message) if component == "controller" else None


def _application(component: str, message: str) -> re.Match[str] | None:
    """The client's, which has no component in Ray's other format."""
    return _APPLICATION.match(message) if component in ("serve", "") else None


class Said(NamedTuple):
    component: str
    message: str
    moment: Moment


@dataclass
class Replicas:
    """Which replicas an attempt's engines are in, and what was said of them."""

    names: dict[int, str] = field(default_factory=dict)  # {pid: "llm:LLMServer:m"}
    actor: str = ""  # the name of the process whose output this is
    starting: set[str] = field(default_factory=set)  # components that began to initialize
    engine_started: bool = False
    early: list[Said] = field(default_factory=list)  # of a replica that was up, before its engine's lines

    def see(self, component: str, message: str, moment: Moment) -> None:
        if message.startswith(ACTOR):
            self.actor = message.removeprefix(ACTOR).strip()
        elif message == _STARTS and len(self.starting) < 64:
            self.starting.add(component)
        elif message == _ENGINE:
            self.engine_started = True
        if len(self.early) < MAX_EARLY and (
            message == _FINISHED or _replica(component, message) or _application(component, message)
        ):
            self.early.append(Said(component, message, moment))

    @property
    def _known(self) -> set[str]:
        return {name for name in (*self.names.values(), self.actor) if name}

    def is_ready(self, component: str, message: str, pids: set[int]) -> bool:
        """Whether a line says that the engine's replica, or its application, is up. pids: of processes that vLLM names."""
        if found := _replica(component, message):
            known = self._known
            if self.names or pids:
                return int(found["pid"]) in (*self.names, *pids)
            return f"{found['app']}:{found['deployment']}" in known or found["deployment"] in known
        if message == _FINISHED:
            return self._is_ours(component)
        if found := _application(component, message):
            app = found["app"] or found["deployed"]
            apps = {name.partition(":")[0] for name in self._known if ":" in name}
            return app is None or not apps or app in apps
        return False

    def is_answer(self, component: str, message: str) -> bool:
        """Whether a line shows a request that the engine's replica answered, or one to complete a text."""
        found = _CALLED.match(message)
        return found is not None and (message.startswith("POST ") or self._is_ours(component))

    def _is_ours(self, component: str) -> bool:
        """Without a name for the engine's replica, the only one that started is it."""
        known = {name.replace(":", "_", 1) for name in self._known} | self._known
        return component in (known or self.starting) if known or len(self.starting) == 1 else False
