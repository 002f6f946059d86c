"""Waterfalls by matplotlib, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.numbers import clean
from vllmperf.report.startup.spans import (
    FAMILIES,
    REST,
    critical,
    elapsed_s,
    family,
    is_known,
    offset_s,
    places,
    resolution_s,
    tree,
)
from vllmperf.report.startup.svg import row_name
from vllmperf.report.startup.words import figure, name_words
from vllmperf.starts.result import Phase, Start

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.26


def waterfall(start: Start, ax: Axes | None = None) -> Axes:
    """A bar for each known phase on the axis of the start, on `ax` or a new figure. Gives the Axes.

    Raises UsageError when matplotlib is missing or no phase is known.
    """
    rows = [phase for phase, _ in tree(start) if is_known(phase)]
    if not rows:
        raise UsageError(f"no phase of {clean(start.name)} is known: there is nothing to draw")
    ax = ax if ax is not None else _new_axes(len(rows))
    decimals = places(resolution_s(start))
    for i, phase in enumerate(rows):
        begin = offset_s(start, phase.start_ns) or 0.0
        ax.barh(i, phase.duration_s or 0.0, left=begin, height=0.72, **_look(phase))
        ax.text(
            begin + (phase.duration_s or 0.0),
            i,
            f" {figure(phase.duration_s, decimals)} s",
            va="center",
            size=8,
            alpha=0.8,
        )
    ax.set_yticks(range(len(rows)), [row_name(phase) for phase in rows], size=8)
    _finish(ax, elapsed_s(start) or 0.0, start.origin)
    ax.set_title(clean(start.name), loc="left", size=10)
    return ax


def stacked(starts: Sequence[Start], ax: Axes | None = None) -> Axes:
    """One bar a start, its phases in the colours of their families, all on one axis. Gives the Axes.

    Raises UsageError when matplotlib is missing or no phase is known.
    """
    longest = max((elapsed_s(start) or 0.0 for start in starts), default=0.0)
    if longest <= 0:
        raise UsageError("no phase of these starts is known: there is nothing to draw")
    ax = ax if ax is not None else _new_axes(len(starts) + 2)
    for i, start in enumerate(starts):
        for phase in critical(start):
            ax.barh(
                i, phase.duration_s or 0.0, left=offset_s(start, phase.start_ns), height=0.72, **_look(phase)
            )
    ax.set_yticks(range(len(starts)), [name_words(start) for start in starts], size=8)
    _finish(ax, longest, starts[0].origin)
    _legend(ax, starts)
    return ax


def _look(phase: Phase) -> dict[str, Any]:
    colour = family(phase.name).colour
    if phase.name == REST:
        return {"facecolor": "none", "edgecolor": colour, "linestyle": ":", "linewidth": 0.8}
    return {"color": colour, "alpha": 1.0 if phase.critical else 0.45}


def _finish(ax: Axes, longest: float, origin: str) -> None:
    ax.invert_yaxis()
    ax.set_xlim(0, longest * 1.12)
    ax.set_xlabel(f"seconds from {clean(origin)}")
    ax.grid(axis="x", alpha=0.25)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _legend(ax: Axes, starts: Sequence[Start]) -> None:
    from matplotlib.patches import Patch

    seen = {family(phase.name).label for start in starts for phase in critical(start)}
    keys = [Patch(color=kind.colour, label=kind.label) for kind in FAMILIES if kind.label in seen]
    ax.legend(
        handles=keys, ncols=len(keys), loc="upper left", bbox_to_anchor=(0, -0.18), frameon=False, fontsize=8
    )


def _new_axes(rows: int) -> Axes:
    from vllmperf.report.plots.figure import new_axes

    return new_axes(9, 1.2 + ROW_INCHES * rows)
