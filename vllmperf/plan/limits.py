"""How long anything may take before it is given up."""

from __future__ import annotations

from dataclasses import dataclass

from vllmperf.plan.checks import seconds, setting
from vllmperf.plan.part import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Part):
    """All in seconds.

    first_token_timeout: from sending to the first token. stall_timeout: without an event after it. total_timeout: for
    one request. grace_period: for what is in flight when sending stops.
    """

    connect_timeout: float = setting(10.0, seconds())
    first_token_timeout: float = setting(300.0, seconds())
    stall_timeout: float = setting(30.0, seconds())
    total_timeout: float = setting(3600.0, seconds())
    grace_period: float = setting(30.0, seconds(zero=True))
