"""What a sweep is going to do, and how long that takes."""

from __future__ import annotations

from pathlib import Path

from vllmperf.numbers import clean, duration, plural
from vllmperf.sweeps.definition import Definition
from vllmperf.sweeps.estimate import Estimate, estimate
from vllmperf.sweeps.folder import Folder
from vllmperf.sweeps.points import points


def text(definition: Definition, output: Path) -> str:
    """The points in order, with those that the folder has, and the time that the rest takes."""
    folder = Folder.of(output, definition)
    wanted = list(points(definition))
    done = {point.name for point in wanted if folder is not None and folder.is_done(point)}
    lines = [
        f"{number:>4}  {clean(point.title)}, seed {point.seed}{'  (done)' if point.name in done else ''}"
        for number, point in enumerate(wanted, 1)
    ]
    todo = [point for point in wanted if point.name not in done]
    found = estimate(definition, todo, folder.events() if folder is not None else ())
    return "\n".join([*lines, "", f"{plural(len(todo), 'point')} to measure, into {output}", _time(found)])


def _time(found: Estimate) -> str:
    parts = [f"points {duration(found.points_s)}"]
    if found.unknown_points:
        parts.append(f"and {plural(found.unknown_points, 'closed loop')} of unknown length")
    parts.append(f"{plural(found.starts, 'start')} {duration(found.starts_s)}")
    if found.unknown_starts:
        parts.append(f"of which {found.unknown_starts} take as long as the command takes")
    least = "at least " if found.unknown_points or found.unknown_starts else "about "
    return f"time: {least}{duration(found.points_s + found.starts_s)} ({', '.join(parts)})"
