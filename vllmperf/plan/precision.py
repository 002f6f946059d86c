"""How well a run must know one of its numbers before it stops: ttft_p99±5%."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from vllmperf.errors import SettingError
from vllmperf.plan.checks import refused, text

WRITTEN = re.compile(r"\s*(\w[\w.-]*?)\s*(?:±|\+/?-)\s*(\d+(?:\.\d+)?)\s*%\s*")
MOST_PERCENT = 50.0


class Precision(NamedTuple):
    """metric: its name, as metrics.quantity knows it. percent: half of its 95 % interval must be at most so much of it."""

    metric: str
    percent: float

    def __str__(self) -> str:
        return f"{self.metric}±{self.percent:g}%"


def parsed(written: str) -> Precision | None:
    """ttft_p99±5%, ttft_p99 +-5 %, ttft_p99+/-5%; None for what is none."""
    match = WRITTEN.fullmatch(written)
    return Precision(match[1].lower(), float(match[2])) if match else None


def precision(name: str, value: Any) -> str:
    """A precision, kept as ttft_p99±5%."""
    found = parsed(text(name, value))
    if found is None:
        raise refused(name, "METRIC±PERCENT% such as ttft_p99±5%", value)
    if not 0 < found.percent <= MOST_PERCENT:
        raise SettingError(
            "{" + name + "} takes ± above 0 % and up to 50 % (got {got:g} %)", got=found.percent
        )
    return str(found)
