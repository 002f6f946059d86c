"""One server's output, line by line, into attempts: wrapped lines joined, markers found, starts told apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vllmperf.startup.log import lines, markers
from vllmperf.startup.log.attempt import Attempt, Key, Seen, process_name
from vllmperf.startup.log.envelope import Wrapped
from vllmperf.startup.log.failure import is_end
from vllmperf.startup.log.lines import Line
from vllmperf.startup.log.marker import Fields, Marker
from vllmperf.startup.log.wallclock import Calendar, Moment

# Files whose messages hold what clients sent or what the model answered: no marker of theirs is one.
_SERVED = re.compile(
    r"(?:request_)?logger\.py|async_llm(?:_engine)?\.py|serving\w*\.py|protocol\.py|dump_input\.py|chat_utils\.py|"
    r"metrics\.py|api_router\.py|\w*(?:tool|reasoning)_parser\w*\.py|utils\.py|scheduler\.py|preprocess\.py"
)
_LABEL = re.compile(r"\[([\w.:/ -]{1,60})\] (?=\S)")
_ANSWERED = re.compile(r'\S+ - "[A-Z]+ \S+ HTTP/\d(?:\.\d)?" 2\d\d')
_NOT_BOUND = re.compile(r"\[Errno \d+\] error while attempting to bind on address")
_ACCESS = re.compile(r'\S+ - "[A-Z]+ \S+ HTTP/')
_TRAFFIC = re.compile(
    r"Received request |Added request |Generated response |Finished request |Aborted request |"
    r"(?:Engine \d+: )?Avg prompt throughput|Prompt: |Speculative metrics|SpecDecoding metrics"
)
_BROKEN_LOGO = re.compile(
    r"(?=\S* *[^\sA-Za-z0-9])[^A-Za-z0-9'\":=.,/]{16,80} (?P<what>version|model) +(?P<value>\S.*)$"
)
_LOGO_FILES = frozenset(("api_utils.py", "utils.py"))
_EMBEDDING_FILES = frozenset(("metrics.py", "loggers.py", "async_llm_engine.py", "async_llm.py", "logger.py"))
_PREFIXED = frozenset(("asleep", "awake", "sleep_freed", "banner_version", "engine_done", "api_version"))
_BEGINNINGS = frozenset(("api_version", "banner_version"))
_FORERUNNERS = frozenset(("platform", "platform_plugin"))
_FAILURES = frozenset(("failed", "died"))
_LONGER = {"gpu_blocks": "blocks"}  # the first part of a message can be another message
_LONG_MESSAGES = frozenset(("engine_config", "args"))
WRAPPED_TRAFFIC = 100_000
MAX_ROWS, MAX_ROWS_CONFIG = 4, 400
WRAP_AT_LEAST, WRAP_AT_MOST = 40, 500  # columns
PRELUDE = 64


_Found = tuple[Marker, Fields, str | None]


@dataclass
class _Pending:
    """A line that the next one may go on with, when a terminal wrapped it."""

    rows: list[str]
    raw: str
    moment: Moment
    event: str | None

    def may_go_on(self, text: str) -> bool:
        """The last row must be about as full as the fullest: a terminal that wraps at words leaves some of it empty."""
        width = max(map(len, self.rows))
        return len(self.rows[-1]) * 2 >= width and len(text) <= 2 * width


@dataclass
class Lane:
    """The lines of one server: of a file, or of one pod or service of a file that holds several."""

    calendar: Calendar
    attempts: list[Attempt] = field(default_factory=list)
    sign: int = 0  # last line that told something of a start
    wrapped_at: int = 0  # columns of the terminal that wrapped the lines, once known
    _prelude: list[tuple[_Found | None, Line, Moment]] = field(default_factory=list)
    _pending: _Pending | None = None

    @property
    def attempt(self) -> Attempt:
        if not self.attempts:
            self.attempts.append(Attempt(1))
        return self.attempts[-1]

    @property
    def serving(self) -> bool:
        """Only traffic is to be expected: lines may be skipped that are no candidates."""
        attempt = self.attempt
        if self.wrapped_at and attempt.served_lines < WRAPPED_TRAFFIC:
            return False  # a candidate's second row would not be one
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
        mine = line.logger == "vllm" or wrapped.text.startswith("(")
        fits = WRAP_AT_LEAST <= len(wrapped.text) <= WRAP_AT_MOST
        cut = event is None or event in _LONG_MESSAGES or len(raw) == self.wrapped_at
        if self._pending is None and mine and fits and cut:
            self._pending = _Pending([wrapped.text], raw, moment, event)

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
        pending.rows.append(text)
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
        """A configuration of many rows: read again with each."""
        inner = {len(row) for row in pending.rows[1:-1]}
        if len(pending.rows) > 3 and len(inner) == 1:
            self.wrapped_at = inner.pop()
        rows = [row + " " if row.endswith((",", ":")) else row for row in pending.rows]
        message = lines.read(Wrapped("".join(rows))).message
        if pending.event == "engine_config":
            self.attempt.config_goes_on(message)
        else:
            self.attempt.arguments_go_on(message.partition("args: ")[2].removeprefix("Namespace"))
        if len(pending.rows) > MAX_ROWS_CONFIG:
            self._pending = None

    # --- a line that is whole

    def _take(self, line: Line, moment: Moment, raw: str) -> str | None:
        """Gives a line to its attempt; the marker's event, if it is one."""
        found = self._marker(line)
        if found is not None and self._begins_again(found[0], line):
            self._begin(moment)
        else:
            self._foresee(found, line, moment)
        attempt = self.attempt
        key = _key(line)
        attempt.step(line, moment, key)
        if found is not None or line.level in ("ERROR", "CRITICAL") or "Traceback" in line.message:
            self.sign = moment.line
        if found is not None:
            marker, fields, label = found
            self._event(Seen(marker, fields, moment, key, line.file, label, line.repeated), line)
            return marker.event
        self._serves(line, moment)
        if attempt.ready is not None and line.level == "ERROR" and _NOT_BOUND.match(line.message):
            self._not_ready_after_all()
        if attempt.ready is None:
            attempt.problems.see(moment.line, raw.strip(), line, process_name(key), len(attempt.events))
        return None

    def _foresee(self, found: _Found | None, line: Line, moment: Moment) -> None:
        """Keeps the lines that a next start may have begun with before it says its version: those of processes that
        this start does not know, since its own last sign of life."""
        attempt = self.attempt
        over = attempt.ready is not None or attempt.ended or attempt.problems.found
        known = line.process.pid is not None and _key(line) in attempt.names
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
            if line.file is None or (_SERVED.fullmatch(line.file) and not self._prints(line)):
                return None
            loggers = ("vllm",)
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
        if (line.level in ("ERROR", "CRITICAL")) != (marker.event in _FAILURES):
            return False
        if marker.event in _PREFIXED and line.process.pid is None and self.attempt.api_pids:
            failed = self.attempt.ready is None and self.attempt.problems.found
            return marker.event in _BEGINNINGS and bool(self.attempt.ended or failed)
        return True

    def _begins_again(self, marker: Marker, line: Line) -> bool:
        attempt = self.attempt
        if marker.event in _BEGINNINGS:
            seen = attempt.has(*_BEGINNINGS)
            return seen or attempt.ended or (attempt.has_engine and attempt.ready is not None)
        if marker.event == "engine_config" and attempt.has("engine_config"):
            return self._another_engine(line)
        return False

    def _another_engine(self, line: Line) -> bool:
        """A second engine in an attempt: one of several, or, without a server, the next start."""
        attempt = self.attempt
        process = line.process
        if process.kind == "engine" and any(
            key != (process.pid, process.ip or "") and attempt.names.get(key, process).name != process.name
            for key in (seen.process for seen in attempt.all("engine_config"))
        ):
            return False
        if attempt.api and not attempt.ended:
            return False
        return (
            attempt.has("engine_done", "model_loaded", "failed")
            or bool(attempt.problems.found)
            or attempt.ended
        )

    def _begin(self, moment: Moment) -> None:
        attempt = Attempt(self._prelude[0][2].line if self._prelude else moment.line)
        prelude, self._prelude = self._prelude, []
        if self.attempts and not self.attempts[-1].events and self.attempts[-1].first is None:
            self.attempts.pop()
            attempt.first_line = 1
        self.attempts.append(attempt)
        for found, line, when in prelude:
            attempt.step(line, when, _key(line))
            if found is not None:
                attempt.add(Seen(found[0], found[1], when, _key(line), line.file, found[2], line.repeated))

    def _event(self, seen: Seen, line: Line) -> None:
        attempt = self.attempt
        if seen.event in _FAILURES:
            if attempt.problems.failed_place is None:
                attempt.problems.failed_place = len(attempt.events)
            if attempt.ready is None:
                # "EngineCore hit an exception: Traceback …" begins the traceback itself.
                attempt.problems.see(
                    seen.moment.line, line.message, line, process_name(seen.process), len(attempt.events)
                )
        if seen.event == "ready":
            self._ready(seen.moment)
        elif seen.event == "shutdown":
            attempt.ended = True
        elif seen.event == "engine_config" and attempt.ready is not None and not attempt.has_engine:
            attempt.early_ready, attempt.ready = attempt.ready, None
        attempt.add(seen)

    def _ready(self, moment: Moment) -> None:
        attempt = self.attempt
        if attempt.ready is None:
            attempt.ready = moment
            attempt.ready_stamp = attempt.last

    def _not_ready_after_all(self) -> None:
        """Uvicorn takes the port only after the application's start."""
        attempt = self.attempt
        if attempt.served_lines == 0:
            attempt.ready = attempt.ready_stamp = None

    def _serves(self, line: Line, moment: Moment) -> None:
        attempt = self.attempt
        if line.logger == "uvicorn" and _ACCESS.match(line.message):
            attempt.served_lines += 1
            if attempt.answered_line is None and _ANSWERED.match(line.message):
                attempt.answered_line = moment.line
        elif line.logger == "vllm" and line.file in _EMBEDDING_FILES and _TRAFFIC.match(line.message):
            attempt.served_lines += 1
            attempt.counts["traffic"] += 1


def _whole_logo(line: Line) -> str:
    """The message, with the logo as it is printed when a terminal had no such characters."""
    found = _BROKEN_LOGO.match(line.message)
    if found is None:
        return line.message
    wording = markers.wordings(f"banner_{found['what']}")[0]
    return wording.write(**{found["what"]: found["value"]})


def _key(line: Line) -> Key:
    return line.process.pid, line.process.ip or ""
