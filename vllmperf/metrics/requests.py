"""The requests of a run as one table: what was recorded of each, what was asked for, and its metrics."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import BY_NAME, OBJECTIVES
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Floats, as_floats
from vllmperf.record.fields import ASKED
from vllmperf.record.reader import Recording
from vllmperf.record.schema import ENUM_COLUMNS

METRIC_COLUMNS = tuple(BY_NAME[name].key for name in OBJECTIVES)


def requests(done: Completed) -> NDArray[np.void]:
    """A structured array, one row a request, sorted by number: the fields of docs/run_file.md, then the metrics in ms.

    done: what counts of the run; left_out is 1 for requests of its warm-up. Names are text. What may be missing is float64
    with NaN; float64 holds ns exactly for 104 days. Metrics are of completed requests, NaN for the others.
    """
    recording, whole = done.recording, done.whole
    columns = {name: _field(recording.requests[name], name) for name in recording.requests.dtype.names or ()}
    columns |= {field.name: _asked(recording, field.name) for field in ASKED}
    sent = recording.requests["sent_ns"]
    columns["left_out"] = ((sent < done.start_ns) & (sent != _engine.NONE)).astype(np.uint8)
    columns |= {BY_NAME[name].key: _metric(whole, name) for name in OBJECTIVES}
    table = np.empty(
        len(recording.requests), dtype=[(name, column.dtype) for name, column in columns.items()]
    )
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


def _asked(recording: Recording, name: str) -> Floats:
    if recording.asked is None:
        return np.full(len(recording.requests), np.nan)
    return as_floats(recording.asked[name])


def _metric(done: Completed, name: str) -> Floats:
    of_request = BY_NAME[name].of_request
    assert of_request is not None
    values = np.full(len(done.mask), np.nan)
    values[done.mask] = of_request(done) / NS_PER_MS
    return values
