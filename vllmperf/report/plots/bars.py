"""Bars with whiskers: a number of several set-ups or strategies, over their runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from vllmperf.metrics.repeats import repeat_interval
from vllmperf.numbers import NOTHING, fixed, plural
from vllmperf.report.plots import figure
from vllmperf.report.plots.palette import DARK, GREY, colour, hatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

Groups = Mapping[str, Mapping[str, Sequence[float]]]
"""By group (a load, a label; "" where there is one) and name: the value of each run."""
Notes = Mapping[tuple[str, str], str]
"""By group and name: words."""
LEAST_RUNS = 3
"""An interval of two runs is thirteen times as wide as what they differ by, and would hide all bars."""
FILLED = 0.8
"""Share of a group's width that has bars."""
BAR = 0.7
"""Share of its place that a bar fills."""
ROOM = 1.25
"""Over the tallest: for the words above it."""
THOUSANDS = 1000
"""From here on ticks lie whole numbers apart, and have commas."""
MOST_LETTERS = 40
"""Of names beside each other under one panel; longer ones are turned, or named in a legend over several panels."""
WIDEST = 11
"""Inches, of a figure of several panels."""


@figure.in_style
def bars(groups: Groups, label: str, ax: Axes | None = None, notes: Notes | None = None) -> Axes:
    """A bar as high as the mean of the runs, a dot for each of several runs, and from three runs on the 95 % interval of the mean
    (Student's t) as a whisker. A name without a value gets a dash in the place of a bar.

    label: of the axis, with the unit. notes: by group and name, words above the number.
    """
    ax = ax if ax is not None else figure.new_axes(1.8 + 0.9 * sum(map(len, groups.values())), 3.4)
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    width, places = FILLED / max(len(names), 1), places_for(_means(groups), 3)
    for i, (group, values) in enumerate(groups.items()):
        for j, name in enumerate(names):
            at = i + (j - (len(names) - 1) / 2) * width
            _bar(ax, at, width, j, values.get(name, ()))
            _words(ax, at, values.get(name, ()), places, (notes or {}).get((group, name), ""))
    _axes(ax, groups, label)
    if len(groups) > 1:
        ax.set_xticks(range(len(groups)), list(groups))
        legend(ax, names)
    else:
        places_of_names = [(j - (len(names) - 1) / 2) * width for j in range(len(names))]
        is_long = max(map(len, names), default=0) * len(names) > MOST_LETTERS
        turned: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        ax.set_xticks(places_of_names, names, **turned)
    return ax


