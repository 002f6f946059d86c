"""How 95 % intervals look: ±0.08 behind a figure, and what stands there when a run cannot carry one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vllmperf.numbers import decimals, fixed

SHOWN_FROM = 1.0
"""Values that must lie beyond a percentile: with fewer it is the largest value under another name."""
ONE_SIDED = 3.0
"""Where one side is longer by this factor, both are shown."""


def margin(value: float, bounds: Sequence[float] | None, places: int) -> str:
    """±0.08, or −0.1 +0.9 where the sides differ much; never less than the last digit of the figure."""
    if bounds is None:
        return ""
    low, high = value - bounds[0], bounds[1] - value
    if max(low, high) > ONE_SIDED * min(low, high) and fixed(low, places) != fixed(high, places):
        return f"−{_least(low, places)} +{_least(high, places)}"
    return f"±{_least((low + high) / 2, places)}"


def lone(value: float, bounds: Sequence[float] | None) -> str:
    """The same of a number that stands alone, with the digits that it is shown with."""
    return margin(value, bounds, decimals([value]))


def _least(size: float, places: int) -> str:
    return fixed(max(size, 10.0**-places), places)


def is_beyond(row: Mapping[str, Any], key: str) -> bool:
    """Whether not even one value lies beyond a percentile: it is not shown."""
    if key == "mean" or key not in row or (row.get("ci95") or {}).get(key) is not None:
        return False
    percentile = float(key.removeprefix("p"))
    rarer = min(percentile, 100 - percentile) / 100
    return bool(0 < row["n"] * rarer < SHOWN_FROM)


def intervals_words(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Iterator[str]:
    """What ± is, and how many requests would do for what has none."""
    known = [row for row in rows if row.get("ci95")]
    if any(bounds for row in known for bounds in row["ci95"].values()):
        yield "±: 95 % interval; it allows for requests that resemble the ones before them"
    needs = {key: max((row["ci95_needs"].get(key, 0) for row in known), default=0) for key in keys}
    missing = [f"{count:,} for {key}" for key, count in needs.items() if count]
    if missing:
        is_hidden = any(is_beyond(row, key) for row in known for key in keys)
        yield f"{'–' if is_hidden else 'without ±'}: too few requests; an interval needs about {', '.join(missing)}"
