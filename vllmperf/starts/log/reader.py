"""Reads a file's lines: envelopes off, parts joined, and each line to the server that it belongs to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from vllmperf.starts.log import bodies, envelope, lines, otlp, process
from vllmperf.starts.log.apart import settle
from vllmperf.starts.log.attempt import Attempt
from vllmperf.starts.log.envelope import Wrapped, stamped
from vllmperf.starts.log.lane import Lane
from vllmperf.starts.log.learned import HEADER, Learned
from vllmperf.starts.log.lines import Line
from vllmperf.starts.log.scan import NEEDLES, Candidates, wide_needles
from vllmperf.starts.log.stamps import Found, of_ns
from vllmperf.starts.log.text import decode, pieces, plain
from vllmperf.starts.log.wallclock import Calendar, Moment

# A progress bar has no end of line: what is printed next stands behind it.
_BAR = re.compile(r"%\||it/s|s/it|row/s|\?B/s")
_OWN = ("vllm", "uvicorn", "flashinfer")  # loggers of one clock
MAX_LANES = 64
QUIET_LINES = 10_000
IN_VAIN = 5_000
MOST_BARE = 2_000
LONGEST_STAMPED = 4096  # bytes of a line that are read for its stamp alone
OTLP_HEAD = 1000
SHOWN = 2000  # characters of the first line
MANY_PIECES, LAST_PIECES = 2_000, 100


@dataclass
class Reader:
    """State between the lines of one file."""

    calendar: Calendar = field(default_factory=Calendar)
    number: int = 0
    first_text: str = ""  # the first line with a text in it
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _lane: Lane | None = None  # of the line before
    _partial: dict[str, list[str]] = field(default_factory=dict)
    _learned: Learned = field(default_factory=Learned)
    _headed: bool = False  # a line had vLLM's own form
    _sign: int = 0  # the last line that told something of a start
    _silent: int = 0  # lines since then, and pieces of lines
    _in_vain: int = 0  # those of them that had needles
    _said: tuple[str, str] = ("", "")  # the last line, and in which log
    _bare_left: int = MOST_BARE  # messages with nothing around them that may still be taken for vLLM's

    @property
    def attempts(self) -> list[Attempt]:
        """Of all servers in the file, in the order of their first lines."""
        lanes = {id(lane): lane for lane in self._lanes.values()}.values()
        found = [attempt for lane in lanes for attempt in settle(lane.attempts)]
        if any(
            attempt.shows_vllm for attempt in found
        ):  # what else has a uvicorn is a router, a proxy, a sidecar
            found = [attempt for attempt in found if attempt.shows_vllm]
        return sorted(found, key=lambda attempt: attempt.first_line)

    @property
    def dropped(self) -> int:
        """Starts that were too many to be kept."""
        return sum(lane.dropped for lane in {id(lane): lane for lane in self._lanes.values()}.values())

    @property
    def _starts(self) -> bool:
        """No server answers yet: what has the looks of a log is one, and nothing that a client sent."""
        return self._lane is None or self._lane.attempt.served_lines == 0

    def needles(self) -> tuple[bytes, ...] | None:
        """What the next lines must hold that need be read; None: all must be read.

        A server that serves prints traffic. Where nothing of a start was seen for many lines, only lines need be read
        that may be a marker or a failure; and where many of those said nothing either, those that begin a start."""
        lanes, sign = self._lanes.values(), self._sign
        if lanes and all(lane.serving for lane in lanes):
            return NEEDLES
        for lane in lanes:
            if lane.sign > sign:
                sign = lane.sign
        if sign > self._sign:
            self._sign, self._silent, self._in_vain = sign, 0, 0
        if self._silent <= QUIET_LINES:
            return None
        if self._in_vain > IN_VAIN:
            return NEEDLES
        return wide_needles(not all(lane.attempt.problems.is_full for lane in self._lanes.values()))

    def candidate(self, raw: bytes, number: int) -> None:
        """A line that holds a needle."""
        self._in_vain += 1
        if (
            self._bare_left <= 0
            and self._in_vain > IN_VAIN
            and self._lane is not None
            and self._says_nothing(raw)
        ):
            self._lane.attempt.last_line = self.number = number
        else:
            self.feed(raw, number=number)

    def _says_nothing(self, raw: bytes) -> bool:
        """Whether a line is a mere message where those are no longer taken for vLLM's, and no sentence of uvicorn's."""
        text = decode(raw)
        return self._learned.is_empty and lines.is_bare(text) and bodies.uvicorn(text) is None

    def feed(self, raw: bytes, stamp_ns: int | None = None, number: int | None = None) -> None:
        """One line without its newline."""
        self.number = self.number + 1 if number is None else number
        text = decode(raw)
        if not self.first_text:
            self.first_text = text[:SHOWN].strip()
        if stamp_ns is None and lines.is_bare(text):
            self._line(Wrapped(text, bare=True), text)
            return
        if otlp.MARK in text[:OTLP_HEAD] and (entries := _otlp(text)):
            for entry in entries:
                self._entry(entry)
            return
        for piece in _some(pieces(plain(text))):
            self._piece(piece, stamp_ns)

    def last_of_block(self, raw: bytes) -> None:
        """The last line of lines that were skipped: only its stamp counts."""
        wrapped, line = self._read(envelope.unwrap(plain(decode(raw[:LONGEST_STAMPED]))))
        if line.stamp is not None or wrapped.stamp_ns is not None:
            self._lane_of(line, wrapped).attempt.skipped_to(self._moment(line, wrapped))

    def entry(self, entry: Wrapped, number: int) -> None:
        """One entry of a JSON file."""
        self.number = number
        if not self.first_text:
            self.first_text = entry.text[:SHOWN].strip()
        self._entry(entry)

    def _entry(self, entry: Wrapped) -> None:
        """Its text may have several lines, and envelopes of its own."""
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
        named = wrapped.text[: process.leading(wrapped.text)[1]] if logged else ""
        for place, text in enumerate(wrapped.text.split("\n")):
            for part in pieces(text):
                own = f"{named}{part}" if place else part
                self._bar_and_line(
                    wrapped._replace(text=own, json=wrapped.json and (logged or place == 0)), part
                )

    def _bar_and_line(self, wrapped: Wrapped, raw: str) -> None:
        text = wrapped.text
        if (header := _behind_bar(text)) is not None:
            at = process.begins(text, header[1], header[0])
            self._line(wrapped._replace(text=text[:at]), raw)
            self._line(wrapped._replace(text=text[at:]), raw)
        else:
            self._line(wrapped, raw)

    def _line(self, wrapped: Wrapped, raw: str) -> None:
        self._silent += 1
        wrapped, line = self._read(wrapped)
        before, self._said = self._said, (wrapped.source, wrapped.text)
        if line.stamp is not None and self._said == before:
            return  # a logger with two handlers says all twice
        moment = self._moment(line, wrapped)
        if line.dated and line.logger not in _OWN:
            self.calendar.dated(line.dated)
        lane = self._lane_of(line, wrapped)
        lane.take(line, wrapped, moment, raw)
        if self._learned.host is not None:
            lane.attempt.host = lane.attempt.host or self._learned.host

    def _read(self, wrapped: Wrapped) -> tuple[Wrapped, Line]:
        """What a line is, by vLLM's own form or by what was learned of the file's."""
        line = lines.read(wrapped)
        if line.logger == "vllm":
            self._headed = self._headed or line.stamp is not None
            if prefix := wrapped.prefix or line.prefix:
                self._learned.note(prefix)
            return wrapped, line
        if line.logger not in ("", "uvicorn") or not line.message:
            return wrapped, line
        if (
            not line.logger
            and (inner := self._learned.strip(wrapped.text, not wrapped.bare and self._starts)) is not None
        ):
            wrapped = _with(wrapped._replace(text=inner.text, bare=False), inner.found)
            if not wrapped.source and (pod := envelope.pod_before(inner.prefix)) in self._lanes:
                wrapped = wrapped._replace(source=pod)
            line = lines.read(wrapped)
        if not line.logger or not self._headed:
            line = self._of_own_format(wrapped, line) or line
        return wrapped, line

    def _of_own_format(self, wrapped: Wrapped, line: Line) -> Line | None:
        """A line of unknown form, by what it says."""
        bare = (not self._headed or wrapped.json) and self._bare_left > 0
        text = wrapped.text if wrapped.bare else wrapped.text[process.leading(wrapped.text)[1] :]
        told = self._learned.read(line, text, self._starts, bare)
        if told is None:
            return None
        self._bare_left -= told.message == text
        if wrapped.json and wrapped.level:
            told = told._replace(level=wrapped.level.upper())
        own = (
            told.logger == "vllm" or self._learned.has_own
        )  # the stamp before it is the logger's, no collector's
        if own and told.stamp is None and wrapped.local and wrapped.stamp_ns is not None:
            told = told._replace(stamp=of_ns(wrapped.stamp_ns))
        return told

    def _moment(self, line: Line, wrapped: Wrapped) -> Moment:
        own = line.logger in _OWN
        stamp = line.stamp if own or line.logger == "ray serve" else None
        if own and wrapped.stamp_ns is None:
            if line.at is not None:
                wrapped = _with(wrapped, line.at)
            elif line.dated:
                wrapped = stamped(wrapped, line.dated)
        return self.calendar.at(self.number, stamp, wrapped.stamp_ns, wrapped.digits, wrapped.local)

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
        own = next((lane for known, lane in self._lanes.items() if _is_same_pod(known, name)), None)
        if own is not None:
            return own
        nameless = self._lanes.pop("", None)
        if nameless is not None:
            return nameless
        same_kind = any(_is_pod(known) == _is_pod(name) for known in self._lanes)
        return self._lane if self._lane is not None and not same_kind else Lane(self.calendar)


def _some(printed: list[str]) -> list[str]:
    """Of what was printed over each other very often only the end, and what may tell of a start or a failure."""
    if len(printed) <= MANY_PIECES:
        return printed
    block = "\n".join(printed).encode("utf-8", "replace")
    told = {place for place, _, _ in Candidates(wide_needles()).of(block)}
    return [
        piece for place, piece in enumerate(printed) if place in told or place >= len(printed) - LAST_PIECES
    ]


def _behind_bar(text: str) -> tuple[int, int] | None:
    """Where the first bar of a line ends, and where the header begins that was printed behind it."""
    bar = _BAR.search(text)
    header = HEADER.search(text, bar.start()) if bar else None
    return (bar.start(), header.start()) if bar and header else None


def _with(wrapped: Wrapped, found: Found) -> Wrapped:
    """With the stamp of a prefix, where it says more than one before it."""
    if found.ns is None or (wrapped.stamp_ns is not None and (found.local or not wrapped.local)):
        return wrapped
    return wrapped._replace(stamp_ns=found.ns, digits=found.digits, local=found.local)


def _otlp(text: str) -> list[Wrapped]:
    """The records of a line that is a request of OTLP; [] when it is none."""
    try:
        value = json.loads(text)
        return list(otlp.records(value)) if otlp.is_request(value) else []
    except (ValueError, RecursionError):
        return []


def _of_server(line: Line) -> bool:
    return line.logger in ("vllm", "uvicorn") or line.process.pid is not None


def _is_same_pod(known: str, name: str) -> bool:
    """Whether two names are of one pod, one of them with its container."""
    return _is_pod(name) and (
        known.startswith(f"{name}/") or (_is_pod(known) and name.startswith(f"{known}/"))
    )


def _is_pod(name: str) -> bool:
    return name.startswith("pod/")
