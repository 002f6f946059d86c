"""One row a request, for spreadsheets and scripts: the fields of the record, then the metrics of
that request."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from vllmperf import _engine
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed
from vllmperf.record.fields import ASKED, FIELDS
from vllmperf.record.reader import Recording
from vllmperf.record.schema import ENUM_COLUMNS

METRIC_COLUMNS = ("ttft", "ttft_scheduled", "tpot", "e2el", "e2el_scheduled")


def header() -> list[str]:
    return [*(field.name for field in (*FIELDS, *ASKED)), *(f"{name}_ms" for name in METRIC_COLUMNS), "error"]


def columns(recording: Recording) -> list[list[Any]]:
    """The columns of header(): None where a thing did not happen, names for enums, metrics in ms."""
    found = [_field(recording, field.name) for field in FIELDS]
    found += [_asked(recording, field.name) for field in ASKED]
    found += [_metric(recording, name) for name in METRIC_COLUMNS]
    return [*found, list(recording.errors)]


def rows(recording: Recording) -> Iterator[tuple[Any, ...]]:
    return zip(*columns(recording), strict=True)


def write(recording: Recording, file: TextIO) -> None:
    """Write all requests, sorted by their number; an empty cell is "did not happen"."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header())
    writer.writerows(_written(rows(recording)))


def _written(found: Iterable[tuple[Any, ...]]) -> Iterator[list[Any]]:
    for row in found:
        yield [f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row]


def _field(recording: Recording, name: str) -> list[Any]:
    values: list[Any] = recording.requests[name].tolist()
    if table := ENUM_COLUMNS.get(name):
        names = getattr(_engine, table)
        return [None if value == _engine.NONE else names[value] for value in values]
    return [None if value == _engine.NONE else value for value in values]


def _asked(recording: Recording, name: str) -> list[Any]:
    if recording.asked is None:
        return [None] * len(recording.requests)
    return [None if value == _engine.NONE else value for value in recording.asked[name].tolist()]


def _metric(recording: Recording, name: str) -> list[Any]:
    done = Completed(recording)
    found: list[Any] = [None] * len(recording.requests)
    values = (per_request(done, name) / NS_PER_MS).tolist()
    for row, value in zip(done.mask.nonzero()[0].tolist(), values, strict=True):
        found[row] = value if value == value else None  # NaN
    return found
