"""A start-up log as a given release of vLLM writes it, from a script: its lines, its bytes, and what is true of it.

>>> script = StartupScript(version="0.19", weights_load=3.2, tp=2)
>>> data = write(script, started_ns=1_776_000_000_000_000_000, envelope="kubectl")
>>> truth(script).reported["weights_load_s"]
3.2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from vllmperf.sim.startup_envelope import ENVELOPES, Sent
from vllmperf.sim.startup_failure import explain
from vllmperf.sim.startup_plan import Course, EndedError, Plan, Span
from vllmperf.sim.startup_script import DURATIONS, VERSIONS, Cycle, StartupScript, parse_startup
from vllmperf.sim.startup_serving import serve
from vllmperf.sim.startup_stages import STAGES
from vllmperf.sim.startup_style import Line, Style

__all__ = [
    "DURATIONS",
    "ENVELOPES",
    "VERSIONS",
    "Cycle",
    "Line",
    "StartupScript",
    "Truth",
    "lines",
    "parse_startup",
    "plan",
    "style",
    "truth",
    "write",
]

DECIMALS = {
    "weights_download_s": 6,
    "weights_load_s": 2,
    "weights_gib": 4,
    "model_loading_s": 6,
    "dynamo_transform_s": 2,
    "compile_s": 2,
    "compile_cache_load_s": 3,
    "torch_compile_total_s": 2,
    "warmup_run_s": 2,
    "v0_memory_profiling_s": 2,
    "graph_capture_s": 0,
    "graph_capture_gib": 2,
    "kv_cache_gib": 2,
    "num_gpu_blocks": 0,
    "num_cpu_blocks": 0,
    "kv_cache_tokens": 0,
    "init_engine_s": 2,
    "init_engine_compilation_s": 2,
}
"""Digits behind the point that vLLM prints for each number of `vllmperf.starts.result.REPORTED`."""


@dataclass(frozen=True)
class Truth:
    """What a reader can know of a written log at best. Instants are ns after the start of the process."""

    version: str
    engine: str  # "V0", "V1"
    platform: str
    ranks: int
    first_ns: int | None  # of the first line with a stamp of vLLM
    ready_ns: int | None
    failed: str | None  # the phase
    cause: str | None  # line of the failure
    phases: Mapping[str, Span]  # all that were gone through, also those of which the log does not tell
    reported: Mapping[str, float | bool | None]  # as printed: the largest over the ranks
    per_rank: Mapping[str, Mapping[str, float]]


@cache
def plan(script: StartupScript) -> Plan:
    """The whole course of a start and what follows it, lines in order of time."""
    course = Course(script)
    try:
        for stage in STAGES:
            stage(course)
        serve(course)
    except EndedError as end:
        if end.explained:
            course.plan.failed = end.phase
            course.plan.cause = explain(course, end.phase)
    course.plan.lines.sort(key=lambda line: line.at_ns)
    course.plan.end_ns = course.now
    return course.plan


def lines(script: StartupScript) -> Iterator[Line]:
    """All messages in order of time."""
    return iter(plan(script).lines)


def style(script: StartupScript) -> Style:
    return Style(script.release, script.json, script.colour)


def write(script: StartupScript, started_ns: int, tz: str = "UTC", envelope: str = "none") -> bytes:
    """The log of a start at `started_ns` (epoch), with vLLM's stamps in zone `tz`, in one of ENVELOPES."""
    zone: tzinfo = UTC if tz == "UTC" else ZoneInfo(tz)
    wrap, form = ENVELOPES[envelope].wrap, style(script)
    out = []
    for line in plan(script).lines:
        wall_ns = started_ns + line.at_ns
        for data in form.render(line, wall_ns, zone):
            out.append(wrap(Sent(wall_ns, line.stream, data[:-1])) + b"\n")
    return b"".join(out)


def truth(script: StartupScript) -> Truth:
    """What is true of the log that `write` makes of a script."""
    course = plan(script)
    printed = {key: _printed(script, key, values) for key, values in course.said.items()}
    reported: dict[str, float | bool | None] = {key: max(values.values()) for key, values in printed.items()}
    if "compile" in course.spans and course.failed != "compile" and script.stop != "compile":
        reported["compile_from_cache"] = script.cache == "warm"
    return Truth(
        version=script.release,
        engine="V0" if script.runner == "V0" else "V1",
        platform=script.platform,
        ranks=script.ranks,
        first_ns=next((line.at_ns for line in course.lines if line.source), None),
        ready_ns=course.ready_ns,
        failed=course.failed,
        cause=course.cause,
        phases=course.spans,
        reported=reported,
        per_rank=printed,
    )


def _printed(script: StartupScript, key: str, values: Mapping[str, float]) -> dict[str, float]:
    digits = DECIMALS[key]
    if key == "weights_gib" and script.number >= (0, 15):
        digits = 2
    return {rank: float(f"{value:.{digits}f}") for rank, value in values.items()}
