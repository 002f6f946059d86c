"""Times of the API: RFC 3339 stamps and Go's durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime

NS_PER_S = 1_000_000_000

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)$")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_stamp(text: str | None) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 stamp with any number of digits and any zone; None when it is not one.

    Stamps of objects, conditions and most events are whole seconds, those of logs and `eventTime` are finer.
    """
    found = _STAMP.match(text or "")
    if found is None:
        return None
    try:
        whole = datetime.fromisoformat(found[1].upper().replace(" ", "T") + found[3].upper())
    except ValueError:
        return None
    return int(whole.timestamp()) * NS_PER_S + int((found[2] or "").ljust(9, "0"))


def format_stamp(ns: int) -> str:
    """RFC 3339 in UTC, whole seconds (cut, not rounded), as the API takes them."""
    return datetime.fromtimestamp(ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(text: str) -> float | None:
    """Seconds of a duration as Go prints them (1m2.5s, 950ms, 1h0m3s, 0s, -2s); None when it is not one."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)
