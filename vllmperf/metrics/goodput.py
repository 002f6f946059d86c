"""Goodput: completed requests that met every objective, per second. The one place that decides whether a request did."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import numpy as np

import vllmperf._engine as _engine
from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import OBJECTIVES, per_request
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Flags, Floats, Rows


class Goodput(TypedDict):
    objectives_ms: dict[str, float]
    met: int
    share: float | None
    requests_per_s: float | None
    ci95: NotRequired[dict[str, list[float] | None]]


def objectives(plan: Mapping[str, object]) -> dict[str, float]:
    """The plan's objectives in ms by metric, from a mapping or from words like "ttft:200"."""
    asked = plan.get("goodput") or {}
    assert isinstance(asked, Mapping | list | tuple)
    pairs = asked.items() if isinstance(asked, Mapping) else [str(word).split(":", 1) for word in asked]
    found = {str(name): float(limit) for name, limit in pairs}
    for name in found:
        if name not in OBJECTIVES:
            raise UsageError(f"goodput knows no objective {name!r}: use one of {', '.join(OBJECTIVES)}")
    return found


def values_ms(rows: Rows, name: str) -> Floats:
    """What an objective is held against: the metric in ms, NaN where it is unknown.

    A stream of one token a choice, or one that came in one read, has no later token that could be late: its TPOT is 0 (as
    vLLM counts it).
    """
    values = per_request(rows, name) / NS_PER_MS
    if name == "tpot":
        has_no_gap = (rows.tokens_per_choice <= 1) | (rows.between("first_token_ns", "last_token_ns") <= 0)
        is_stream = rows.requests["first_token_ns"] != _engine.NONE
        values[np.isnan(values) & has_no_gap & is_stream] = 0.0
    return values


def is_good(rows: Rows, limits_ms: Mapping[str, float]) -> Flags:
    """Which of these completed requests met every objective; a value equal to its limit is met, an unknown one is not."""
    good = np.ones(len(rows.requests), dtype=np.bool_)
    for name, limit_ms in limits_ms.items():
        good &= values_ms(rows, name) <= limit_ms
    return good


def used(rows: Rows, limits_ms: Mapping[str, float]) -> Floats:
    """How much of its limits each of these requests used: 1 is exactly the limit that is nearest, infinite is unknown."""
    share = np.zeros(len(rows.requests))
    for name, limit_ms in limits_ms.items():
        values = values_ms(rows, name)
        share = np.maximum(share, np.where(np.isnan(values), np.inf, values) / limit_ms)
    return share


def goodput(done: Completed) -> Goodput | None:
    """The summary's "goodput"; None when the plan has no objectives."""
    limits_ms = objectives(done.recording.plan)
    if not limits_ms:
        return None
    met, sent = int(is_good(done, limits_ms).sum()), done.sent
    return {
        "objectives_ms": limits_ms,
        "met": met,
        "share": met / sent if sent else None,
        "requests_per_s": done.work_per_s(is_good(done.whole, limits_ms).astype(np.float64)),
    }
