"""Times of an arrival file: one a line, or a column of a file of rows."""

from __future__ import annotations

import math
from pathlib import Path

from vllmperf.datasets.rows import COLUMNAR, LINES, TEXTS, Row, rows
from vllmperf.errors import SettingError

OF = "{arrival_file}"
COLUMNS = ("arrival_s", "timestamp", "time", "arrival")


def read_trace(path: Path) -> list[float]:
    """The times in s: one a line, or one of COLUMNS of CSV with a header, JSON lines, Parquet or Arrow.

    Raises UsageError for a row without a time.
    """
    form = path.suffix if path.suffix.lower() in COLUMNAR else _form(path)
    return [_time_s(row) for row in rows(path, OF, form=form)]


def _form(path: Path) -> str:
    """What the first line is of."""
    first = next((row.value for row in rows(path, OF, form=TEXTS[0])), None)
    if first is None:
        raise SettingError("{arrival_file} {path} is empty", path=path)
    if first.lstrip().startswith("{"):
        return LINES[0]
    if _number(first) is not None:
        return TEXTS[0]
    if not set(COLUMNS).intersection(name.strip(' "\n') for name in first.split(",")):
        columns = f"{', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        raise SettingError(
            "{arrival_file} {path} line 1: neither a time in seconds nor a column {columns}",
            path=path,
            columns=columns,
        )
    return ".csv"


def _time_s(row: Row) -> float:
    fields = (
        {str(name).strip(): value for name, value in row.value.items()} if isinstance(row.value, dict) else {}
    )
    given = row.value if not fields else next((fields[name] for name in COLUMNS if name in fields), None)
    found = _number(given)
    if found is None or not math.isfinite(found):
        raise row.bad(f"{str(given).strip()[:60]!r} is no time in seconds")
    return found


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None
