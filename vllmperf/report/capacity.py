"""A search for the capacity as people read it: the answer, the steps behind it, a plot against the rate."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllmperf.model.capacity import Capacity, Step

METHODS = {
    "law": "by the server's step law, held against these very requests",
    "windows": "by a curve through the goodput of all windows",
    "steps": "no rate failed",
}


def text(result: Capacity, width: int = 100) -> str:
    """The answer and the table of steps as plain text."""
    file = io.StringIO()
    show(result, file, width)
    return file.getvalue()


def show(result: Capacity, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print the answer and the table of steps."""
    from rich.console import Console

    console = Console(file=file or sys.stdout, width=width, highlight=False)
    console.print(_answer(result), style="bold", markup=False)
    console.print(f"{_slo(result)}; {_how(result)}", markup=False)
    console.print(_steps(result))
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", markup=False)


def _answer(result: Capacity) -> str:
    if result.rate_per_s is None:
        return "The capacity is not known: no step was made."
    if result.at_least:
        return f"The server carries more than {result.rate_per_s:.4g} requests/s."
    low, high = _number(result.low), _number(result.high)
    return f"The server carries {result.rate_per_s:.4g} requests/s (95 %: {low} … {high})."


def _slo(result: Capacity) -> str:
    limits = result.limits
    parts = [f"TTFT ≤ {limits.ttft_ms:g} ms"] if limits.ttft_ms is not None else []
    parts += [f"ITL ≤ {limits.itl_ms:g} ms"] if limits.itl_ms is not None else []
    return f"{limits.share:.4g} of the requests with {' and '.join(parts)}"


def _how(result: Capacity) -> str:
    slots = f"; {result.max_num_seqs} sequences at once" if result.max_num_seqs else ""
    return f"{METHODS[result.method]}{slots}; {result.elapsed_s:.0f} s"


def _steps(result: Capacity) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("requests/s", "requests", "bad", "TTFT, ms", "ITL, ms", "s", "verdict"):
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for step in result.steps:
        table.add_row(
            f"{step.rate_per_s:.4g}",
            f"{step.answer.n:,}",
            "–" if step.answer.bad is None else f"{step.answer.bad:.2%}",
            _number(step.ttft_ms),
            _number(step.itl_ms),
            f"{step.elapsed_s:.0f}",
            _verdict(step),
        )
    return table


def _verdict(step: Step) -> str:
    lean = ""
    if step.answer.verdict == "unclear":
        lean = ", rather above" if step.above else ", rather below"
    return f"{step.answer.verdict}{lean}{', cut short' if step.cut_short else ''}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


COLOURS = {"pass": "#2a7f62", "fail": "#c0392b", "unclear": "#d68910"}
BLUE, GREY, RED = "#2b5c8a", "#7b818c", "#c0392b"
DASHES = (0, (5, 3))
SMALLEST, LARGEST = 18.0, 150.0
"""Area of a point, in square points: it grows with the step's requests."""


def plot(result: Capacity, path: Path) -> None:
    """Latencies and goodput against the rate: one point a step, in the colour of its verdict, as large as it had requests,
    at the time within which the share of the SLO lies, with a stroke from the mean; the law's curves with their knee, the
    limits, the capacity with its interval.

    Needs matplotlib (the extra `plots`).
    """
    import matplotlib as mpl

    mpl.use("Agg", force=False)
    import matplotlib.pyplot as plt

    limits, share = result.limits, f"{100 * result.limits.share:g} %"
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(3, 1, figsize=(8, 8.4), sharex=True, height_ratios=(3, 2, 2))
        _panel(axes[0], result, f"TTFT, ms\n{share} and mean", limits.ttft_ms, "ttft_of_share_ms", "ttft_ms")
        _panel(axes[1], result, f"ITL, ms\n{share} and mean", limits.itl_ms, "itl_of_share_ms", "itl_ms")
        _panel(axes[2], result, "requests that\nkeep the SLO", limits.share, "goodput")
        _ttft_axis(axes[0])
        axes[2].yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))
        axes[2].set_xlabel("requests/s, Poisson arrivals")
        axes[2].set_xlim(left=0)
        figure.suptitle(_answer(result).rstrip("."), x=0.125, y=0.95, ha="left", fontsize=12, weight="bold")
        axes[0].set_title(_slo(result), loc="left", color=GREY, fontsize=9, pad=10)
        _legend(figure, result)
        figure.align_ylabels(axes)
        figure.savefig(path, dpi=150, bbox_inches="tight")
        plt.close(figure)


def _value(step: Step, name: str) -> float | None:
    if name == "goodput":
        return None if step.answer.bad is None else 1 - step.answer.bad
    value: float | None = getattr(step, name)
    return value


def _panel(
    ax: Any, result: Capacity, label: str, limit: float | None, name: str, mean: str | None = None
) -> None:
    ax.set_ylabel(label)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    if result.rate_per_s is not None:
        ax.axvline(result.rate_per_s, color=BLUE, linewidth=1.4)
        if result.low is not None and result.high is not None:
            ax.axvspan(result.low, result.high, color=BLUE, alpha=0.15, linewidth=0)
    for one, style in ((name, "-"), (mean, ":")):
        curve = [(point.rate_per_s, getattr(point, one)) for point in result.curve] if one else []
        if curve and all(y is not None for _, y in curve):
            ax.plot(*zip(*curve, strict=True), color=GREY, linewidth=1.5, linestyle=style, zorder=2)
    if limit is not None:
        ax.axhline(limit, color=RED, linestyle=DASHES, linewidth=1.1)
    most = max((step.answer.n for step in result.steps), default=1)
    for step in result.steps:
        _mark(
            ax, step, _value(step, name), _value(step, mean) if mean else None, step.answer.n / max(most, 1)
        )


def _mark(ax: Any, step: Step, value: float | None, mean: float | None, size: float) -> None:
    if value is None:
        return
    colour = COLOURS[step.answer.verdict]
    if mean is not None:
        ax.vlines(step.rate_per_s, mean, value, color=colour, linewidth=1, alpha=0.7, zorder=2)
    area = SMALLEST + (LARGEST - SMALLEST) * size
    ax.scatter(
        step.rate_per_s, value, s=area, color=colour, alpha=0.85, linewidth=0.6, edgecolor="white", zorder=3
    )


def _ttft_axis(ax: Any) -> None:
    """Logarithmic, in plain numbers: the knee is a matter of decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Any, result: Capacity) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    verdicts = [name for name in COLOURS if any(step.answer.verdict == name for step in result.steps)]
    marks: list[Any] = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[name], label=name) for name in verdicts
    ]
    marks.append(Line2D([], [], color=RED, linestyle=DASHES, linewidth=1.1, label="SLO"))
    if result.curve:
        marks.append(Line2D([], [], color=GREY, linewidth=1.5, label="by the step law"))
        marks.append(Line2D([], [], color=GREY, linewidth=1.5, linestyle=":", label="its mean"))
    if result.rate_per_s is not None:
        name = "highest rate tried" if result.at_least else "capacity, 95 %"
        marks.append(Patch(facecolor=BLUE, alpha=0.4, label=name))
    figure.legend(
        handles=marks,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        frameon=False,
        ncols=len(marks),
        fontsize=8,
    )
