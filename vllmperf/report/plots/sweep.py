"""The pictures of a sweep: its numbers as bars, its replicas over time, and where the client's TTFT comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.metrics.quantity import Quantity, quantity
from vllmperf.repeats import NUMBERS
from vllmperf.report.plots import bars, figure
from vllmperf.report.plots.bars import Groups
from vllmperf.report.plots.over_time import TIME, Line, from_zero, over_time
from vllmperf.report.plots.overhead import FirstToken, overhead
from vllmperf.report.sweep import percent
from vllmperf.sweeps.result import Measured, Sweep
from vllmperf.sweeps.servers import server_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVERHEAD = "overhead"
OF_CLIENT = ("ttft_p50", "ttft_p99", "itl_mean", "output_tokens_per_s")
OF_SERVERS = {
    "server_prefix_hit_rate": ("prefix hits, % of prompt tokens", 100.0),
    "server_requests_max_over_min": ("requests: busiest over idlest replica", 1.0),
    "server_requests_cv": ("requests: CV over replicas, %", 100.0),
    "server_output_tokens_cv": ("output tokens: CV over replicas, %", 100.0),
    "server_running_mean": ("running, all replicas, mean", 1.0),
    "server_waiting_mean": ("waiting, all replicas, mean", 1.0),
    "server_waiting_max": ("waiting, most at a replica", 1.0),
    "server_kv_cache_share_max": ("KV cache, fullest replica, %", 100.0),
    "server_preemptions": ("preemptions", 1.0),
}
"""Columns of the rows, what they are, and the factor to the unit that is shown."""
SUMMARY_OF_SERVERS = (
    "server_prefix_hit_rate",
    "server_requests_cv",
    "server_output_tokens_cv",
    "server_running_mean",
    "server_waiting_mean",
    "server_kv_cache_share_max",
)
Row = Mapping[str, Any]
OVER_TIME: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "running": ("requests running", lambda row: row["running"]),
    "waiting": ("requests waiting", lambda row: row["waiting"]),
    "kv_cache": ("KV cache, %", lambda row: _percent(row["kv_cache_share"], 1.0)),
    "prefix_hits": (
        "prefix hits so far, %",
        lambda row: _percent(row["prefix_hits"], row["prefix_queries"]),
    ),
    "output_tokens": ("output tokens so far", lambda row: row["output_tokens"]),
}
"""What a replica does over time: words for the axis, and the value of a row of series()."""


def axes(found: Sweep, what: str, ax: Axes | None = None) -> Axes:
    """One number of all set-ups and loads as bars, or "overhead": docs/sweep.md has their names. Raises UsageError."""
    if what == OVERHEAD:
        return overhead(first_tokens(found), ax, _ttft_label(found))
    label, groups = _numbers(found, what)
    return bars.bars(groups, label, ax, _notes(found, what))


def of_point(point: Measured, what: str, ax: Axes | None = None) -> Axes:
    """What each replica of a point did over time, a line for each: a key of OVER_TIME. Raises UsageError."""
    label, _ = _over_time(what)
    ax = over_time(lines(point, what), label, ax)
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
    return ax


def summary(found: Sweep, *names: str) -> figure.Picture:
    """Several numbers as bars, a panel each, with what changes beyond chance above the bars; by default those of the sentence."""
    return _panels(found, names or OF_CLIENT)


def servers(found: Sweep) -> figure.Picture:
    """What the servers said of each set-up: prefix hits, spread over the replicas, queue, KV cache. Raises UsageError where
    they said nothing."""
    known = {name for row in found.rows() for name, value in row.items() if value is not None}
    names = [name for name in SUMMARY_OF_SERVERS if name in known]
    if not names:
        raise UsageError(f"no server of this sweep told its counts: there is nothing to draw ({found.path})")
    return _panels(found, names)


def replicas(found: Sweep, *what: str, load: str | None = None, repeat: int = 1) -> figure.Picture:
    """Replicas over time: a column for each set-up, a row for each of `what` (keys of OVER_TIME, by default "running"), a line
    for each replica; of one load (by default the first) and repeat. Raises UsageError."""
    kinds = [(one, *_over_time(one)) for one in what or ("running",)]
    chosen = found.loads[0] if load is None else load
    points = [one for name in found.setups for one in found.of(name, chosen) if one.point.repeat == repeat]
    points = [one for one in points if one.servers is not None]
    if not points:
        raise UsageError(f"no point of load {chosen!r} and repeat {repeat} has its servers' metrics")
    return _columns(points, [(one, label) for one, label, _ in kinds])


def lines(point: Measured, what: str) -> dict[str, Line]:
    """By replica: times and values. Raises UsageError where the servers told nothing."""
    _, value = _over_time(what)
    if point.servers is None:
        raise UsageError(f"{point.path.name} has no metrics of its servers")
    found: dict[str, tuple[list[float], list[float | None]]] = {}
    for row in point.servers.series():
        times_s, values = found.setdefault(f"replica {row['replica']}", ([], []))
        times_s.append(max(row["t_s"], 0.0))
        values.append(value(row))
    if all(each is None for _, values in found.values() for each in values):
        why = "take longer runs, or a smaller metrics_interval"
        raise UsageError(f"no look at the servers of {point.path.name} says {what}: {why}")
    return dict(found)


def first_tokens(found: Sweep) -> dict[str, list[FirstToken]]:
    """By set-up and load, for each run: the client's TTFT in ms and what the servers' may be; means, with Ray medians. Raises
    UsageError where no run has both."""
    runs: dict[str, list[FirstToken]] = {}
    for one in found.points:
        both = one.servers.first_tokens() if one.servers else None
        if both is not None:
            name = "\n".join(part for part in (one.point.setup.name, one.point.load_label) if part)
            runs.setdefault(name, []).append(both)
    if not runs:
        raise UsageError(f"no server of {found.path} told the TTFT of just these requests: nothing to draw")
    return runs


def _ttft_label(found: Sweep) -> str:
    is_ray = any(one.servers.is_ray for one in found.points if one.servers)
    return "median TTFT, ms" if is_ray else "mean TTFT, ms"


# ---- bars ----


def _panels(found: Sweep, names: Sequence[str]) -> figure.Picture:
    numbers = dict(_numbers(found, name) for name in names)
    notes = {label: _notes(found, name) for label, name in zip(numbers, names, strict=True)}
    return bars.panels(numbers, notes)


def _numbers(found: Sweep, what: str) -> tuple[str, Groups]:
    """Words for the axis; by load and set-up, the values of the repeats. Raises UsageError where there are none."""
    label, value = _value(what)
    groups = {
        load: {
            name: [number for one in found.of(name, load) if (number := value(one)) is not None]
            for name in found.setups
        }
        for load in found.loads
    }
    if not any(values for group in groups.values() for values in group.values()):
        raise UsageError(f"no point of {found.path} has {what}")
    return label, groups


def _value(what: str) -> tuple[str, Callable[[Measured], float | None]]:
    if what in OF_SERVERS:
        label, factor = OF_SERVERS[what]
        return label, lambda one: _times(server_columns(one.servers)[what] if one.servers else None, factor)
    one = quantity(what)
    if one not in NUMBERS:
        known = ", ".join([*(each.name for each in NUMBERS), *OF_SERVERS, OVERHEAD])
        raise UsageError(f"a sweep has no {what}: it has {known}")
    return words(one), lambda point: point.value(one)


def words(one: Quantity) -> str:
    """TTFT p50, ms; output tokens/s"""
    if one.metric is not None:
        return f"{one.metric.short} {one.statistic}, {one.unit}"
    return one.unit if one.unit.endswith("/s") else one.label


def _notes(found: Sweep, what: str) -> dict[tuple[str, str], str]:
    """By load and set-up, the change of this number against the first set-up, where it is beyond chance: −31 %"""
    if what in OF_SERVERS:
        return {}
    name = quantity(what).name
    return {
        (one.load, one.setup): f"{percent(one.change)} %"
        for one in found.effects
        if one.quantity.name == name and one.is_beyond_chance
    }


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


# ---- over time ----


@figure.in_style
def _columns(points: Sequence[Measured], kinds: Sequence[tuple[str, str]]) -> figure.Picture:
    width = 0.8 + len(points) * min(3.6, max(2.2, 11 / len(points)))
    whole = figure.new_figure(width, 0.9 + 1.9 * len(kinds), "constrained")
    grid = whole.subplots(len(kinds), len(points), sharex=True, sharey="row", squeeze=False)
    for row, (kind, label) in zip(grid, kinds, strict=True):
        for ax, point in zip(row, points, strict=True):
            over_time(lines(point, kind), label, ax)
            ax.set_xlabel("")
            ax.label_outer()
        from_zero(row)
    for ax, point in zip(grid[0], points, strict=True):
        ax.set_title(point.point.setup.name, loc="left", weight="bold")
    whole.align_ylabels()
    whole.supxlabel(TIME, fontsize=9)
    names = max((ax.get_legend_handles_labels() for ax in grid[0]), key=lambda each: len(each[1]))
    whole.legend(*names, loc="outside upper left", frameon=False, ncols=min(len(names[1]), 8))
    return whole


def _over_time(what: str) -> tuple[str, Callable[[Row], float | None]]:
    if what not in OVER_TIME:
        raise UsageError(f"a replica has no {what} over time: it has {', '.join(OVER_TIME)}")
    return OVER_TIME[what]


def _percent(part: float | None, whole: float | None) -> float | None:
    return 100 * part / whole if part is not None and whole else None