def _axes(ax: Axes, groups: Groups, label: str) -> None:
    from matplotlib.ticker import FuncFormatter

    ax.set_ylim(min(ROOM * _lowest(groups), 0.0), ROOM * _highest(groups))
    ax.set_ylabel(label)
    if _highest(groups) >= THOUSANDS:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if not any(_means(groups)):
        ax.set_yticks([0])
    ax.grid(axis="y", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", length=0)


@figure.in_style
def panels(numbers: Mapping[str, Groups], notes: Mapping[str, Notes] | None = None) -> figure.Picture:
    """A panel of bars for each label, three in a row at most, and below what the marks are. notes: by label, as in bars()."""
    notes = notes or {}
    names = list(dict.fromkeys(n for groups in numbers.values() for group in groups.values() for n in group))
    several = max(map(len, numbers.values()))
    is_keyed = several > 1 or sum(map(len, names)) > MOST_LETTERS
    width = max(3.4, 1 + 0.5 * len(names) * several)
    columns = max(min(2 if len(numbers) in (2, 4) else 3, len(numbers), int(WIDEST / width)), 1)
    rows = -(-len(numbers) // columns)
    whole = figure.new_figure(width * columns, 2.7 * rows + 0.5, "constrained")
    for place, (label, groups) in enumerate(numbers.items(), 1):
        ax = bars(groups, label, whole.add_subplot(rows, columns, place), notes.get(label))
        if old := ax.get_legend():
            old.remove()
        elif is_keyed:
            ax.set_xticks([])
    if is_keyed:
        fit = int(width * columns / (0.7 + 0.09 * max(map(len, names))))
        handles, look = _handles(names), {"frameon": False, "ncols": max(min(fit, len(names)), 1)}
        whole.legend(handles=handles, loc="outside upper left", **look)
    whole.align_ylabels()
    said = "; bold: change against the first, beyond chance" if any(notes.values()) else ""
    whole.supxlabel(marks(numbers) + said, x=0.01, ha="left", fontsize=8, color=GREY)
    return whole


def marks(numbers: Mapping[str, Groups]) -> str:
    """What is drawn, in words: bar, dots, whiskers."""
    runs = [
        len(values) for groups in numbers.values() for group in groups.values() for values in group.values()
    ]
    most = max(runs, default=0)
    if most < 2:
        return "one run each"
    spread = "; whisker: 95 % interval of the mean" if most >= LEAST_RUNS else ""
    return f"bar: mean of {plural(most, 'run')}; dot: a run{spread}"


def legend(ax: Axes, names: Sequence[str]) -> None:
    """Above the axes, so that it hides no bar."""
    ax.legend(
        handles=_handles(names),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        frameon=False,
        ncols=len(names),
        fontsize=8,
        borderaxespad=0.2,
    )


def _handles(names: Sequence[str]) -> list[Patch]:
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=colour(j), hatch=hatch(j), edgecolor="white", label=name)
        for j, name in enumerate(names)
    ]


def _bar(ax: Axes, at: float, width: float, number: int, values: Sequence[float]) -> None:
    if not values:
        return
    look: dict[str, Any] = {
        "facecolor": colour(number),
        "edgecolor": "white",
        "hatch": hatch(number),
        "linewidth": 0,
    }
    ax.bar(at, fmean(values), BAR * width, **look)
    if (ends := _whisker(values)) is not None:
        ax.errorbar(
            at,
            fmean(values),
            [[fmean(values) - ends[0]], [ends[1] - fmean(values)]],
            color=DARK,
            capsize=4,
            lw=1.2,
        )
    if len(values) > 1:
        spread = [at + 0.3 * width * (k / (len(values) - 1) - 0.5) for k in range(len(values))]
        ax.scatter(spread, values, s=14, facecolor="white", edgecolor=DARK, linewidth=0.8, zorder=3)


def _words(ax: Axes, at: float, values: Sequence[float], places: int, note: str) -> None:
    """Over the bar: its value, and above that the note."""
    top = max([*values, *(_whisker(values) or ()), 0.0])
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": DARK}
    text = fixed(fmean(values), places if any(values) else 0) if values else NOTHING
    above = 3 if len(values) < 2 else 5
    ax.annotate(text, (at, top), xytext=(0, above), **look)
    if note:
        ax.annotate(note, (at, top), xytext=(0, above + 11), weight="bold", **look)


def _whisker(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < LEAST_RUNS:
        return None
    found = repeat_interval(values)
    return None if found.low is None or found.high is None else (found.low, found.high)


def _runs(groups: Groups) -> list[Sequence[float]]:
    return [values for group in groups.values() for values in group.values() if values]


def _means(groups: Groups) -> list[float]:
    return [fmean(values) for values in _runs(groups)]


def _lowest(groups: Groups) -> float:
    return min((min(values) for values in _runs(groups)), default=0.0)


def _highest(groups: Groups) -> float:
    """Of all that is drawn; 1 where there is nothing above 0."""
    highest = max((max(*values, *(_whisker(values) or (0.0,))) for values in _runs(groups)), default=0.0)
    return highest if highest > 0 else 1.0


def places_for(values: Sequence[float], digits: int) -> int:
    """Decimals that show so many digits of the smallest value that is not 0; 4 at most."""
    sizes = [abs(value) for value in values if value]
    return min(max(digits - 1 - math.floor(math.log10(min(sizes))), 0), 4) if sizes else 0
