"""The picture of a search for the capacity: latencies and goodput against the rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.report.capacity import answer, slo
from vllmperf.report.plots import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vllmperf.model.capacity import Capacity, Step

COLOURS = {"pass": "#2a7f62", "fail": "#c0392b"}
BLUE, GREY, RED = "#2b5c8a", "#7b818c", "#c0392b"
DASHES = (0, (5, 3))
SMALLEST, LARGEST = 18.0, 150.0
"""Area of a point, in square points: it grows with the step's requests."""


def plot(result: Capacity, path: Path) -> None:
    """Write the picture to a file. Needs matplotlib (the extra `plots`); raises UsageError without it."""
    figure.save(figure.styled(lambda: picture(result)), path)


def picture(result: Capacity) -> figure.Picture:
    """One point a step, green when its requests met the SLO, hollow when they are too few to be sure, as large
    as it had requests, at the time within which the share of the
    SLO lies, with a stroke from the mean; the law's curves with their knee, the limits, the capacity with its interval."""
    whole, panels = figure.new_panels(8, 8.4, (3, 2, 2))
    draw(result, *panels)
    whole.suptitle(answer(result).rstrip("."), x=0.125, y=0.95, ha="left", fontsize=12, weight="bold")
    _legend(whole, result)
    whole.align_ylabels(panels)
    return whole


def axes(result: Capacity, ax: Axes | None = None) -> Axes:
    """The share of requests that keep the SLO on `ax`; without one, that panel of the picture."""
    if ax is None:
        return picture(result).axes[-1]
    _draw_kept(result, ax)
    ax.set_title(slo(result), loc="left", color=GREY, fontsize=9, pad=10)
    return ax


def draw(result: Capacity, ttft: Axes, tpot: Axes, kept: Axes) -> None:
    """The three panels on axes of yours."""
    limits, share = result.limits, f"{100 * result.limits.share:g} %"
    _panel(ttft, result, f"TTFT, ms\n{share} and mean", limits.ttft_ms, "ttft_of_share_ms", "ttft_ms")
    _panel(tpot, result, f"TPOT, ms\n{share} and mean", limits.tpot_ms, "tpot_of_share_ms", "tpot_ms")
    _draw_kept(result, kept)
    _ttft_axis(ttft)
    ttft.set_title(slo(result), loc="left", color=GREY, fontsize=9, pad=10)


def _draw_kept(result: Capacity, ax: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    _panel(ax, result, "requests that\nkeep the SLO", result.limits.share, "goodput")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("requests/s, Poisson arrivals")
    ax.set_xlim(left=0)


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
        ax.axvline(result.rate_per_s, color=COLOURS["pass"], linewidth=1.4)
    if result.estimate_per_s is not None and not result.at_least:
        ax.axvline(result.estimate_per_s, color=BLUE, linewidth=1.0, linestyle=DASHES)
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


def kind(step: Step) -> str:
    """How it is drawn: by its verdict, and where that is unclear, by whether its own requests met the SLO; then hollow."""
    return step.answer.verdict if step.answer.verdict != "unclear" else "pass" if step.met else "fail"


def _mark(ax: Any, step: Step, value: float | None, mean: float | None, size: float) -> None:
    if value is None:
        return
    colour, sure = COLOURS[kind(step)], step.answer.verdict != "unclear"
    if mean is not None:
        ax.vlines(step.rate_per_s, mean, value, color=colour, linewidth=1, alpha=0.7, zorder=2)
    area = SMALLEST + (LARGEST - SMALLEST) * size
    face, edge = (colour, "white") if sure else ("white", colour)
    ax.scatter(step.rate_per_s, value, s=area, facecolor=face, edgecolor=edge, linewidth=1.2, zorder=3)


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

    dot: dict[str, Any] = {"marker": "o", "linestyle": ""}
    names = {"pass": "met the SLO", "fail": "did not"}
    marks: list[Any] = [
        Line2D([], [], color=COLOURS[name], label=names[name], **dot)
        for name in COLOURS
        if any(kind(step) == name for step in result.steps)
    ]
    if any(step.answer.verdict == "unclear" for step in result.steps):
        marks.append(Line2D([], [], color=GREY, markerfacecolor="white", label="hollow: not sure", **dot))
    marks.append(Line2D([], [], color=RED, linestyle=DASHES, linewidth=1.1, label="SLO"))
    if result.curve:
        marks.append(Line2D([], [], color=GREY, linewidth=1.5, label="by the step law"))
        marks.append(Line2D([], [], color=GREY, linewidth=1.5, linestyle=":", label="its mean"))
    if result.rate_per_s is not None:
        marks.append(Line2D([], [], color=COLOURS["pass"], linewidth=1.4, label="carried"))
    if result.estimate_per_s is not None and not result.at_least:
        marks.append(Patch(facecolor=BLUE, alpha=0.4, label="estimate, 95 %"))
    figure.legend(
        handles=marks,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        frameon=False,
        ncols=min(len(marks), 5),
        fontsize=8,
    )
