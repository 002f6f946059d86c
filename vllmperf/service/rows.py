"""The intervals of a run that may last for hours, as few rows: the latest as they came, older ones merged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

INTERVALS = "intervals.jsonl"
"""Of a run's folder: what its worker has written of them, a line each."""
MOST_ROWS = 3600
FRESH = 900
"""The last so many rows are never merged."""
SUMS = ("done", "completed", "errors")
PEAKS = ("ttft_ms_p99", "itl_ms_p99", "schedule_lag_ms_p99", "client_lag_ms_p99")
"""Of merged rows the highest one stays known, as `peaks`: a stall of a second must not vanish in the mean of a minute."""

Row = Mapping[str, Any]


class Rows:
    """At most MOST_ROWS rows that cover a run from its start on. Each time they are too many, the older ones become longer."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: list[Row] = []
        for row in rows:
            self.add(row)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(tuple(self._rows))

    def __getitem__(self, place: int) -> Row:
        return self._rows[place]

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) > MOST_ROWS:
            self._rows = [*_coarse(self._rows[:-FRESH]), *self._rows[-FRESH:]]


def rows_of(folder: Path) -> Iterator[Row]:
    """Those that the worker of a run has written."""
    with suppress(OSError), (folder / INTERVALS).open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):  # the last one of a worker that was killed
                yield json.loads(line)


def _coarse(rows: list[Row]) -> Iterator[Row]:
    """Rows of a power of two seconds, the shortest that leaves a quarter to a half of the room."""
    room = (MOST_ROWS - FRESH) / 2
    length_s = 2.0 ** math.ceil(math.log2((rows[-1]["end_s"] - rows[0]["start_s"]) / room))
    last = rows[0]
    for row in rows[1:]:
        if row["end_s"] - last["start_s"] <= length_s:
            last = merged(last, row)
        else:
            yield last
            last = row
    yield last


def merged(first: Row, second: Row) -> dict[str, Any]:
    """Counts are sums, rates and latencies means: of time, and of completed requests. in_flight: at the end."""
    seconds = [row["end_s"] - row["start_s"] for row in (first, second)]
    completed = [row.get("completed") or 0 for row in (first, second)]
    found = {**second, "start_s": first["start_s"]}
    for name in second:
        values = first.get(name), second[name]
        if name in SUMS:
            found[name] = sum(value or 0 for value in values)
        elif name.endswith("_per_s"):
            found[name] = _mean(values, seconds)
        elif "_ms_" in name:
            found[name] = _mean(values, completed)
    return {**found, "peaks": {name: _peak(name, first, second) for name in PEAKS}}


def _mean(values: tuple[float | None, float | None], weights: list[float]) -> float | None:
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in known)
    if not known:
        return None
    return sum(value * weight for value, weight in known) / total if total else known[-1][0]


def _peak(name: str, *rows: Row) -> float | None:
    known = [value for row in rows if (value := (row.get("peaks") or row).get(name)) is not None]
    return max(known, default=None)
