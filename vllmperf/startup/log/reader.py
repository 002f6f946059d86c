"""Reads a file's lines: envelopes off, parts joined, and each line to the server that it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vllmperf.startup.log import envelope, lines
from vllmperf.startup.log.attempt import Attempt
from vllmperf.startup.log.envelope import Wrapped
from vllmperf.startup.log.lane import Lane
from vllmperf.startup.log.learned import Learned
from vllmperf.startup.log.lines import Line
from vllmperf.startup.log.text import decode, pieces, plain
from vllmperf.startup.log.wallclock import Calendar

# A progress bar has no end of line: what is printed next stands behind it.
_BAR = re.compile(r"\d%\||it/s|s/it|row/s|\?B/s")
_BEHIND_BAR = re.compile(
    r"(?:\([^()]*(?:\([^()]*\))?[^()]*pid=\d+[^()]*\) ?)*(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d "
)
_PREFIX = re.compile(r"(?:\([^()\n]*\bpid=\d+[^()\n]*\) ?)+")
MAX_LANES = 64
QUIET_LINES = 10_000


@dataclass
class Reader:
    """State between the lines of one file."""

    calendar: Calendar = field(default_factory=Calendar)
    number: int = 0
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _lane: Lane | None = None  # of the line before
    _partial: dict[str, str] = field(default_factory=dict)
    _learned: Learned = field(default_factory=Learned)

    @property
    def attempts(self) -> list[Attempt]:
        """Of all servers in the file, in the order of their first lines."""
        lanes = {id(lane): lane for lane in self._lanes.values()}.values()
        found = [attempt for lane in lanes for attempt in lane.attempts]
        return sorted(found, key=lambda attempt: attempt.first_line)

    @property
    def serving(self) -> bool:
        """Only traffic is to be expected: lines may be skipped that are no candidates."""
        return bool(self._lanes) and all(lane.serving for lane in self._lanes.values())

    @property
    def _starts(self) -> bool:
        """No server answers yet: what has the looks of a log is one, and nothing that a client sent."""
        return self._lane is None or self._lane.attempt.served_lines == 0

    @property
    def quiet(self) -> bool:
        """Nothing of a start was seen for many lines: only lines need be read that may be a marker or a failure."""
        sign = max((lane.sign for lane in self._lanes.values()), default=0)
        return self.number - sign > QUIET_LINES

    def feed(self, raw: bytes, stamp_ns: int | None = None, number: int | None = None) -> None:
        """One line without its newline."""
        self.number = self.number + 1 if number is None else number
        text = decode(raw)
        for piece in pieces(plain(text)):
            self._piece(piece, stamp_ns)

    def last_of_block(self, raw: bytes) -> None:
        """The last line of lines that were skipped: only its stamp counts."""
        wrapped = envelope.unwrap(plain(decode(raw)))
        line = lines.read(wrapped)
        if line.stamp is not None or wrapped.stamp_ns is not None:
            moment = self.calendar.at(self.number, line.stamp, wrapped.stamp_ns, wrapped.digits)
            self._lane_of(line, wrapped).attempt.skipped_to(moment)

    def entry(self, entry: Wrapped, number: int) -> None:
        """One entry of a JSON file; its text may have several lines, and envelopes of its own."""
        self.number = number
        for place, text in enumerate(entry.text.split("\n")):
            for piece in pieces(plain(text)):
                outer = entry._replace(json=entry.json and place == 0)
                self._unwrapped(envelope.unwrap(piece, outer, self._partial), piece)

    def _piece(self, piece: str, stamp_ns: int | None) -> None:
        wrapped = envelope.unwrap(piece, None, self._partial)
        if stamp_ns is not None and wrapped.stamp_ns is None:
            wrapped = wrapped._replace(stamp_ns=stamp_ns, digits=9)
        self._unwrapped(wrapped, plain(wrapped.text) if wrapped.json else piece)

    def _unwrapped(self, wrapped: Wrapped, raw: str) -> None:
        if wrapped.partial:
            return
        if wrapped.json:
            wrapped = wrapped._replace(text=plain(wrapped.text))
        if "\n" not in wrapped.text and "\r" not in wrapped.text:
            self._bar_and_line(wrapped, raw)
            return
        # A JSON logger's message of several lines: each is the logger's, and of the process before the first.
        logged = wrapped.json and wrapped.level is not None
        process = _PREFIX.match(wrapped.text) if logged else None
        for place, text in enumerate(wrapped.text.split("\n")):
            for part in pieces(text):
                own = f"{process[0]}{part}" if process and place else part
                self._bar_and_line(
                    wrapped._replace(text=own, json=wrapped.json and (logged or place == 0)), part
                )

    def _bar_and_line(self, wrapped: Wrapped, raw: str) -> None:
        text = wrapped.text
        if text[:1] not in "(IWE{" and (
            inner := self._learned.strip(text, self._starts, wrapped.stamp_ns is not None)
        ):
            text, dated = inner
            wrapped = wrapped._replace(text=text, dated=dated or wrapped.dated)
        if (bar := _BAR.search(text)) and (behind := _BEHIND_BAR.search(text, bar.end())):
            self._line(wrapped._replace(text=text[: behind.start()]), raw)
            self._line(wrapped._replace(text=text[behind.start() :]), raw)
        else:
            self._line(wrapped, raw)

    def _line(self, wrapped: Wrapped, raw: str) -> None:
        line = lines.read(wrapped)
        stamp = line.stamp if line.logger == "vllm" else None
        moment = self.calendar.at(self.number, stamp, wrapped.stamp_ns, wrapped.digits)
        if dated := line.dated or wrapped.dated:
            self.calendar.dated(dated)
        self._lane_of(line, wrapped).take(line, wrapped, moment, raw)

    def _lane_of(self, line: Line, wrapped: Wrapped) -> Lane:
        """The server of a line. A line without a name belongs to the one before it; a name counts once it stands
        before a line of a server, because other text has bars too."""
        name = wrapped.source
        if name in self._lanes:
            lane = self._lanes[name]
        elif name and _of_server(line) and len(self._lanes) < MAX_LANES:
            lane = self._lanes[name] = self._new_lane(name)
        else:
            lane = self._lane or self._lanes.setdefault("", Lane(self.calendar))
        self._lane = lane
        return lane

    def _new_lane(self, name: str) -> Lane:
        """For a name that is new: what came before without a name is its too, and so is what another collector
        named in its own way."""
        nameless = self._lanes.pop("", None)
        if nameless is not None:
            return nameless
        same_kind = any(_is_pod(known) == _is_pod(name) for known in self._lanes)
        return self._lane if self._lane is not None and not same_kind else Lane(self.calendar)


def _of_server(line: Line) -> bool:
    return line.logger in ("vllm", "uvicorn") or line.process.pid is not None


def _is_pod(name: str) -> bool:
    return name.startswith("pod/")
