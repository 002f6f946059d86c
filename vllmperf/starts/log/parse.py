"""Parses a vLLM server's log: `parse` a file, or feed a `LogParser` while the server still starts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from vllmperf.errors import UsageError
from vllmperf.starts.log import source as sources
from vllmperf.starts.log.envelope import unwrap
from vllmperf.starts.log.reader import Reader
from vllmperf.starts.log.scan import Candidates, last_line
from vllmperf.starts.log.source import Source
from vllmperf.starts.log.summary import summarize
from vllmperf.starts.log.text import decode, plain
from vllmperf.starts.log.wallclock import resolver, zone
from vllmperf.starts.result import ParsedFile, StartupLog, as_start

PROBE_LINES = 400
LINES_AT_ONCE = 16  # are read before the question whether lines may be skipped is asked again


class LogParser:
    """Takes a log line by line, and tells at any time what it has shown so far.

    year: of the first line, when neither a collector's stamps nor the log tell it (default: the latest year in which
    the last line is not in the future). tz: zone of the log's own stamps, a name or an offset such as +02:00
    (default: UTC is assumed); UsageError when there is none such.
    """

    def __init__(self, year: int | None = None, tz: str | None = None, file: str = "-") -> None:
        zone(tz)
        self._year, self._tz, self._file = year, tz, file
        self._reader = Reader()
        self._date: tuple[int, str] | None = None

    def feed(self, line: bytes, stamp_ns: int | None = None) -> None:
        """The next line, with or without its newline, and when it was read (ns since the epoch, UTC), if known."""
        self._reader.feed(line.rstrip(b"\n"), stamp_ns)

    def result(self) -> ParsedFile:
        """All attempts so far. Cheap: it costs what the markers do, not the lines."""
        date_ns, date_from = self._date or (time.time_ns(), "assumed")
        reader = self._reader
        times = resolver(reader.calendar, self._year, self._tz, date_ns, date_from)
        attempts = tuple(summarize(attempt, times) for attempt in reader.attempts) or (StartupLog(),)
        recognized = any(attempt.shows_vllm for attempt in reader.attempts)
        notes = [] if recognized else ["no line of a vLLM server was found"]
        if reader.dropped:
            notes.append(f"{reader.dropped} earlier starts are not listed")
        return ParsedFile(
            self._file,
            attempts,
            _main(attempts),
            reader.number,
            tuple(notes),
            recognized,
            reader.first_text,
        )

    def _read(self, source: Source) -> None:
        self._date = (source.date_ns or time.time_ns(), source.date_from)
        try:
            entries = sources.json_entries(source) or sources.table_entries(source)
        except sources.NotJsonError as read:
            source, entries = source._replace(head=read.data), None
        if entries is not None:
            for number, entry in entries:
                self._reader.entry(entry, number)
        elif _runs_backward(source.head):
            self._read_backward(source)
        else:
            self._read_blocks(sources.blocks(source))

    def _read_blocks(self, blocks: Iterable[bytes]) -> None:
        scanners: dict[tuple[bytes, ...], Candidates] = {}
        for block in blocks:
            at = self._read_lines(block, 0)
            while at < len(block):
                needles = self._reader.needles()
                if needles is not None:
                    if needles not in scanners:
                        scanners[needles] = Candidates(needles)
                    at = self._skip(scanners[needles], needles, block[at:] if at else block, at)
                at = self._read_lines(block, at)

    def _read_lines(self, block: bytes, at: int) -> int:
        """Reads line by line until the server serves, or nothing happens any more; where it stopped."""
        reader = self._reader
        while at < len(block) and reader.needles() is None:
            for _ in range(LINES_AT_ONCE):
                end = block.find(b"\n", at)
                end = len(block) if end < 0 else end
                reader.feed(block[at:end])
                at = end + 1
                if at >= len(block):
                    break
        return at

    def _skip(self, candidates: Candidates, needles: tuple[bytes, ...], block: bytes, offset: int) -> int:
        """Only candidates are read, and the last line for its stamp. Where reading goes on: at the block's end, or
        behind the line from which on other lines must be read."""
        reader = self._reader
        before = reader.number
        for count, (place, start, end) in enumerate(candidates.of(block), 1):
            reader.candidate(block[start:end], before + place + 1)
            if reader.needles() is None or (count % LINES_AT_ONCE == 0 and reader.needles() is not needles):
                return offset + end + 1
        reader.number = before + candidates.lines
        reader.last_of_block(last_line(block))
        return offset + len(block)

    def _read_backward(self, source: Source) -> None:
        lines = b"".join(sources.blocks(source)).splitlines()
        for place in range(len(lines), 0, -1):
            self._reader.feed(lines[place - 1], number=place)
        self._reader.number = len(lines)


def parse(path: str | Path | BinaryIO, year: int | None = None, tz: str | None = None) -> ParsedFile:
    """Parse a log file, "-" for standard input, or an open binary file; .gz is unpacked.

    year, tz: see LogParser. UsageError when there is nothing to read.
    """
    with sources.open_source(path) as source:
        parser = LogParser(year, tz, source.name)
        parser._read(source)
        return parser.result()


def _main(attempts: tuple[StartupLog, ...]) -> StartupLog:
    """The last attempt that became ready, else the last that is one at all."""
    ready = [log for log in attempts if log.reached_ready]
    real = [log for log in attempts if log.first_log_ts or log.phases]
    return (ready or real or list(attempts))[-1]


def _runs_backward(head: bytes) -> bool:
    """Whether the collector gave the newest line first, as Loki's and Google's tools do."""
    stamps = []
    for line in head.split(b"\n")[:PROBE_LINES]:
        wrapped = unwrap(plain(decode(line)))
        if wrapped.stamp_ns is not None:
            stamps.append(wrapped.stamp_ns)
    falls, rises = sources.falls_and_rises(stamps)
    return falls >= 4 and falls > 5 * rises


__all__ = ["LogParser", "UsageError", "as_start", "parse"]
