"""Starts as one JSON object for machines. The schema's version stands first; keys never change their meaning, new ones
may come; what is not known is null. docs/startup.md describes each key.

Schema 1: as here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from vllmperf.report.startup.spans import elapsed_s, groups, offset_s, total_s
from vllmperf.report.startup.statistics import compare, distribution
from vllmperf.starts.result import NS_PER_S, Clock, Phase, SleepCycle, Start, StartupLog
from vllmperf.version import __version__

SCHEMA = 1


def to_json(starts: Sequence[Start]) -> dict[str, Any]:
    """All starts with their phases, each set's distribution, and the changes from the first set to each other one."""
    sets = groups(starts)
    return {
        "schema": SCHEMA,
        "tool": {"name": "vllmperf", "version": __version__},
        "starts": [start_object(start) for start in starts],
        "distribution": [
            {"group": name, "phases": [asdict(row) for row in distribution(members)]}
            for name, members in sets.items()
        ],
        "changes": _changes(sets),
    }


def _changes(sets: Mapping[str | None, Sequence[Start]]) -> list[dict[str, Any]]:
    named = [(name, members) for name, members in sets.items() if name is not None]
    return [
        {"from": named[0][0], "to": name, "phases": [asdict(row) for row in compare(named[0][1], members)]}
        for name, members in named[1:]
    ]


def start_object(start: Start) -> dict[str, Any]:
    """One start; offsets are seconds from its origin."""
    return {
        "name": start.name,
        "group": start.group,
        "origin": start.origin,
        "end": start.end,
        "origin_utc": utc(start.origin_ns),
        "end_utc": utc(start.end_ns),
        "reached": start.reached,
        "total_s": total_s(start),
        "seen_s": elapsed_s(start),
        "restarts": start.restarts,
        "failure": None if start.failure is None else asdict(start.failure),
        "phases": [_phase(start, phase) for phase in start.phases],
        "facts": dict(start.facts),
        "log": None if start.log is None else _log(start.log),
        "log_path": start.log_path,
        "evidence": list(start.evidence),
        "notes": list(start.notes),
        "earlier": [start_object(earlier) for earlier in start.earlier],
    }


def utc(instant_ns: int | None) -> str | None:
    """ISO 8601 to the microsecond, 2026-02-13T15:00:40.000000Z"""
    if instant_ns is None:
        return None
    second, rest = divmod(instant_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _phase(start: Start, phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "start_s": offset_s(start, phase.start_ns),
        "end_s": offset_s(start, phase.end_ns),
        **phase.facts(),
    }


COPIED = (
    *("vllm_version", "engine", "platform", "mode", "model", "ranks", "tp", "pp", "dp", "enforce_eager"),
    *("first_log_ts", "ready_ts", "reached_ready", "cut_at_start"),
)


def _log(log: StartupLog) -> dict[str, Any]:
    return {
        **{name: getattr(log, name) for name in COPIED},
        "first_log_utc": utc(log.first_log_ns) if _is_placed(log.clock) else None,
        "ready_utc": utc(log.ready_ns) if _is_placed(log.clock) else None,
        "clock": None if log.clock is None else asdict(log.clock),
        "reported": dict(log.reported),
        "per_rank": {name: dict(values) for name, values in log.per_rank.items()},
        "drafter": dict(log.drafter),
        "sleep": [_cycle(cycle) for cycle in log.sleep],
        "notes": list(log.notes),
    }


def _is_placed(clock: Clock | None) -> bool:
    """Whether an instant means anything outside of its log."""
    return clock is not None and clock.utc


def _cycle(cycle: SleepCycle) -> dict[str, Any]:
    found = asdict(cycle)
    found["at_utc"] = utc(found.pop("at_ns"))
    return found
