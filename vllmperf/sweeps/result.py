"""A sweep's result: its folder, read. Knows nothing of how it looks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vllmperf import shown
from vllmperf.errors import UsageError
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.replicas import GAUGES, Servers
from vllmperf.repeats import NUMBERS, Told
from vllmperf.run import Run
from vllmperf.shown import Shown
from vllmperf.sweeps.effects import Effect, corrected, of_two_runs, over_repeats
from vllmperf.sweeps.folder import Folder
from vllmperf.sweeps.points import Point, points
from vllmperf.sweeps.servers import server_columns, servers_of
from vllmperf.whole_file import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SCHEMA = 1
NOT_YET = "not measured yet"


def open_sweep(folder: str | Path) -> Sweep:
    """The sweep in a folder, finished or not. Raises UsageError when there is none.

    >>> open_sweep("/nope")
    Traceback (most recent call last):
    vllmperf.errors.UsageError: there is no sweep in /nope: `vllmperf sweep FILE --output DIR` writes one
    """
    return Sweep(Path(folder))


@dataclass(frozen=True, slots=True)
class Measured:
    """A point and what its run says. told: None where there is no run, and `why` says why. servers: what its replicas did; None
    where they have no metrics."""

    point: Point
    path: Path
    told: Told | None
    why: str = ""
    servers: Servers | None = None

    def value(self, one: Quantity) -> float | None:
        found = self.told.estimates.get(one.name) if self.told else None
        return found.value if found else None

    def run(self) -> Run:
        """Its run. Raises UsageError where there is none."""
        return Run(self.path)

    def row(self) -> dict[str, Any]:
        """Flat, for tables: what it is, how it went, and its numbers with the units in their names."""
        return {
            **{name: value for name, value in self.point.to_dict().items() if name not in ("values", "load")},
            **{f"setup.{name}": value for name, value in self.point.setup.values.items()},
            **self.point.load,
            "file": self.path.name,
            "completed": self.told.completed if self.told else None,
            "verdict": self.told.level if self.told else None,
            **{column(one): self.value(one) for one in NUMBERS},
            **(server_columns(self.servers) if self.servers else {}),
        }

    def plot(self, what: str = "running", ax: Axes | None = None) -> Axes:
        """What each replica did over time: running, waiting, kv_cache, prefix_hits or output_tokens; on `ax` or on a new
        figure. Needs matplotlib. Raises UsageError where the servers told nothing."""
        return shown.views().axes(self, ax, what)

    @property
    def label(self) -> dict[str, Any]:
        """What it is, for rows of its parts."""
        return {"setup": self.point.setup.name, **self.point.load, "repeat": self.point.repeat}


def column(one: Quantity) -> str:
    """ttft_p50_ms, requests_per_s"""
    return f"{one.name}_{one.unit}" if one.metric is not None else one.name


class Sweep(Shown):
    """What a folder holds now; open it again to see more of one that goes on.

    interrupted: whether Ctrl-C ended the sweep that gave this.

    >>> import vllmperf as vp
    >>> setup = {"name": "simulated", "simulator": {"ttft_ms": 5, "itl_ms": 1}}
    >>> found = vp.sweep({"setups": [setup], "axes": {"max_concurrency": [1, 2]}, "plan": {"num_prompts": 4, "output_len": 3}})
    >>> [one.point.load for one in found.points], found.is_complete
    ([{'max_concurrency': 1}, {'max_concurrency': 2}], True)
    """

    def __init__(self, folder: Path, interrupted: bool = False, keep_alive: object = None) -> None:
        self.path, self.interrupted = folder, interrupted
        self._folder, self._keep_alive = Folder(folder), keep_alive
        self.definition = self._folder.definition

    @cached_property
    def points(self) -> tuple[Measured, ...]:
        """All of them, set-up by set-up as the definition has them."""
        setups, loads = list(self.definition.setups), list(self.definition.loads)
        why = self._failures
        wanted = sorted(
            points(self.definition), key=lambda p: (setups.index(p.setup), loads.index(p.load), p.repeat)
        )
        return tuple(self._measured(point, why) for point in wanted)

    def _measured(self, point: Point, why: dict[str, str]) -> Measured:
        path = self._folder.run_file(point)
        if path.exists():
            run = Run(path)
            return Measured(point, path, Told.of(run), servers=servers_of(run))
        return Measured(point, path, None, why.get(point.name) or why.get(point.setup.name) or NOT_YET)

    @cached_property
    def _failures(self) -> dict[str, str]:
        """Why, by the name of a point or of a set-up: what was last heard of it."""
        found: dict[str, str] = {}
        for event in self._folder.events():
            match event["event"]:
                case "setup_failed":
                    found[event["setup"]] = event["why"]
                case "server_ready":
                    found.pop(event["setup"], None)
                case "point_failed":
                    found[event["point"]] = event["why"]
        return found

    @property
    def failures(self) -> dict[str, str]:
        """Why points were not measured, by set-up or point; {} when nothing failed."""
        found = {}
        for one in self.points:
            if one.told is None and one.why != NOT_YET:
                is_own = one.point.name in self._failures
                found[one.point.title if is_own else one.point.setup.name] = one.why
        return found

    @property
    def is_complete(self) -> bool:
        """Whether every point has its run."""
        return all(one.told is not None for one in self.points)

    def of(self, setup: str, load: str = "") -> list[Measured]:
        """The finished points of a set-up and a load, by their labels, in order of the repeats."""
        return [
            one
            for one in self.points
            if one.told and one.point.setup.name == setup and one.point.load_label == load
        ]

    @property
    def setups(self) -> list[str]:
        """Names of the set-ups, as the definition has them."""
        return [setup.name for setup in self.definition.setups]

    @cached_property
    def loads(self) -> list[str]:
        """Their labels, like request_rate=4; "" where there is one."""
        return list(dict.fromkeys(one.point.load_label for one in self.points))

    @cached_property
    def effects(self) -> list[Effect]:
        """Each set-up against the first one, at each load, corrected together."""
        found: list[Effect] = []
        for load in self.loads:
            for setup in self.setups[1:]:
                found += self._effects(self.setups[0], setup, load)
        return corrected(found)

    def _effects(self, first: str, second: str, load: str) -> Iterator[Effect]:
        sides = [{one.point.repeat: one for one in self.of(setup, load)} for setup in (first, second)]
        shared = sides[0].keys() & sides[1].keys()
        if len(shared) == 1:
            repeat = shared.pop()
            yield from of_two_runs(second, first, load, sides[0][repeat].run(), sides[1][repeat].run())
            return
        values = [{k: _values(one) for k, one in side.items()} for side in sides]
        yield from over_repeats(second, first, load, values[0], values[1])

    def rows(self) -> list[dict[str, object]]:
        """One flat dictionary a finished point."""
        return [one.row() for one in self.points if one.told]

    def replica_rows(self) -> list[dict[str, object]]:
        """One flat dictionary a replica and finished point: its work, prefix hit rate, and gauges as NAME_mean and NAME_max."""
        return [
            {**one.label, **_flat(each)}
            for one in self.points
            if one.servers
            for each in one.servers.to_dict()["replicas"]
        ]

    def series_rows(self) -> list[dict[str, object]]:
        """Requests running and waiting, the KV cache's use, and what was counted since the first look, one dictionary a look,
        replica and finished point. t_s: since the start of the run on the client's clock."""
        return [{**one.label, **each} for one in self.points if one.servers for each in one.servers.series()]

    def frame(self) -> pd.DataFrame:
        """The same as a pandas DataFrame. Needs pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise UsageError("frame() needs pandas: pip install 'vllmperf[plots]'") from None
        return pd.DataFrame(self.rows())

    def plot(self, what: str = "ttft_p50", ax: Axes | None = None) -> Axes:
        """A number of each set-up and load as bars over the repeats (ttft_p99, requests_per_s, server_prefix_hit_rate, …), or
        "overhead": the servers' and the client's TTFT; on `ax` or on a new figure. Needs matplotlib. Raises UsageError."""
        return shown.views().axes(self, ax, what)

    def to_csv(self, path: str | Path) -> Path:
        """Write the same as CSV, one line a finished point; what was not measured is empty. Raises UsageError."""
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))

        def write(file: TextIO) -> None:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)

        write_whole(Path(path), write)
        return Path(path)

    def to_dict(self) -> dict[str, object]:
        """Plain values that json.dumps takes."""
        return {
            "schema": SCHEMA,
            "folder": str(self.path),
            "interrupted": self.interrupted,
            "sweep": self.definition.to_dict(),
            "points": [_point(one) for one in self.points],
            "effects": [_effect(one) for one in self.effects],
            "failures": self.failures,
        }


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """{"running": {"mean": 3, "max": 5}} → {"running_mean": 3, "running_max": 5}; None where there is nothing."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in GAUGES:
            value = value or {"mean": None, "max": None}
            found |= {f"{name}_{part}": one for part, one in value.items()}
        else:
            found[name] = value
    return found


def _values(one: Measured) -> dict[str, float]:
    assert one.told is not None
    return {name: estimate.value for name, estimate in one.told.estimates.items()}


def _point(one: Measured) -> dict[str, Any]:
    return {
        **one.point.to_dict(),
        "file": one.path.name if one.told else None,
        "why_not": one.why or None,
        "completed": one.told.completed if one.told else None,
        "verdict": one.told.level if one.told else None,
        "reasons": list(one.told.reasons.values()) if one.told else [],
        "numbers": _values(one) if one.told else {},
        "servers": one.servers.to_dict() if one.servers else None,
    }


def _effect(one: Effect) -> dict[str, Any]:
    return {
        "setup": one.setup,
        "against": one.against,
        "load": one.load,
        "number": one.quantity.name,
        "pairs": one.pairs,
        "change": one.change,
        "ci95": None if one.low is None else [one.low, one.high],
        "p": one.p,
        "beyond_chance": one.is_beyond_chance,
    }
