"""A start in seconds from its origin, and in families of phases: what every report of starts counts with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vllmperf.numbers import clean
from vllmperf.starts.phases import LABELS, ORDER, PHASES
from vllmperf.starts.result import NS_PER_S, Phase, Start

REST = "unattributed"


class Family(NamedTuple):
    """Phases that are drawn in one colour: `style` of a terminal, `colour` of a page, readable on white and black."""

    label: str
    style: str
    colour: str
    phases: tuple[str, ...]


FAMILIES = (
    Family(
        "pod",
        "blue",
        "#5b86d4",
        ("scheduling", "volumes", "image_pull", "init_containers", "container_start", "earlier_attempts"),
    ),
    Family("process", "cyan", "#2f9fb3", ("imports", "config", "engine_process", "worker_init")),
    Family("weights", "green", "#3f9f5d", ("weights_download", "weights_load", "model_finish")),
    Family("compile", "yellow", "#c98f1f", ("dynamo", "compile")),
    Family(
        "warm-up",
        "magenta",
        "#cf6440",
        ("profile", "kv_cache", "kernel_warmup", "graph_capture", "engine_finish"),
    ),
    Family("ready", "bright_blue", "#a368c4", ("frontend", "ready", "first_token")),
    Family(REST, "bright_black", "#8a8f98", (REST,)),
)
OPTIONAL = frozenset({"init_containers", "earlier_attempts", "weights_download", "kernel_warmup"})
"""Most starts have none of these, or say nothing of them: nobody misses them."""
OTHER = FAMILIES[-1]
FAMILY_OF = {name: family for family in FAMILIES for name in family.phases}


def family(name: str) -> Family:
    return FAMILY_OF.get(name, OTHER)


def label(name: str) -> str:
    return LABELS.get(name) or clean(name).replace("_", " ")


def place(name: str) -> int:
    """Where a phase stands among all; unknown ones before `unattributed`."""
    return ORDER.get(name, ORDER[REST] - 1) if name != REST else len(PHASES)


def is_known(phase: Phase) -> bool:
    return phase.start_ns is not None and phase.end_ns is not None


def origin_ns(start: Start) -> int | None:
    """The instant that offsets count from: the origin, else the first instant known."""
    known = [phase.start_ns for phase in start.phases if phase.start_ns is not None]
    return start.origin_ns if start.origin_ns is not None else min(known, default=None)


def last_ns(start: Start) -> int | None:
    known = [phase.end_ns for phase in start.phases if phase.end_ns is not None]
    return start.end_ns if start.end_ns is not None else max(known, default=None)


def elapsed_s(start: Start) -> float | None:
    """The total, or for a start that never came to its end the time that was seen of it."""
    first, last = origin_ns(start), last_ns(start)
    return None if first is None or last is None else (last - first) / NS_PER_S


def total_s(start: Start) -> float | None:
    """None for a start that did not reach its end: its time is no start-up time."""
    return start.total_s if start.reached else None


def offset_s(start: Start, instant_ns: int | None) -> float | None:
    first = origin_ns(start)
    return None if instant_ns is None or first is None else (instant_ns - first) / NS_PER_S


def critical(start: Start) -> list[Phase]:
    """The known phases that add up to the total, by time."""
    known = [phase for phase in start.phases if phase.critical and is_known(phase)]
    return sorted(known, key=lambda phase: (phase.start_ns or 0, phase.end_ns or 0))


def seconds_by_phase(start: Start) -> dict[str, float]:
    """Seconds of each known phase, in order. Spans of one name add up; a phase that has none on the critical
    path has its longest one (it is a part of others: see parts_only)."""
    found: dict[str, float] = {}
    for phase in critical(start):
        found[phase.name] = found.get(phase.name, 0.0) + (phase.duration_s or 0.0)
    beside: dict[str, float] = {}
    for phase in start.phases:
        if phase.name not in found and phase.duration_s is not None:
            beside[phase.name] = max(beside.get(phase.name, 0.0), phase.duration_s)
    found |= beside
    return {name: found[name] for name in sorted(found, key=place)}


def parts_only(starts: Iterable[Start]) -> set[str]:
    """Names of phases that lie within others in every start that has them: they do not add to the total."""
    on_path = {phase.name for start in starts for phase in critical(start)}
    return {phase.name for start in starts for phase in start.phases} - on_path


def unseen(start: Start) -> list[str]:
    """Phases that belong to what was observed of this start (its pod, its log, …) but left no trace.

    Of a start that failed nothing is missed, nor graphs where they were turned off.
    """
    if not start.reached:
        return []
    seen = {phase.name for phase in start.phases if is_known(phase)}
    groups = {kind.group for kind in PHASES if kind.name in seen} - {"rest"}
    listed = {phase.name for phase in start.phases} | OPTIONAL
    if start.log is not None and start.log.enforce_eager:
        listed |= {"dynamo", "compile", "graph_capture"}
    return [kind.name for kind in PHASES if kind.group in groups and kind.name not in listed]


def resolution_s(start: Start) -> float | None:
    """The coarsest resolution of what the start is made of."""
    clock = start.log.clock.resolution_s if start.log is not None and start.log.clock is not None else None
    return max((p.resolution_s for p in start.phases if p.resolution_s is not None), default=clock)


def places(resolution: float | None) -> int:
    """Decimals of a second that a resolution allows, two at most."""
    if resolution is None or resolution <= 0:
        return 2
    return min(max(math.ceil(-math.log10(resolution)), 0), 2)


def rank_phases(start: Start, name: str) -> list[Phase]:
    """The spans of a phase in each rank, slowest first."""
    found = [p for p in start.phases if p.name == name and p.rank is not None and p.duration_s is not None]
    return sorted(found, key=lambda phase: -(phase.duration_s or 0.0))


def tree(start: Start) -> list[tuple[Phase, list[Phase]]]:
    """Each phase in order of time, with what its ranks took, slowest first, at its first span.

    Where only ranks show a phase, the slowest one stands for all.
    """
    found: list[tuple[Phase, list[Phase]]] = []
    done: set[str] = set()
    whole = {phase.name for phase in start.phases if phase.critical or phase.rank is None}
    for phase in start.phases:
        is_whole = phase.critical or phase.rank is None
        if not is_whole and (phase.name in whole or phase.name in done):
            continue
        ranks = [] if phase.name in done else [p for p in rank_phases(start, phase.name) if not p.critical]
        head = phase if is_whole or not ranks else ranks.pop(0)
        found.append((head, ranks))
        done.add(phase.name)
    return found


def groups(starts: Sequence[Start]) -> dict[str | None, list[Start]]:
    """Starts by the set they belong to, in order of appearance."""
    found: dict[str | None, list[Start]] = {}
    for start in starts:
        found.setdefault(start.group, []).append(start)
    return found
