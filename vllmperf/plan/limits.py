"""When anything is given up: what takes too long, and a run whose requests fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vllmperf.plan.checks import number, seconds, setting, whole
from vllmperf.plan.part import Part

WINDOW = 100
"""max_error_rate is of so many requests that ended last, FAILURES_WINDOW of csrc/engine/failures.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Part):
    """Times are in seconds.

    first_token_timeout: from sending to the first token. stall_timeout: without an event after it. total_timeout: for
    one request. grace_period: for what is in flight when sending stops.

    max_errors, max_error_rate: sending stops when so many requests have failed, or such a share of those that ended last.
    """

    connect_timeout: float = setting(10.0, seconds())
    first_token_timeout: float = setting(300.0, seconds())
    stall_timeout: float = setting(30.0, seconds())
    total_timeout: float = setting(3600.0, seconds())
    grace_period: float = setting(30.0, seconds(zero=True))
    max_errors: int | None = setting(None, whole())
    max_error_rate: float | None = setting(None, number(above=0.0, most=1.0))

    @property
    def max_recent_errors(self) -> int:
        """How many failed requests of the last WINDOW are too many; 0: any number is fine."""
        return 0 if self.max_error_rate is None else math.ceil(self.max_error_rate * WINDOW - 1e-9)
