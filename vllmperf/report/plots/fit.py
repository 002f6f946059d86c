"""The picture of a fit: steps against batch, and what is left of them beside the law."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.model.parameters import Fit
from vllmperf.report.fit import counted, estimated, interval
from vllmperf.report.plots import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, GREY, RED = "#2b5c8a", "#7b818c", "#c0392b"
SMALLEST, LARGEST = 8.0, 60.0
"""Area of a point, in square points: it grows with the steps behind it."""
FEW = 50
"""So few points need not be faint."""
EDGE = 0.01
"""The share of the measurements at either end that does not set how much of them is seen."""
DEVIATIONS = 5.0
"""Robust ones, of the residuals that are seen."""
LEAST = 0.005
"""Of the usual step: smaller residuals fill no panel."""
BATCH = "batch: sequences that decode in the step"
MOST_BATCHES = 300
"""Means of more are no dots but a cloud."""


def plot(result: Fit, path: Path) -> None:
    """Write the picture to a file. Needs matplotlib (the extra `plots`); raises UsageError without it."""
    figure.save(figure.styled(lambda: picture(result)), path)


def picture(result: Fit) -> figure.Picture:
    """Steps against batch with the line and its 95 % band, and the residuals. A fit to means of runs shows those."""
    whole, (top, bottom) = figure.new_panels(8, 6.8, (5, 3))
    draw(result, top, bottom)
    whole.align_ylabels([top, bottom])
    return whole


def axes(result: Fit, ax: Axes | None = None) -> Axes:
    """Steps against batch on `ax`; without one, the upper of the picture's panels."""
    if ax is None:
        return picture(result).axes[0]
    _draw_steps(result, ax)
    ax.set_xlabel(BATCH)
    return ax


def draw(result: Fit, top: Axes, bottom: Axes) -> None:
    """The same on two Axes of matplotlib. They show the law and the body of the measurements; how many lie beyond is said
    in the corner, and triangles at the edge say where."""
    _draw_steps(result, top)
    batch, step, residual, steps = _measurements(result)
    line, law, half = _line(result)
    _points_of(bottom, batch, residual, steps, _even(residual, step, half))
    _law_of(bottom, line, 0 * law, half)
    _means_of(bottom, batch, residual, steps)
    bottom.set(xlabel=BATCH, ylabel=f"{_what(result)} − law, ms")


def _draw_steps(result: Fit, ax: Axes) -> None:
    batch, step, _, steps = _measurements(result)
    line, law, half = _line(result)
    _points_of(ax, batch, step, steps, _body(step, law))
    _law_of(ax, line, law, half)
    ax.set_ylabel(f"{_what(result)}, ms")
    _heads(ax, result, _what(result))
    _legend(ax, _what(result), bool(half.any()))


def _what(result: Fit) -> str:
    return "step" if result.residuals else "ITL"


def _law_of(ax: Any, line: Any, middle: Any, half: Any) -> None:
    ax.plot(line, middle, color=RED, linewidth=1.3, zorder=4)
    if half.any():
        ax.fill_between(line, middle - half, middle + half, color=RED, alpha=0.25, linewidth=0, zorder=3)


def _line(result: Fit) -> tuple[Any, Any, Any]:
    """Batches, what the law says, half of its 95 % band (0 where that is not known)."""
    import numpy as np

    alpha, beta = result.parameters["alpha"].value or 0.0, result.parameters["beta"].value or 0.0
    line = np.linspace(*result.valid_batch, 200)
    if result.covariance_alpha_beta is None:
        return line, alpha + beta * line, np.zeros(len(line))
    x = np.stack([np.ones(len(line)), line], axis=1)
    variance = np.einsum("ni,ij,nj->n", x, np.array(result.covariance_alpha_beta), x)
    return line, alpha + beta * line, 1.96 * np.sqrt(np.maximum(variance, 0))


def _body(step: Any, law: Any) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(step, [EDGE, 1 - EDGE])
    low, high = min(low, law.min()), max(high, law.max())
    room = 0.15 * (high - low) + LEAST * high
    return float(low - room), float(high + room)


