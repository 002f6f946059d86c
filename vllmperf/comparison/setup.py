"""What two runs did not have in common: settings of the plan, and the machine and libraries of the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vllmperf.metrics.summary import Summary
from vllmperf.plan import Load, Workload
from vllmperf.plan.part import names

OF_DISPLAY = {
    *("label", "metadata", "percentile_metrics", "metric_percentiles", "keep_text", "record_chunks"),
    *("report_interval", "keep_gaps", "on_server_loss", "power", "gpu_tdp"),
}
OF_EACH_RUN = {"request_id_prefix", "prompt_salt", "url", "authorized", "sampling"}
"""Drawn for each run, or told by other settings."""
ENVIRONMENT = (
    *("cpu", "cores", "usable_cores", "memory_gib", "kernel", "machine"),
    *("python", "numpy", "libcurl", "vllmperf"),
)
"""What of the environment may change figures and is no reading of the moment, as its load averages are."""
TRAFFIC = (*names(Workload), *names(Load), "num_prompts", "duration")
"""Settings that decide which requests are sent, and when."""
MOST = 60


@dataclass(frozen=True, slots=True)
class Change:
    """A setting of both sides; None where a side does not have it."""

    name: str
    first: object
    second: object

    def __str__(self) -> str:
        """request_rate 10 → 20"""
        return f"{self.name} {_brief(self.first)} → {_brief(self.second)}"


@dataclass(frozen=True, slots=True)
class Setup:
    """What differs. is_paired: both runs sent the same requests by the same schedule."""

    plan: tuple[Change, ...] = ()
    environment: tuple[Change, ...] = ()
    is_paired: bool = False

    def to_dict(self) -> dict[str, dict[str, list[object]]]:
        """{"plan": {"request_rate": [10, 20]}, "environment": {…}}"""
        return {
            each.name: {change.name: [change.first, change.second] for change in getattr(self, each.name)}
            for each in fields(self)
            if each.name != "is_paired"
        }


def setup(first: Summary, second: Summary) -> Setup:
    a, b = first["plan"], second["plan"]
    return Setup(_plan(a, b), _environment(first["environment"], second["environment"]), sends_the_same(a, b))


def sends_the_same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether request i of one run is request i of the other."""
    wanted = [name for name in TRAFFIC if name not in OF_EACH_RUN]
    is_whole = all("seed" in plan and "dataset_name" in plan for plan in (first, second))
    return is_whole and all(first.get(name) == second.get(name) for name in wanted)


def _plan(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Change, ...]:
    is_whole = all("seed" in plan for plan in (first, second))
    a, b = _flat(first), _flat(second)
    shared = a.keys() | b.keys() if is_whole else a.keys() & b.keys()
    if first.get("simulator") is not None and second.get("simulator") is not None:
        shared -= {"base_url"}  # of a port that was free
    order = [*first, *sorted(shared)]
    return tuple(
        Change(name, a.get(name), b.get(name))
        for name in sorted(
            shared, key=lambda name: order.index(name if name in order else name.split(".")[0])
        )
        if not _is_same(a.get(name), b.get(name))
    )


def _flat(plan: Mapping[str, Any]) -> dict[str, Any]:
    """simulator.itl_ms, dataset_options.x: settings within a setting by names of their own."""
    found: dict[str, Any] = {}
    for name, value in plan.items():
        if name in OF_DISPLAY or name in OF_EACH_RUN:
            continue
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            found[name] = value
    return found


def _is_same(first: object, second: object) -> bool:
    """Files of other tools write numbers as text and the other way round."""
    return first == second or (first is not None and second is not None and _number(first) == _number(second))


def _number(value: object) -> object:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value


def _environment(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Change, ...]:
    known = [name for name in ENVIRONMENT if name in first and name in second]
    return tuple(Change(name, first[name], second[name]) for name in known if first[name] != second[name])


def _brief(value: object) -> str:
    text = "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"
