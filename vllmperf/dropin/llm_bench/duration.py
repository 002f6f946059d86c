"""Durations as locust writes them: 20, 20s, 3m, 2h, 1h30m."""

from __future__ import annotations

import re

FORM = re.compile(r"(?:(\d+)h(?:ours?)?)?(?:(\d+)m(?:in(?:utes?)?)?)?(?:(\d+)s(?:ec(?:onds?)?)?)?")


def duration_s(text: str) -> float:
    """Seconds of a duration. ValueError for what is none."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    found = FORM.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text!r} is no duration: write 20, 20s, 3m, 2h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(3600 * hours + 60 * minutes + seconds)
