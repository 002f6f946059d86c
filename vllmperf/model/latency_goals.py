"""Goals for a latency as people spell them: 500 or p99:500 (99 % of requests), p95:500, mean:500; in ms."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from vllmperf.errors import SettingError
from vllmperf.model.slo import Limits

USUAL = 99.0
"""The percentile of a goal without a word."""
SPELLED = re.compile(r"(?:(mean)|p(\d+(?:\.\d+)?)):(.*)")
LEAST_SHARE = 0.5


class LatencyGoal(NamedTuple):
    """percentile: 0 to 100; None: the mean."""

    limit_ms: float
    percentile: float | None


def latency_goal(name: str, spelled: float | str | None) -> LatencyGoal | None:
    """What 500, "p95:500" or "mean:500" means; None for None. Raises SettingError, which names the setting."""
    if spelled is None:
        return None
    match = SPELLED.fullmatch(str(spelled).strip())
    percentile = USUAL if match is None else None if match[1] else float(match[2])
    try:
        limit = float(spelled if match is None else match[3])
    except ValueError:
        raise SettingError(
            "{" + name + "} must be ms like 500, p95:500 or mean:500 (got {got})", got=repr(spelled)
        ) from None
    if not 0 < limit < math.inf:
        raise SettingError("{" + name + "} must be above 0 (got {got})", got=f"{limit:g}")
    if percentile is not None and not 0 < percentile < 100:
        raise SettingError(
            "{" + name + "} must name a percentile between 0 and 100 (got {got})", got=repr(spelled)
        )
    return LatencyGoal(limit, percentile)


def limits(ttft: float | str | None, tpot: float | str | None, share: float | None = None) -> Limits:
    """Goals as limits of each request and the share of requests that must keep them all.

    share: overrides that of the percentiles (0.99 for p99). Raises SettingError: for means, which no single request keeps,
    and for two percentiles, as one share is that of both limits.
    """
    goals = {"ttft": latency_goal("ttft", ttft), "tpot": latency_goal("tpot", tpot)}
    given = {name: goal for name, goal in goals.items() if goal is not None}
    if not given:
        raise SettingError("a capacity needs an SLO: give {ttft}, {tpot}, or both")
    for name, goal in given.items():
        if goal.percentile is None:
            raise SettingError("{" + name + "} must be a percentile like p99:500: a capacity counts requests")
    shares = {goal.percentile / 100 for goal in given.values() if goal.percentile is not None}
    if share is None and len(shares) > 1:
        raise SettingError("{ttft} and {tpot} must name one percentile: a request counts when it keeps both")
    found = shares.pop() if share is None else share
    if not LEAST_SHARE <= found < 1:
        raise SettingError(
            "{goodput_share} must be at least {least} and below 1 (got {got})",
            least=LEAST_SHARE,
            got=f"{found:g}",
        )
    ttft_ms, tpot_ms = (None if goal is None else goal.limit_ms for goal in goals.values())
    return Limits(ttft_ms, tpot_ms, found)
