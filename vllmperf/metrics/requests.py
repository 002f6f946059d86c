"""The requests of a run as one table: what was recorded of each, what was asked for, and its metrics."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import BY_NAME, OBJECTIVES, per_request
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Flags, Floats, Rows, as_floats
from vllmperf.record.fields import ASKED
from vllmperf.record.schema import ENUM_COLUMNS
from vllmperf.record.table import Requests

METRIC_COLUMNS = tuple(BY_NAME[name].key for name in OBJECTIVES)


def requests(done: Completed, rows: slice = slice(None)) -> NDArray[np.void]:
    """A structured array, one row a request, sorted by number: the fields of docs/run_file.md, then the metrics in ms.

    rows: which of all recorded requests. done: what counts of the run; left_out is 1 for requests of its warm-up. Names are text.
    What may be missing is float64 with NaN; float64 holds ns exactly for 104 days. Metrics are of completed requests, NaN for the
    others.
    """
    found = done.recording.requests[rows]
    asked = None if done.recording.asked is None else done.recording.asked[rows]
    columns = {name: _field(found[name], name) for name in found.dtype.names or ()}
    columns |= {field.name: _asked(asked, field.name, len(found)) for field in ASKED}
    sent = found["sent_ns"]
    columns["left_out"] = ((sent < done.start_ns) & (sent != _engine.NONE)).astype(np.uint8)
    columns |= {BY_NAME[name].key: _metric(found, done.whole.mask[rows], name) for name in OBJECTIVES}
    table = np.empty(len(found), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _field(column: NDArray[Any], name: str) -> NDArray[Any]:
    if enum := ENUM_COLUMNS.get(name):
        names = np.array([*getattr(_engine, enum), ""])
        return names[
            np.where(column == _engine.NONE, len(names) - 1, column)
        ]  # older files lack some columns
    return as_floats(column) if column.dtype.itemsize == 8 and name != "index" else column


def _asked(asked: Requests | None, name: str, count: int) -> Floats:
    return np.full(count, np.nan) if asked is None else as_floats(asked[name])


def _metric(found: Requests, completed: Flags, name: str) -> Floats:
    values = np.full(len(found), np.nan)
    values[completed] = per_request(Rows(found[completed]), name) / NS_PER_MS
    return values
