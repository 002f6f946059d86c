"""The targets of a run that loads several, as a table. Of the summary alone."""

from collections.abc import Mapping
from typing import Any

from vllmperf.numbers import NOTHING, clean, number, rough
from vllmperf.report.table import Row, Table

HEADS = ("requests", "errors", "requests/s", "tokens/s", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99")


def table(summary: Mapping[str, Any]) -> Table:
    """A row each; no rows for a run of one target."""
    rows = [_row(one) for one in summary.get("targets") or ()]
    return Table("Targets, ms", HEADS, tuple(rows))


def _row(one: Mapping[str, Any]) -> Row:
    times = [(one["metrics"].get(key) or {}).get(p) for key in ("ttft_ms", "itl_ms") for p in ("p50", "p99")]
    cells = (
        number(one["requests"]),
        number(one["errors"]),
        *(_rate(one[name]) for name in ("requests_per_s", "output_tokens_per_s")),
        *(NOTHING if time is None else rough(time) for time in times),
    )
    weight = f" ={one['weight']}" if one["weight"] > 1 else ""
    return Row(clean(one["base_url"]).removeprefix("http://") + weight, cells)


def _rate(value: float | None) -> str:
    return NOTHING if value is None else number(value)
