"""A fit as people read it: parameters with intervals, the runs behind them, what speaks against it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from vllmperf.errors import UsageError
from vllmperf.model.parameters import (
    MEANINGS,
    THREE,
    FitResult,
    Parameter,
    inferred_targets,
    perf_parms,
    queueing_config,
)
from vllmperf.numbers import estimate


def text(result: FitResult, width: int = 100) -> str:
    """The tables as plain text."""
    file = io.StringIO()
    show(result, file, width)
    return file.getvalue()


def show(
    result: FitResult,
    file: IO[str] | None = None,
    width: int | None = None,
    model: str | None = None,
    ttft_ms: float | None = None,
    itl_ms: float | None = None,
) -> None:
    """Print the tables and the stanzas; the targets and the model's name go into the latter."""
    from rich.console import Console

    console = Console(file=file or sys.stdout, width=width, highlight=False)
    console.print(_parameters("Parameters of one replica", result.parameters, MEANINGS))
    if result.three_parameter:
        console.print(_parameters("The newer form with three", result.three_parameter, THREE))
    console.print(_points(result))
    console.print(_quality(result), soft_wrap=False)
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", markup=False)
    for title, stanza in _stanzas(result, model, ttft_ms, itl_ms):
        console.print(f"\n# {title}", style="dim", markup=False, soft_wrap=True)
        print(stanza, end="", file=console.file)


def _stanzas(
    result: FitResult, model: str | None, ttft_ms: float | None, itl_ms: float | None
) -> list[tuple[str, str]]:
    newer = "the queueing model of newer releases, which learns its parameters itself"
    shape = next((point for point in result.points if point.input_tokens and point.output_tokens), None)
    if ttft_ms is None and shape is not None and shape.input_tokens and shape.output_tokens:
        targets = inferred_targets(result.three_parameter, shape.input_tokens, shape.output_tokens)
        if targets:
            newer += (
                f"; with these three it aims at TTFT {targets[0]:.4g} ms and ITL {targets[1]:.4g} ms "
                f"for {shape.input_tokens:.0f}/{shape.output_tokens:.0f} tokens"
            )
    return [
        (
            "VariantAutoscaling of llmd.ai/v1alpha1, spec.modelProfile.accelerators[]",
            perf_parms(result.parameters),
        ),
        (newer, queueing_config(model, ttft_ms, itl_ms)),
    ]


