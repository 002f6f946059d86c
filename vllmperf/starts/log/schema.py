"""A parsed log as JSON. docs/startup_log.md describes it; SCHEMA grows when a name is changed or taken away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vllmperf.starts.result import (
    NS_PER_S,
    REPORTED,
    Clock,
    Later,
    ParsedFile,
    Phase,
    SleepCycle,
    StartupLog,
)

SCHEMA = 1


def to_json(parsed: ParsedFile) -> dict[str, Any]:
    """The file's main attempt, and all attempts in `attempt_list`. What the log does not say is None."""
    return {
        "schema": SCHEMA,
        "file": parsed.file,
        **attempt_json(parsed.main),
        "attempts": len(parsed.attempts),
        "attempt_list": [attempt_json(log) for log in parsed.attempts] if len(parsed.attempts) > 1 else [],
        "lines": parsed.lines,
        "notes": [*parsed.notes, *parsed.main.notes],
    }


def attempt_json(log: StartupLog) -> dict[str, Any]:
    dated = log.clock is not None and log.clock.year_from != "assumed"
    failure = log.failure
    return {
        "vllm_version": log.vllm_version,
        "engine": log.engine,
        "platform": log.platform,
        "mode": log.mode,
        "model": log.model,
        "ranks": log.ranks,
        "tp": log.tp,
        "pp": log.pp,
        "dp": log.dp,
        "enforce_eager": log.enforce_eager,
        "first_log_ts": log.first_log_ts,
        "ready_ts": log.ready_ts,
        "first_log_utc": utc(log.first_log_ns, log.clock) if dated else None,
        "ready_utc": utc(log.ready_ns, log.clock) if dated else None,
        "reached_ready": log.reached_ready,
        "failure": {"phase": failure.phase, "line": failure.line, "text": failure.text} if failure else None,
        "phases": [_phase(phase, log.clock) for phase in log.phases],
        "reported": {name: log.reported.get(name) for name in REPORTED},
        "per_rank": {name: dict(values) for name, values in log.per_rank.items()},
        "drafter": dict(log.drafter),
        "sleep": [_sleep(cycle, log.clock) for cycle in log.sleep],
        "later": [_later(step, log.clock) for step in log.later],
        "clock": _clock(log.clock),
        "cut_at_start": log.cut_at_start,
        "first_line": log.first_line,
        "last_line": log.last_line,
        "notes": list(log.notes),
    }


def utc(ns: int | None, clock: Clock | None) -> str | None:
    """ISO 8601 with as many digits as the stamps are good for."""
    if ns is None:
        return None
    text = datetime.fromtimestamp(ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if clock is None or clock.resolution_s >= 1:
        return f"{text}Z"
    return f"{text}.{ns % NS_PER_S // 1_000_000:03}Z"


def _phase(phase: Phase, clock: Clock | None) -> dict[str, Any]:
    return {
        "name": phase.name,
        "start_utc": utc(phase.start_ns, clock),
        "end_utc": utc(phase.end_ns, clock),
        **phase.facts(),
    }


def _sleep(cycle: SleepCycle, clock: Clock | None) -> dict[str, Any]:
    return {
        "kind": cycle.kind,
        "duration_s": cycle.duration_s,
        "at_utc": utc(cycle.at_ns, clock),
        "freed_gib": cycle.freed_gib,
        "in_use_gib": cycle.in_use_gib,
        "tags": list(cycle.tags),
        "line": cycle.line,
    }


def _later(step: Later, clock: Clock | None) -> dict[str, Any]:
    return {
        "event": step.event,
        "at_utc": utc(step.at_ns, clock),
        "seconds": step.seconds,
        "rank": step.rank,
        "line": step.line,
    }


def _clock(clock: Clock | None) -> Mapping[str, Any] | None:
    if clock is None:
        return None
    return {
        "source": clock.source,
        "resolution_s": clock.resolution_s,
        "utc": clock.utc,
        "year": clock.year,
        "year_from": clock.year_from,
        "zone": clock.zone,
    }
