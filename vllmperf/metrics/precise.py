"""Whether a run knows the number that --until names as well as it was asked to, and what the summary says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.errors import SettingError, UsageError
from vllmperf.metrics.ci95 import Bounds, bounds
from vllmperf.metrics.estimates import GOOD, GOOD_SHARE, WITH_INTERVAL, estimates
from vllmperf.metrics.goodput import objectives
from vllmperf.metrics.intervals import Interval, needed
from vllmperf.metrics.quantity import Quantity, quantity
from vllmperf.metrics.stopping import WIDER, is_precise, widened
from vllmperf.metrics.view import Completed
from vllmperf.plan.precision import Precision, parsed


def wanted(plan: Mapping[str, Any]) -> Precision | None:
    """What a run's settings ask for, by name."""
    return parsed(str(plan["until"])) if plan.get("until") else None


def checked(plan: Mapping[str, Any]) -> Quantity | None:
    """The number of the precision that the settings ask for. Raises SettingError for one that has no interval."""
    precision = wanted(plan)
    if precision is None:
        return None
    try:
        found = quantity(precision.metric)
    except UsageError as error:
        raise SettingError("{until} {given}: {error}", given=str(precision), error=error) from None
    if found.figure is not None and found.figure.name in (GOOD, GOOD_SHARE) and not objectives(plan):
        raise SettingError("{until} {given} needs {goodput}, its limits", given=str(precision))
    if found.metric is not None and found.metric.of_request is None and plan.get("keep_gaps") == "none":
        raise SettingError(
            "{until} {given} needs gaps of single requests: leave {keep_gaps} none out", given=str(precision)
        )
    if not _has_interval(found):
        raise SettingError(
            "{until} {given}: {label} has no interval; take a mean, a percentile or a rate, such as ttft_p99",
            given=str(precision),
            label=found.label,
        )
    return found


def _has_interval(found: Quantity) -> bool:
    if found.figure is not None:
        return found.figure.name in WITH_INTERVAL
    return found.statistic == "mean" or (
        found.percentile is not None and needed(found.percentile) is not None
    )


def is_known(done: Completed, found: Quantity, precision: Precision) -> bool:
    """At a look: whether what is recorded so far tells it well enough."""
    estimate = estimates(done, [found]).get(found.name)
    return estimate is not None and is_precise(estimate.value, estimate.interval, precision.percent / 100)


def percentiles(plan: Mapping[str, Any]) -> list[float]:
    """What the summary must have for the precision."""
    found = checked(plan)
    return [found.percentile] if found is not None and found.percentile is not None else []


def take(
    summary: dict[str, Any], plan: Mapping[str, Any], checks: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What became of the precision, for the summary, whose interval of that number becomes the wider one. checks: what the run
    wrote of them; None when the plan asks for none."""
    precision, found = wanted(plan), checked(plan)
    if precision is None or found is None:
        return None
    value = found.of(summary)
    part, key = _place(summary, found)
    known = _widen(part, key, value)
    percent = 50 * (known[1] - known[0]) / abs(value) if known is not None and value else None
    return {
        "asked": str(precision),
        "metric": found.name,
        "label": found.label,
        "percent_asked": precision.percent,
        "percent": percent,
        "value": value,
        "ci95": known,
        "needs": (part.get("ci95_needs") or {}).get(key),
        "widened_by": WIDER,
        "checked_at": list(checks.get("checked_at") or ()),
        "stopped": bool(checks.get("stopped")),
        "reached": bool(checks.get("stopped")) or (percent is not None and percent <= precision.percent),
    }


def _place(summary: Mapping[str, Any], found: Quantity) -> tuple[dict[str, Any], str]:
    """The part of the summary that has the number, and its key there."""
    if found.metric is not None:
        return summary["metrics"].get(found.metric.key) or {}, found.statistic
    assert found.figure is not None
    return summary[found.figure.path[0]] or {}, found.figure.path[-1]


def _widen(part: dict[str, Any], key: str, value: float | None) -> Bounds:
    """Replace the number's interval in its part of the summary."""
    own = (part.get("ci95") or {}).get(key)
    if own is None or value is None:
        return None
    known = bounds(widened(value, Interval(own[0], own[1], 0.0)))
    part["ci95"] = {**part["ci95"], key: known}
    return known
