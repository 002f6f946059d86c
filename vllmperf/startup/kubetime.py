"""Times and durations as Kubernetes writes them: RFC 3339 of whole seconds or microseconds, and Go durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime

NS = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|μs|ns|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def time_ns(text: str | None) -> int | None:
    """Nanoseconds since the epoch, or None for no time or one of another form."""
    found = _TIME.match(text or "")
    if found is None:
        return None
    zone = "+00:00" if found[3] == "Z" else found[3]
    whole = int(datetime.fromisoformat(found[1] + zone).astimezone(UTC).timestamp())
    return whole * NS + int((found[2] or "").ljust(9, "0"))


def duration_s(text: str) -> float | None:
    """Seconds of a Go duration such as 1m2.5s or 950ms."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