def _even(residual: Any, step: Any, half: Any) -> tuple[float, float]:
    import numpy as np

    deviation = 1.4826 * float(np.median(np.abs(residual)))
    most = max(DEVIATIONS * deviation, 2 * float(half.max()), LEAST * float(np.median(step)))
    return -most, most


def _points_of(ax: Any, batch: Any, y: Any, steps: Any, limits: tuple[float, float]) -> None:
    """One point a measurement; those beyond the limits as triangles at the edge."""
    import numpy as np

    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_ylim(*limits)
    area = SMALLEST + (LARGEST - SMALLEST) * np.sqrt(steps / steps.max())
    faint = 0.8 if len(y) <= FEW else 0.25
    inside = (y >= limits[0]) & (y <= limits[1])
    ax.scatter(batch[inside], y[inside], s=area[inside], color=BLUE, alpha=faint, linewidth=0, zorder=2)
    for beyond, edge, mark in ((y < limits[0], 0.015, "v"), (y > limits[1], 0.985, "^")):
        where = {"transform": ax.get_xaxis_transform(), "marker": mark, "color": GREY}
        ax.scatter(batch[beyond], np.full(beyond.sum(), edge), s=14, alpha=0.5, linewidth=0, **where)
    if not inside.all():
        told = f"{np.sum(~inside):,} of {len(y):,} beyond the axis"
        ax.text(0.99, 0.05, told, transform=ax.transAxes, ha="right", color=GREY, fontsize=8, zorder=6)


def _means_of(ax: Any, batch: Any, residual: Any, steps: Any) -> None:
    """The mean at each batch of what is seen, where measurements share one: a law that is no line shows here."""
    import numpy as np

    sizes, place = np.unique(batch, return_inverse=True)
    if len(sizes) > min(MOST_BATCHES, len(batch) / 2):
        return
    low, high = ax.get_ylim()
    body = steps * ((residual >= low) & (residual <= high))
    weight = np.bincount(place, body)
    known = weight > 0
    mean = np.bincount(place, body * residual)[known] / weight[known]
    ax.scatter(sizes[known], mean, s=16, facecolor="white", edgecolor=BLUE, linewidth=1, zorder=5)


def _heads(ax: Any, result: Fit, what: str) -> None:
    alpha, beta = result.parameters["alpha"], result.parameters["beta"]
    told = f"{what} = {estimated(alpha)[0]} ms + {estimated(beta)[0]} ms · batch"
    ax.set_title(told, loc="left", fontsize=12, weight="bold", pad=24)
    name = "within rounding" if result.quality.dof == 0 else "95 %"
    ends = ", ".join(
        f"{word} {interval(*estimated(one)[1:])} ms" for word, one in (("alpha", alpha), ("beta", beta))
    )
    place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 8), "textcoords": "offset points"}
    ax.annotate(f"{name}: {ends}; {counted(result)}", color=GREY, fontsize=9, **place)


def _legend(ax: Any, what: str, band: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 5}
    measured = "a stretch of steps, larger for more" if what == "step" else "mean of a run"
    marks: list[Any] = [Line2D([], [], color=BLUE, alpha=0.6, label=measured, **dot)]
    if what == "step":
        mean = {**dot, "markerfacecolor": "white"}
        marks.append(Line2D([], [], color=BLUE, label="below: mean at a batch", **mean))
    marks.append(Line2D([], [], color=RED, linewidth=1.3, label="law"))
    if band:
        marks.append(Patch(facecolor=RED, alpha=0.25, label="95 % band of the law"))
    ax.legend(handles=marks, loc="upper left", frameon=False, fontsize=8)


def _measurements(result: Fit) -> tuple[Any, Any, Any, Any]:
    """Batch, ms, residual in ms, steps behind each."""
    import numpy as np

    rows = result.residuals or [
        (point.batch, point.itl_ms, point.itl_ms - point.predicted_itl_ms, 1.0)
        for point in result.points
        if point.itl_ms is not None and point.predicted_itl_ms is not None
    ]
    batch, step, residual, steps = np.array(rows, dtype=np.float64).T
    return batch, step, residual, steps