def _table(title: str, left: str, columns: Iterable[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(left)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _parameters(title: str, found: Mapping[str, Parameter], meanings: Mapping[str, tuple[str, str]]) -> Any:
    table = _table(title, "", ["value", "95 % interval", "unit"])
    table.add_column("what it is")
    for name, one in found.items():
        unit, meaning = meanings[name]
        value, low, high = _estimated(one)
        table.add_row(name, value, _interval(low, high), unit, meaning)
    return table


def _points(result: FitResult) -> Any:
    table = _table("Runs", "run", ["batch", "ITL, ms", "by the law", "off", "TTFT, ms", "steps"])
    for point in result.points:
        law, itl = point.predicted_itl_ms, point.itl_ms
        table.add_row(
            point.label + (" (held out)" if point.held_out else ""),
            "–" if point.batch is None else f"{point.batch:.2f}",
            "–" if itl is None else f"{itl:.3f}",
            _number(law),
            "–" if not law or not itl else f"{itl / law - 1:+.1%}",
            _number(point.ttft_ms),
            f"{point.steps:,}" if point.method == "steps" else f"({point.method})",
        )
    return table


def _quality(result: FitResult) -> str:
    quality = result.quality
    said = [_counted(result)]
    if quality.r2 is not None:
        said.append(f"R² {quality.r2:.4f}")
    if quality.lack_of_fit_p is not None:
        said.append(f"lack of fit p = {quality.lack_of_fit_p:.2g}")
    if quality.condition is not None:
        said.append(f"condition number {quality.condition:.1f}")
    if quality.hold_out_error is not None:
        said.append(f"ITL of the run held out {quality.hold_out_error:+.1%} of the law")
    low, high = result.valid_batch
    said.append(f"valid for batches {low:g} to {high:g}")
    return "; ".join(said)


def _counted(result: FitResult) -> str:
    quality = result.quality
    return (
        f"{quality.n:,} measurements of {quality.steps:,} steps" if quality.steps else f"{quality.n:,} means"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _estimated(one: Parameter) -> tuple[str, str | None, str | None]:
    """Value and ends of the interval, with the digits that it leaves."""
    if one.value is None or one.low is None or one.high is None:
        return _number(one.value), None, None
    value, low, high = estimate(one.value, (one.high - one.low) / 2, one.low, one.high)
    return value, low, high


def _interval(low: str | None, high: str | None) -> str:
    return "–" if low is None else f"{low} … {high}"


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
MOST_BATCHES = 300
"""Means of more are no dots but a cloud."""


def plot(result: FitResult, path: Path) -> None:
    """Steps against batch with the line and its 95 % band, and the residuals. A fit to means of runs shows those.

    Needs matplotlib (the extra `plots`); raises UsageError without it.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'vllmperf[plots]'") from None
    mpl.use("Agg", force=False)
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(2, 1, figsize=(8, 6.8), height_ratios=(5, 3), sharex=True)
        draw(result, *axes)
        figure.align_ylabels(axes)
        figure.savefig(path, dpi=150, bbox_inches="tight")
        plt.close(figure)


def draw(result: FitResult, top: Any, bottom: Any) -> None:
    """The same on two Axes of matplotlib. They show the law and the body of the measurements; how many lie beyond is said
    in the corner, and triangles at the edge say where."""
    batch, step, residual, steps = _measurements(result)
    what = "step" if result.residuals else "ITL"
    line, law, half = _line(result)
    for ax, y, middle, limits in (
        (top, step, law, _body(step, law)),
        (bottom, residual, 0 * law, _even(residual, step, half)),
    ):
        _points_of(ax, batch, y, steps, limits)
        ax.plot(line, middle, color=RED, linewidth=1.3, zorder=4)
        if half.any():
            ax.fill_between(line, middle - half, middle + half, color=RED, alpha=0.25, linewidth=0, zorder=3)
    _means_of(bottom, batch, residual, steps)
    top.set_ylabel(f"{what}, ms")
    bottom.set(xlabel="batch: sequences that decode in the step", ylabel=f"{what} − law, ms")
    _heads(top, result, what)
    _legend(top, what, bool(half.any()))


def _line(result: FitResult) -> tuple[Any, Any, Any]:
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


def _heads(ax: Any, result: FitResult, what: str) -> None:
    alpha, beta = result.parameters["alpha"], result.parameters["beta"]
    told = f"{what} = {_estimated(alpha)[0]} ms + {_estimated(beta)[0]} ms · batch"
    ax.set_title(told, loc="left", fontsize=12, weight="bold", pad=24)
    name = "within rounding" if result.quality.dof == 0 else "95 %"
    ends = ", ".join(
        f"{word} {_interval(*_estimated(one)[1:])} ms" for word, one in (("alpha", alpha), ("beta", beta))
    )
    place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 8), "textcoords": "offset points"}
    ax.annotate(f"{name}: {ends}; {_counted(result)}", color=GREY, fontsize=9, **place)


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


def _measurements(result: FitResult) -> tuple[Any, Any, Any, Any]:
    """Batch, ms, residual in ms, steps behind each."""
    import numpy as np

    rows = result.residuals or [
        (point.batch, point.itl_ms, point.itl_ms - point.predicted_itl_ms, 1.0)
        for point in result.points
        if point.itl_ms is not None and point.predicted_itl_ms is not None
    ]
    batch, step, residual, steps = np.array(rows, dtype=np.float64).T
    return batch, step, residual, steps
