"""One row a start and phase, for spreadsheets and scripts. An empty cell is "not known"."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from vllmperf.report.startup.spans import elapsed_s, offset_s, total_s
from vllmperf.starts.result import Phase, Start

COLUMNS = {
    "start": "name of the start: pod, file, or number",
    "group": "the set it belongs to in a comparison",
    "reached": "whether it came to its end (true, false)",
    "total_s": "seconds from its origin to its end; empty for a start that never got there",
    "phase": "name of the phase; the critical ones with unattributed add up to total_s",
    "rank": "process that the span was seen in; empty for the server as a whole",
    "critical": "on the path that the total is made of (true, false)",
    "start_s": "seconds from the origin to the phase's begin",
    "end_s": "seconds from the origin to the phase's end",
    "duration_s": "end_s − start_s",
    "share": "duration_s by total_s (or by what was seen of the start), 0 to 1",
    "reported_s": "the number that the server itself printed for the phase",
    "source": "log, status, event, probe, process, watch, or remainder",
    "resolution_s": "how far each end may be off",
    "detail": "what else is known, such as “from cache”",
}


def rows(starts: Sequence[Start]) -> Iterator[list[Any]]:
    """Rows under COLUMNS, None for what is not known."""
    for start in starts:
        for phase in start.phases:
            yield [*_of_start(start), *_of_phase(start, phase)]


def _of_start(start: Start) -> list[Any]:
    return [start.name, start.group, start.reached, total_s(start)]


def _of_phase(start: Start, phase: Phase) -> list[Any]:
    whole, duration = elapsed_s(start), phase.duration_s
    return [
        phase.name,
        phase.rank,
        phase.critical,
        offset_s(start, phase.start_ns),
        offset_s(start, phase.end_ns),
        duration,
        duration / whole if duration is not None and whole else None,
        phase.reported_s,
        phase.source,
        phase.resolution_s,
        phase.detail,
    ]


def write(starts: Sequence[Start], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row] for row in rows(starts))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else value
