"""How long a sweep will take: what each load says of its time, and what was measured already in the folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from vllmperf.plan import Load
from vllmperf.sweeps.definition import RESTART, Definition
from vllmperf.sweeps.points import Point


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of the points and of the starts of servers. unknown: points and starts of which nobody knows."""

    points_s: float
    starts_s: float
    starts: int
    unknown_points: int
    unknown_starts: int


def estimate(
    definition: Definition, todo: Sequence[Point], events: Sequence[Mapping[str, Any]] = ()
) -> Estimate:
    """Of the points that are still to do. events: of the folder, which tell how long the same took before."""
    took, ready = _before(events)
    runs = [took.get(point.name.rpartition("--")[0]) or _time_s(definition, point) for point in todo]
    starts = [ready.get(point.setup.name, _usual(point)) for point in _starts(definition, todo)]
    return Estimate(
        sum(one for one in runs if one is not None),
        sum(one for one in starts if one is not None),
        len(starts),
        sum(one is None for one in runs),
        sum(one is None for one in starts),
    )


def _before(events: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean seconds of finished points, by name without the repeat, and of starts, by set-up."""
    points: dict[str, list[float]] = {}
    starts: dict[str, list[float]] = {}
    for event in events:
        if event["event"] == "point_finished":
            points.setdefault(event["point"].rpartition("--")[0], []).append(event["took_s"])
        elif event["event"] == "server_ready":
            starts.setdefault(event["setup"], []).append(event["took_s"])
    return {name: fmean(each) for name, each in points.items()}, {
        name: fmean(each) for name, each in starts.items()
    }


def _time_s(definition: Definition, point: Point) -> float | None:
    """What the load says: its duration, else its requests at its rate; None for a closed loop, which takes what it takes."""
    load: Load = point.setup.draft({**definition.plan, **point.load}).plan.load
    by_rate = (
        load.num_prompts / load.request_rate
        if load.num_prompts and math.isfinite(load.request_rate)
        else None
    )
    known = [one for one in (load.duration, by_rate) if one is not None]
    return min(known) if known else None


def _starts(definition: Definition, todo: Sequence[Point]) -> list[Point]:
    """The points before which a server starts."""
    found: list[Point] = []
    for before, point in zip([None, *todo], todo, strict=False):
        if before is None or before.setup != point.setup or definition.course.reset == RESTART:
            found.append(point)
    return found


def _usual(point: Point) -> float | None:
    """A simulator is there at once, a server that runs as well."""
    return None if point.setup.kind == "command" else 0.0
