"""Starts as a pandas DataFrame. pandas is an extra: ask for this module only where it may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.report.startup.csv import COLUMNS, rows
from vllmperf.starts.phases import PHASES
from vllmperf.starts.result import Start


def phases(starts: Sequence[Start]) -> Any:
    """One row a start and phase, columns as in csv.COLUMNS (docs/startup.md), missing numbers NaN.

    `phase` is an ordered category, so that grouping keeps the order of a start. Raises UsageError without pandas.
    """
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("a DataFrame needs pandas: pip install 'vllmperf[plots]'") from None

    found = pd.DataFrame(list(rows(starts)), columns=list(COLUMNS))
    for name in COLUMNS:
        if name.endswith("_s") or name == "share":
            found[name] = found[name].astype("float64")
    known = [kind.name for kind in PHASES]
    more = sorted(set(found["phase"]) - set(known))
    found["phase"] = pd.Categorical(found["phase"], categories=[*known, *more], ordered=True)
    return found
