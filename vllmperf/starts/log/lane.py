"""One server's output, line by line, into attempts: wrapped lines joined, markers found, starts told apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from vllmperf.starts.log import lines, markers
from vllmperf.starts.log.attempt import API_EVENTS, ENGINE_EVENTS, Attempt, Key, Life, Seen
from vllmperf.starts.log.bodies import ACCESS
from vllmperf.starts.log.envelope import Wrapped
from vllmperf.starts.log.failure import is_end
from vllmperf.starts.log.lines import Line
from vllmperf.starts.log.marker import Fields, Marker
from vllmperf.starts.log.wallclock import Calendar, Moment

# Files whose messages hold what clients sent or what the model answered: no marker of theirs is one.
_SERVED = re.compile(
    r"(?:request_)?logger\.py|async_llm(?:_engine)?\.py|serving\w*\.py|protocol\.py|dump_input\.py|chat_utils\.py|"
    r"metrics\.py|api_router\.py|\w*(?:tool|reasoning)_parser\w*\.py|utils\.py|scheduler\.py|preprocess\.py"
)
_LABEL = re.compile(r"\[([\w.:/ -]{1,60})\] (?=\S)")
_ANSWERED = re.compile(r'\S++ - "[A-Z]++ \S++ HTTP/\d(?:\.\d)?" 2\d\d')
_NOT_BOUND = re.compile(r"\[Errno \d+\] error while attempting to bind on address")
_TRAFFIC = re.compile(
    r"Received request |Added request |Generated response |Finished request |Aborted request |"
    r"(?:Engine \d+: )?Avg prompt throughput|Prompt: |Speculative metrics|SpecDecoding metrics"
)
_BROKEN_LOGO = re.compile(
    r"(?=\S* *[^\sA-Za-z0-9])[^A-Za-z0-9'\":=.,/]{16,80} (?P<what>version|model) +(?P<value>\S.*)$"
)
_LOGO_FILES = frozenset(("api_utils.py", "utils.py"))
_EMBEDDING_FILES = frozenset(("metrics.py", "loggers.py", "async_llm_engine.py", "async_llm.py", "logger.py"))
_BEGINNINGS = frozenset(("api_version", "banner_version", "server_version"))
_PREFIXED = _BEGINNINGS | {"asleep", "awake", "sleep_freed", "engine_done"}
_OF_THE_SERVER = API_EVENTS | {"architecture", "max_model_len", "chunked_prefill"}
_MAY_BEGIN = _BEGINNINGS | _OF_THE_SERVER | {"engine_config"}
_FORERUNNERS = frozenset(("platform", "platform_plugin"))
_FAILURES = frozenset(("failed", "died"))
_ONCE = frozenset(("model_loaded", "kv_available", "kv_tokens", "captured", "engine_done"))
"""What a server cannot have before it for the first time after it was ready."""
_OF_AN_ENGINE = ENGINE_EVENTS | {"engine_done", "captured"}
_LONGER = {"gpu_blocks": "blocks"}  # the first part of a message can be another message
_LONG_MESSAGES = frozenset(("engine_config", "args"))
NO_KEY: Key = (None, "")
WRAPPED_TRAFFIC = 100_000
MAX_ROWS, MAX_ROWS_CONFIG = 4, 400
WRAP_AT_LEAST, WRAP_AT_MOST = 40, 500  # columns
PRELUDE = 64
MAX_ATTEMPTS = 1_000


_Found = tuple[Marker, Fields, str | None]


@dataclass
class _Pending:
    """A line that the next one may go on with, when a terminal wrapped it."""

    rows: list[str]
    raw: str
    moment: Moment
    event: str | None
    key: Key
    width: int  # of the fullest row
    inner: int = 0  # the width of all rows between the first and the last; -1: they differ

    def may_go_on(self, text: str) -> bool:
        """The last row must be about as full as the fullest: a terminal that wraps at words leaves some of it empty."""
        return len(self.rows[-1]) * 2 >= self.width and len(text) <= 2 * self.width

    def add(self, text: str) -> None:
        if len(self.rows) > 1:
            last = len(self.rows[-1])
            self.inner = last if self.inner in (0, last) else -1
        self.rows.append(text)
        self.width = max(self.width, len(text))


@dataclass
class Lane:
    """The lines of one server: of a file, or of one pod or service of a file that holds several."""

    calendar: Calendar
    attempts: list[Attempt] = field(default_factory=lambda: [Attempt(1)])
    dropped: int = 0  # attempts that were too many to be kept
    sign: int = 0  # last line that told something of a start
    wrapped_at: int = 0  # columns of the terminal that wrapped the lines, once known
    _prelude: list[tuple[_Found | None, Line, Moment]] = field(default_factory=list)
    _pending: _Pending | None = None
    _servers: set[int] = field(default_factory=set)  # pids of API servers
    _web_pid: int | None = None  # of the latest uvicorn that names no process
    _server_names: set[str] = field(default_factory=set)
    _joined: Attempt | None = None  # an engine that came after the server was ready, as if it were a start

    @property
    def attempt(self) -> Attempt:
        return self.attempts[-1]

    @property
    def serving(self) -> bool:
        """Only traffic is to be expected: lines may be skipped that are no candidates."""
        attempt = self.attempt
        if self.wrapped_at and attempt.served_lines < WRAPPED_TRAFFIC:
            return False  # a candidate's second row would not be one
        if self._joined is not None:
            return False  # an engine is starting
        known = attempt.ready is not None and attempt.has(
            "engine_done", "server_start", "routes", "engine_config"
        )
        return (known and attempt.served_lines > 20) or attempt.served_lines > 500

    def take(self, line: Line, wrapped: Wrapped, moment: Moment, raw: str) -> None:
        """The next line; `wrapped` is what it was read from."""
        if self._pending is not None and self._continues(self._pending, line, wrapped):
            self._join(self._pending, wrapped.text)
        else:
            self._pending = None
        event = self._take(line, moment, raw)
        text = wrapped.text
        if self._pending is None and WRAP_AT_LEAST <= len(text) <= WRAP_AT_MOST:
            cut = event is None or event in _LONG_MESSAGES or len(raw) == self.wrapped_at
            if cut and (line.logger == "vllm" or text.startswith("(")):
                self._pending = _Pending([text], raw, moment, event, _key(line), len(text))

    @staticmethod
    def _continues(pending: _Pending, line: Line, wrapped: Wrapped) -> bool:
        """Whether a line may be the next row: it has no beginning of its own."""
        return (
            line.logger == ""
            and line.process.pid is None
            and line.message != ""
            and not wrapped.text.startswith(("Traceback", "  File"))
            and not is_end(line.message)
            and pending.may_go_on(wrapped.text)
        )

    def _join(self, pending: _Pending, text: str) -> None:
        """Tries the line before with this one at its end."""
        pending.add(text)
        if pending.event in _LONG_MESSAGES:
            self._longer(pending)
            return
        if pending.event is not None:
            self._completed(pending)
            return
        for between in ("", " "):
            line = lines.read(Wrapped(between.join(pending.rows)))
            if line.logger and self._marker(line) is not None:
                moment = pending.moment
                if line.stamp and moment.stamp is None:
                    moment = self.calendar.at(moment.line, line.stamp, moment.envelope_ns, moment.digits)
                pending.moment, pending.event = moment, self._take(line, moment, pending.raw)
                self._pending = pending if pending.event in _LONG_MESSAGES else None
                return
        if len(pending.rows) > MAX_ROWS:
            self._pending = None

    def _completed(self, pending: _Pending) -> None:
        """A marker that was cut at the terminal's edge: what it says with the next row."""
        self._pending = None
        found = self._marker(lines.read(Wrapped("".join(pending.rows))))
        if found is not None and found[0].event in (pending.event, _LONGER.get(pending.event or "")):
            self.attempt.correct(pending.event or "", found[0], found[1])

    def _longer(self, pending: _Pending) -> None:
        """A configuration of many rows: it is read when all of them are there."""
        rows = pending.rows
        if len(rows) > 3 and pending.inner > 0:
            self.wrapped_at = pending.inner
        attempt = self.attempt
        if pending.event == "args":
            attempt.argument_rows = rows
        elif pending.key in attempt.engines:
            attempt.rows[pending.key] = rows
        if len(rows) > MAX_ROWS_CONFIG:
            self._pending = None

    # --- a line that is whole

    def _take(self, line: Line, moment: Moment, raw: str) -> str | None:
        """Gives a line to its attempt; the marker's event, if it is one."""
        found = self._marker(line)
        if found is not None and self._begins_again(found[0], line):
            self._begin(moment)
        else:
            self._foresee(found, line, moment)
        attempt, process, key = self.attempts[-1], line.process, _key(line)
        attempt.step(line, moment, key)
        if self._joined is not None:
            self._joined.step(line, moment, key)
        if process.kind == "api" and process.pid is not None:
            self._servers.add(process.pid)
            self._server_names.add(process.name)
        if found is not None:
            self.sign = moment.line
            marker, fields, label = found
            self._event(Seen(marker, fields, moment, key, line.file, label, line.repeated), line)
            return marker.event
        if line.level in ("ERROR", "CRITICAL") or "Traceback" in line.message:
            self.sign = moment.line
        self._serves(line, moment)
        if line.logger == "ray serve":
            self._hosted(line, moment)
        if attempt.ready is not None and line.level == "ERROR" and _NOT_BOUND.match(line.message):
            self._not_ready_after_all()
        if attempt.ready is None:
            attempt.problems.see(moment.line, raw.strip(), line, key, len(attempt.events))
        return None

    def _foresee(self, found: _Found | None, line: Line, moment: Moment) -> None:
        """Keeps the lines that a next start may have begun with before it says its version: those of processes that
        this start does not know, since its own last sign of life."""
        attempt = self.attempt
        over = attempt.ready is not None or attempt.front is not None or attempt.is_lost
        known = line.process.pid is not None and _key(line) in attempt.names and attempt.has_steps
        step = found is not None and found[0].event not in _FORERUNNERS
        if not over or known or step or line.logger == "uvicorn" or line.level in ("ERROR", "CRITICAL"):
            self._prelude.clear()
        elif line.logger == "vllm" and line.stamp is not None:
            if line.file in _EMBEDDING_FILES or len(self._prelude) >= PRELUDE:
                self._prelude.clear()
            if line.file not in _EMBEDDING_FILES:
                self._prelude.append((found, line, moment))

    def _marker(self, line: Line) -> _Found | None:
        """The marker that a line is. Only the logger that prints a marker can print it, and no served text is one."""
        if line.logger == "vllm":
            if line.file is None or (_is_served(line.file) and not self._prints(line)):
                return None
            loggers: tuple[str, ...] = ("vllm", "uvicorn")  # which may have the same format
        elif line.logger in ("uvicorn", "flashinfer"):
            loggers = (line.logger,)
        else:
            loggers = ("bar",)
        message = _whole_logo(line) if line.file in _LOGO_FILES else line.message
        found = markers.find(message, loggers)
        label = None
        if found is None and line.message.startswith("[") and (tag := _LABEL.match(line.message)):
            label = tag[1]
            found = markers.find(line.message[tag.end() :], loggers)
        if found is None or not self._believable(found[0], line):
            return None
        return (*found, label)

    @staticmethod
    def _prints(line: Line) -> bool:
        found = markers.find(_whole_logo(line))
        return found is not None and line.file in found[0].files

    def _believable(self, marker: Marker, line: Line) -> bool:
        if marker.logger != "vllm":
            return True
        if line.level is not None and (line.level in ("ERROR", "CRITICAL")) != (marker.event in _FAILURES):
            return False
        if marker.event in _PREFIXED and _is_nameless(line) and self.attempt.api_pids:
            failed = self.attempt.ready is None and self.attempt.problems.found
            return marker.event in _BEGINNINGS and bool(self.attempt.ended or failed)
        return True

    def _begins_again(self, marker: Marker, line: Line) -> bool:
        attempt, event = self.attempt, marker.event
        if event not in _MAY_BEGIN:
            return False
        if event in _BEGINNINGS:
            seen = attempt.has(*_BEGINNINGS)
            served = attempt.ready is not None and (attempt.has_engine or attempt.served_lines > 0)
            return seen or attempt.ended or served
        if event == "args" and self._is_said_again(line):
            return True
        if event in _OF_THE_SERVER and self._is_another_server(line):
            return True
        return event == "engine_config" and bool(attempt.engines) and self._is_another_start(line)

    def _is_said_again(self, line: Line) -> bool:
        """Whether a server says its arguments in an attempt whose server did, or that has an engine already."""
        attempt = self.attempt
        if not attempt.has("args"):
            return attempt.has_engine
        return attempt.has_engine or attempt.is_lost or _key(line) in attempt.servers

    def _is_another_server(self, line: Line) -> bool:
        """A server of the same name as an earlier one, with a new pid, after that one's start came to an end."""
        process, attempt = line.process, self.attempt
        if process.kind != "api" or process.pid is None or process.pid in self._servers:
            return False
        over = attempt.ready is not None or attempt.is_lost or attempt.has_engine
        return over and process.name in self._server_names

    def _is_another_start(self, line: Line) -> bool:
        """Whether an engine says its configuration although one did: it is the next start's, not one of several."""
        attempt, process = self.attempt, line.process
        if attempt.ended:
            return True
        key = _key(line)
        progress = attempt.has("engine_done", "model_loaded", "failed") or attempt.problems.found
        if key in attempt.engines:  # a process says it once
            return bool(progress) and (key != NO_KEY or not attempt.api or attempt.ready is not None)
        if process.kind == "engine" and process.name not in attempt.engines.values():
            return False
        if line.part and line.part not in attempt.parts.values():
            return False
        return attempt.has_failed if attempt.api else bool(progress)

    def _begin(self, moment: Moment) -> None:
        attempt = Attempt(self._prelude[0][2].line if self._prelude else moment.line)
        prelude, self._prelude = self._prelude, []
        self.attempt.take_back(attempt.first_line)
        self._joined = None
        if not self.attempts[-1].events and self.attempts[-1].first is None:
            self.attempts.pop()
            attempt.first_line = 1
        self.attempts.append(attempt)
        if len(self.attempts) > MAX_ATTEMPTS:
            self._drop()
        for found, line, when in prelude:
            attempt.step(line, when, _key(line))
            if found is not None:
                attempt.add(Seen(found[0], found[1], when, _key(line), line.file, found[2], line.repeated))

    def _drop(self) -> None:
        """Forgets the oldest attempt, but not the last one that became ready."""
        place = (
            1
            if self.attempts[0].ready is not None and not any(attempt.ready for attempt in self.attempts[1:])
            else 0
        )
        del self.attempts[place]
        self.dropped += 1

    def _event(self, seen: Seen, line: Line) -> None:
        attempt, event = self.attempts[-1], seen.marker.event
        if event in _OF_AN_ENGINE and line.process.replica is not None:
            attempt.replicas.names |= [line.process.replica]
        if event in _FAILURES:
            if attempt.problems.failed_place is None:
                attempt.problems.failed_place = len(attempt.events)
            if attempt.ready is None:
                # "EngineCore hit an exception: Traceback …" begins the traceback itself.
                attempt.problems.see(seen.moment.line, line.message, line, seen.process, len(attempt.events))
        if event == "uvicorn_started" and line.process.pid is None:
            self._web_pid = int(seen.fields["pid"])
        if event == "ready" and not self._is_strange(line):
            attempt = self._ready(seen.moment)
        elif event == "shutdown":
            attempt.ended = True
        elif attempt.ready is not None and self._was_early(event):
            attempt.set_apart()
        joined = self._joined
        is_step = attempt.add(seen)
        joins = event == "engine_config" and not (_is_nameless(line) and attempt.api_pids)
        if not is_step and joins and joined is None:
            self._joined = joined = Attempt(seen.moment.line)
            joined.step(line, seen.moment, seen.process)
        if joined is not None and joined is not attempt:
            joined.add(seen)

    def _ready(self, moment: Moment) -> Attempt:
        """The attempt that a server's ready line belongs to. A second one, with an engine's start before it, is that
        of a start whose first lines the log does not show."""
        attempt = self.attempt
        if attempt.ready is not None and self._joined is not None:
            joined, self._joined = self._joined, None
            attempt.later = [seen for seen in attempt.later if seen.moment.line < joined.first_line]
            attempt.later_count = len(attempt.later)
            attempt.last_line = joined.first_line - 1
            joined.api = joined.api or attempt.api
            self.attempts.append(joined)
            attempt = joined
        if attempt.ready is not None:
            attempt.loose.append(Life(attempt.web_pid, moment))
            return attempt
        attempt.ready, attempt.ready_pid = moment, attempt.web_pid
        attempt.ready_stamp = moment if moment.stamp is not None else attempt.last
        if moment.stamp is None and moment.envelope_ns is None and attempt.is_past_front:
            attempt.ready_stamp, attempt.ready_apart = attempt.front, True
        return attempt

    def _is_strange(self, line: Line) -> bool:
        """Whether a line of uvicorn's is of another server: a router or a proxy beside vLLM, by its pid."""
        attempt = self.attempt
        own = attempt.server_pids if attempt.has("args", "server_start", *_BEGINNINGS) else ()
        return (
            line.process.pid is None and bool(own) and self._web_pid is not None and self._web_pid not in own
        )

    def _was_early(self, event: str) -> bool:
        """Whether a line of vLLM's start shows that the ready line before it was not this start's."""
        attempt = self.attempt
        if event in _BEGINNINGS or event == "args":
            return not attempt.has("args", *_BEGINNINGS, *ENGINE_EVENTS)
        if event in ENGINE_EVENTS and not attempt.has_engine:
            return True
        began = event in _ONCE and attempt.has("engine_config")
        return began and not attempt.has(event, "engine_done", "server_start", "routes")

    def _not_ready_after_all(self) -> None:
        """Uvicorn takes the port only after the application's start."""
        attempt = self.attempt
        assert attempt.ready is not None
        if attempt.loose and attempt.loose[-1].ready.line > attempt.ready.line:
            attempt.loose[-1] = attempt.loose[-1]._replace(bound=False)
        elif attempt.served_lines == 0:
            if attempt.is_web_only:
                attempt.loose.append(Life(attempt.ready_pid, attempt.ready, bound=False))
            attempt.ready = attempt.ready_stamp = None

    def _hosted(self, line: Line, moment: Moment) -> None:
        """What Ray Serve says of the replica that the engine is in."""
        attempt = self.attempt
        replicas, component = attempt.replicas, line.component
        replicas.see(component, line.message, moment)
        if not attempt.is_hosted_engine_up:
            return
        if replicas.is_ready(component, line.message, attempt.server_pids):
            self.sign = moment.line
            self._ready(moment)
        elif replicas.is_answer(component, line.message):
            self._served(moment)
            attempt.answered_line = attempt.answered_line or moment.line

    def _serves(self, line: Line, moment: Moment) -> None:
        attempt = self.attempt
        if line.logger == "uvicorn" and ACCESS.match(line.message):
            if self._is_strange(line):
                return
            self._served(moment)
            if attempt.answered_line is None and _ANSWERED.match(line.message):
                attempt.answered_line = moment.line
        elif line.logger == "vllm" and line.file in _EMBEDDING_FILES and _TRAFFIC.match(line.message):
            self._served(moment)
            attempt.counts["traffic"] += 1

    def _served(self, moment: Moment) -> None:
        attempt = self.attempt
        attempt.served_lines += 1
        attempt.served = attempt.served or moment
        if self._joined is not None and self._joined.done:
            self._joined = None  # the server goes on: the engine has joined it


def _whole_logo(line: Line) -> str:
    """The message, with the logo as it is printed when a terminal had no such characters."""
    found = _BROKEN_LOGO.match(line.message)
    if found is None:
        return line.message
    wording = markers.wordings(f"banner_{found['what']}")[0]
    return wording.write(**{found["what"]: found["value"]})


@lru_cache(maxsize=4096)
def _is_served(file: str) -> bool:
    return _SERVED.fullmatch(file) is not None


def _is_nameless(line: Line) -> bool:
    return line.process.pid is None and not line.part


def _key(line: Line) -> Key:
    pid = line.process.pid
    return pid, (line.process.ip or "") if pid is not None else line.part
