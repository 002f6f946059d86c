"""`vllmperf startup --command`: starts a server as a child and measures it from process start to first token."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.errors import TargetError
from vllmperf.plan.credentials import usual_key
from vllmperf.starts.axis import Axis
from vllmperf.starts.live import caches, sleep_wake
from vllmperf.starts.live.child import Child, words_of
from vllmperf.starts.live.join import Seen, after_log, end_of, imports, log_phases, tail
from vllmperf.starts.live.logfile import LogFile
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.live.probe import Route, first_model, first_token, full_url, status
from vllmperf.starts.result import Failure, Start, StartupLog
from vllmperf.starts.waterfall import fill
from vllmperf.target import Client, is_listening

if TYPE_CHECKING:
    from vllmperf.starts.log.parse import LogParser

PORT = 8000
POLL_S = 0.02
UPDATE_S = 0.5
EVIDENCE_LINES = 20
PROBE_S = 2.0
SAYS_URL = re.compile(rb"(?:Starting vLLM (?:API )?server(?: \d+)? on|Uvicorn running on) (https?://\S+)")


@dataclass(frozen=True)
class _Planned:
    name: str
    group: str | None
    folder: Path | None = None
    counts: bool = True


def starts(asked: Measurement) -> Iterator[Start]:
    """The starts of asked.command one by one, so that an interrupt leaves those that were finished.

    cold: every start finds empty caches of compiled code. warm: all of them share caches that one start, which is
    not counted, has filled; with both, the last cold start has filled them. Neither: caches as they are. Every child
    is ended before the next one begins, also when the caller stops early. The first start that fails is the last.
    """
    finished: list[Start] = []
    made: list[Path] = []
    try:
        for planned in _plan(asked, made):
            start = _Run(asked, planned, finished).measure()
            if planned.counts or not start.reached:
                finished.append(start)
                yield start
            if not start.reached:
                return
    finally:
        if asked.cache_dir is None:
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)


def _plan(asked: Measurement, made: list[Path]) -> Iterator[_Planned]:
    """Lazily, so that a folder is made when its start begins."""
    numbers = range(1, asked.repeat + 1)
    if not asked.cold and not asked.warm:
        yield from (_Planned(f"start {number}", None) for number in numbers)
        return
    for number in numbers if asked.cold else ():
        made.append(caches.fresh(asked.cache_dir))
        yield _Planned(f"cold {number}", "cold", made[-1])
    if asked.warm and not asked.cold:
        made.append(caches.fresh(asked.cache_dir))
        yield _Planned("filling the caches", None, made[-1], counts=False)
    for number in numbers if asked.warm else ():
        yield _Planned(f"warm {number}", "warm", made[-1])


class _Run:
    """One child from its start to its end."""

    def __init__(self, asked: Measurement, planned: _Planned, finished: list[Start]) -> None:
        from vllmperf.starts.log.parse import LogParser

        self._asked, self._planned, self._finished = asked, planned, finished
        self._wants_token = asked.probe_first_token is not False
        self._own, self._words = words_of(asked.command or "")
        self._axis = Axis()
        self._parser: LogParser = LogParser()
        self._seen = Seen(ready_resolution_s=POLL_S)
        self._recent: deque[bytes] = deque(maxlen=EVIDENCE_LINES * 2)
        self._says_url: str | None = None
        self._client: Client | None = None
        self._notes: list[str] = []
        self._facts: dict[str, str | int | float | None] = {"command": " ".join(self._words)}
        self._cycles = sleep_wake.Cycles(())
        self._updated_s = 0.0
        self._ended_ns: int | None = None
        self._file = LogFile(asked.output, f"{planned.name.replace(' ', '-')}-log.txt", asked.log_timestamps)

    def measure(self) -> Start:
        route = self._route()
        if is_listening(route.base_url):
            raise TargetError(
                f"something listens on {route.name} already: end it, or give the command another --port"
            )
        route.prepare()
        environment = {**os.environ, **self._own}
        if self._planned.folder is not None:
            environment |= caches.variables(self._planned.folder, environment)
        child = Child(self._words, environment, self._axis)
        try:
            with self._file:
                self._started_ns = child.started_ns
                failure = self._until_token(child)
                self._ended_ns = self._axis.now_ns()
                child.end(self._asked.stop_timeout)
                if failure is not None:
                    self._take(child)
                return self._start(failure)
        finally:
            child.end(self._asked.stop_timeout)

    def _until_token(self, child: Child) -> Failure | None:
        deadline = time.monotonic() + self._asked.timeout
        while time.monotonic() < deadline:
            self._take(child)
            if (code := child.exit_code) is not None:
                child.drain()
                self._take(child)
                return Failure(None, None, f"the command ended with {_ending(code)} before it was ready")
            route = self._route()
            if status(route, timeout_s=PROBE_S) == 200:
                self._seen = replace(self._seen, ready_ns=self._axis.now_ns())
                self._facts["url"] = route.name
                self._after_ready(route)
                child.catch_up()
                self._take(child)
                return self._died_before_token(child)
            self._update()
            time.sleep(POLL_S)
        return Failure(None, None, f"not ready within {self._asked.timeout:g} s", "timeout")

    def _died_before_token(self, child: Child) -> Failure | None:
        code = child.exit_code
        if code is None or not self._wants_token or self._seen.first_token_ns is not None:
            return None
        child.drain()
        return Failure("first_token", None, f"the command ended with {_ending(code)} before its first token")

    def _after_ready(self, route: Route) -> None:
        model = first_model(route)
        if self._wants_token:
            self._first_token(route, model)
        if self._asked.sleep_wake:
            self._cycles = sleep_wake.drive(route, self._asked.sleep_wake, self._axis.now_ns, model)
            if self._cycles.why_not:
                self._notes.append(f"{sleep_wake.NOT_MEASURED}: {self._cycles.why_not}")
            time.sleep(sleep_wake.LAST_LINES_S)

    def _first_token(self, route: Route, model: str | None) -> None:
        if model is None:
            self._notes.append("no first token was asked for: /v1/models names no model")
            return
        got = first_token(route, model, self._axis.now_ns)
        self._seen = replace(self._seen, first_request_ns=got.sent_ns, first_token_ns=got.token_ns)
        if got.token_ns is None:
            self._notes.append(f"no first token came: {got.why_not}")
        else:
            self._facts["first_request_to_token_s"] = (got.token_ns - got.sent_ns) / 1e9

    def _take(self, child: Child) -> None:
        for stamp, line in child.lines():
            self._parser.feed(line, stamp)
            self._file.write(stamp, line)
            self._recent.append(line)
            if self._seen.first_line_ns is None:
                self._seen = replace(self._seen, first_line_ns=stamp)
            if self._says_url is None and (found := SAYS_URL.search(line)):
                self._says_url = found[1].decode("ascii", "replace")
            if self._asked.echo:
                _show(line)

    def _route(self) -> Client:
        """The same one until the log names another address."""
        url = self._asked.url or _url(self._words, self._says_url)
        if self._client is None or self._client.base_url != full_url(url):
            access = self._asked.access
            key = access.api_key or _api_key(self._words, os.environ)
            self._client = replace(access, api_key=key).client(url)
        return self._client

    def _update(self) -> None:
        if self._asked.on_update is None or time.monotonic() - self._updated_s < UPDATE_S:
            return
        self._updated_s = time.monotonic()
        self._asked.on_update([*self._finished, self._start(None, is_running=True)])

    def _start(self, failure: Failure | None, is_running: bool = False) -> Start:
        """What is known; one that is running has an open end, as the live view wants it."""
        log = self._parser.result().main
        has_lines = self._seen.first_line_ns is not None
        end, end_ns = end_of(self._seen, log)
        if failure is not None:
            failure = replace(failure, phase=log.failure.phase) if log.failure else failure
        if failure is not None or is_running:
            end_ns = None if is_running else self._ended_ns or log.last_log_ns
        phases = [
            *imports(self._started_ns, log if has_lines else None, self._seen, 0.001, is_running),
            *log_phases(log),
            *after_log(log, self._seen),
        ]
        return Start(
            name=self._planned.name,
            origin="process start",
            end=end,
            origin_ns=self._started_ns,
            end_ns=end_ns,
            phases=fill(phases, self._started_ns, end_ns),
            group=self._planned.group,
            reached=failure is None and not is_running,
            failure=(log.failure or failure) if failure else None,
            log=log,
            log_path=self._file.path,
            facts={**self._facts, **sleep_wake.facts(self._cycles.steps, log.sleep)},
            evidence=self._evidence(failure, log) if failure else (),
            notes=tuple(self._notes),
        )

    def _evidence(self, failure: Failure, log: StartupLog) -> tuple[str, ...]:
        """How it ended where the log's cause is told instead, and the last lines."""
        first = (failure.text,) if log.failure is not None else ()
        return (*first, *tail(self._recent, EVIDENCE_LINES))


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _option(words: Sequence[str], name: str) -> str | None:
    """The last value of an option in the command's words."""
    found = None
    for at, word in enumerate(words):
        plain = word.replace("_", "-") if word.startswith("--") else word
        if plain == name and at + 1 < len(words):
            found = words[at + 1]
        elif plain.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def _url(words: Sequence[str], said: str | None) -> str:
    """Where the server will listen: what its log says, else what its arguments say, else port 8000."""
    if said is not None:
        return re.sub(r"//(0\.0\.0\.0|\[::\])(?=[:/]|$)", "//127.0.0.1", said.rstrip("/"))
    host = _option(words, "--host") or "127.0.0.1"
    port = _option(words, "--port") or str(PORT)
    scheme = "https" if _option(words, "--ssl-certfile") else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _api_key(words: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The one that the server was given, else the usual one."""
    return _option(words, "--api-key") or environment.get("VLLM_API_KEY") or usual_key()


def _show(line: bytes) -> None:
    sys.stderr.buffer.write(line + b"\n")
    sys.stderr.buffer.flush()
