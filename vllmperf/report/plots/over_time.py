"""Lines over the time of a run: what each replica, or each set-up, said at each look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllmperf.report.plots import figure
from vllmperf.report.plots.palette import colour, stroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = tuple[Sequence[float], Sequence[float | None]]
"""Seconds since the start of the run, and values; None where nobody knows: a hole in the line."""
TIME = "time since the start of the run, s"
MANY = 12
"""More lines than this have no names: they show where most are, and how far apart."""


@figure.in_style
def over_time(lines: Mapping[str, Line], label: str, ax: Axes | None = None) -> Axes:
    """A line for each name. A value holds until the next one. label: of the axis, with the unit."""
    from matplotlib.ticker import MaxNLocator

    ax = ax if ax is not None else figure.new_axes(6, 3)
    for number, (name, (times_s, values)) in enumerate(lines.items()):
        known = [float("nan") if value is None else value for value in values]
        ax.plot(times_s, known, drawstyle="steps-post", **_look(number, name, len(lines)))
    from_zero([ax])
    if all(value is None or value == round(value) for _, values in lines.values() for value in values):
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=TIME, ylabel=label)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def from_zero(panels: Sequence[Axes]) -> None:
    """Let both axes of panels that share them begin at 0 and hold all that is drawn."""
    right, top = (max(getattr(ax.dataLim, end) for ax in panels) for end in ("x1", "y1"))
    panels[0].set_xlim(0, right if right > 0 else 1)
    panels[0].set_ylim(0, 1.05 * top if top > 0 else 1)


def _look(number: int, name: str, lines: int) -> dict[str, Any]:
    if lines > MANY:
        label = f"each of {lines} replicas" if number == 0 else None
        return {"color": colour(0), "alpha": 0.4, "linewidth": 0.8, "label": label}
    return {"color": colour(number), "linestyle": stroke(number), "linewidth": 1.4, "label": name}
