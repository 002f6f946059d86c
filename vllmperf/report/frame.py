"""The requests of a run as a pandas DataFrame.

pandas is an extra; ask for this module only where it may be missing.
"""

from typing import Any

import numpy as np

from vllmperf import _engine
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed
from vllmperf.record.reader import Recording
from vllmperf.record.schema import ENUM_COLUMNS
from vllmperf.report.csv import METRIC_COLUMNS


def frame(recording: Recording) -> Any:
    """One row a request, indexed by its number. Raises ImportError without pandas.

    Fields of the record (missing: <NA>), names as categories, and the request's metrics in ms (missing: NaN).
    """
    import pandas as pd

    requests = recording.requests
    data = {name: _column(pd, requests[name], name) for name in requests.dtype.names or ()}
    if recording.asked is not None:
        data |= {name: _column(pd, recording.asked[name], name) for name in recording.asked.dtype.names or ()}
    done = Completed(recording)
    for name in METRIC_COLUMNS:
        data[f"{name}_ms"] = _metric(done, name)
    data["error"] = recording.errors
    return pd.DataFrame(data).set_index("index")


def _column(pd: Any, column: np.ndarray[tuple[int], np.dtype[Any]], name: str) -> Any:
    if table := ENUM_COLUMNS.get(name):
        known = np.where(column == _engine.NONE, -1, column)  # older files lack some columns
        return pd.Categorical.from_codes(known, list(getattr(_engine, table)))
    missing = column == _engine.NONE if column.dtype.itemsize == 8 else np.zeros(len(column), dtype=np.bool_)
    return pd.arrays.IntegerArray(column.copy(), missing) if missing.any() else column


def _metric(done: Completed, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.full(len(done.mask), np.nan)
    values[done.mask] = per_request(done, name) / NS_PER_MS
    return values
