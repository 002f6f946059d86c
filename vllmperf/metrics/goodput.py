"""Goodput: completed requests that met every objective, per second."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Flags

OBJECTIVES = ("ttft", "tpot", "e2el", "ttft_scheduled", "e2el_scheduled")


def objectives(plan: Mapping[str, Any]) -> dict[str, float]:
    """The plan's objectives in ms by metric, from a mapping or from words like "ttft:200"."""
    asked = plan.get("goodput") or {}
    pairs = asked.items() if isinstance(asked, Mapping) else [str(word).split(":", 1) for word in asked]
    found = {str(name): float(limit) for name, limit in pairs}
    for name in found:
        if name not in OBJECTIVES:
            raise UsageError(f"goodput knows no objective {name!r}: use one of {', '.join(OBJECTIVES)}")
    return found


def is_good(done: Completed, limits_ms: Mapping[str, float]) -> Flags:
    """Which completed requests met every objective; a value equal to its limit is met."""
    good = np.ones(len(done.requests), dtype=np.bool_)
    for name, limit_ms in limits_ms.items():
        values = per_request(done, name)
        if name == "tpot":  # an answer of one token has no second one that could be late (as vLLM counts it)
            values = np.where(np.isnan(values), 0.0, values)
        good &= values <= limit_ms * NS_PER_MS
    return good


def goodput(done: Completed, sent: int, window_s: float | None) -> dict[str, Any] | None:
    """The summary's "goodput"; None when the plan has no objectives."""
    limits_ms = objectives(done.recording.plan)
    if not limits_ms:
        return None
    met = int(is_good(done, limits_ms).sum())
    return {
        "objectives_ms": limits_ms,
        "met": met,
        "share": met / sent if sent else None,
        "requests_per_s": met / window_s if window_s else None,
    }
