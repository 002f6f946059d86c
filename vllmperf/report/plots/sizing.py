"""The picture of a sizing: latencies against the rate of one replica, its goals, and the rate that it carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.report.plots import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vllmperf.model.sizing import Sizing

COLOURS = {"ttft": "#2b5c8a", "tpot": "#2a7f62"}
BLUE, RED = "#2b5c8a", "#c0392b"
DASHES = (0, (5, 3))


def plot(result: Sizing, path: Path) -> None:
    """Write the picture to a file. Needs matplotlib (the extra `plots`); raises UsageError without it."""
    drawn = figure.styled(lambda: axes(result)).get_figure(root=True)
    assert drawn is not None
    figure.save(drawn, path)


def axes(result: Sizing, ax: Axes | None = None) -> Axes:
    """TTFT and TPOT of a replica, as its goals take them (mean or percentile), on `ax` or on a new figure."""
    ax = ax if ax is not None else figure.new_axes(7, 4.2)
    points = result.curve()
    limits = dict(result.goals.limits)
    for metric, colour in COLOURS.items():
        percentile = result.goals.percentile_of(metric)
        name = f"{metric.upper()}, {'mean' if percentile is None else f'p{percentile:g}'}"
        rates = [point.rate_per_s for point in points]
        ax.plot(rates, [point.value(metric, percentile) for point in points], color=colour, label=name)
        if metric in limits:
            ax.axhline(
                limits[metric], color=colour, linestyle=DASHES, linewidth=1, label=f"goal of {metric.upper()}"
            )
    ax.axvline(result.max_rate_per_s, color=RED, linewidth=1.3, label="largest rate, 95 %")
    ax.axvspan(result.low, result.high, color=RED, alpha=0.2, linewidth=0)
    ax.set(xlabel="requests/s of one replica", ylabel="ms", yscale="log")
    ax.set_xlim(left=0)
    ax.set_title(f"{result.max_rate_per_s:.4g} requests/s, limited by {result.limited_by}", loc="left")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(frameon=False, fontsize=8)
    return ax
