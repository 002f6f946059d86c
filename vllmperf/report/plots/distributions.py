"""Cumulative distributions of the metrics of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vllmperf.distribution import Distribution
from vllmperf.metrics.statistics import quantiles
from vllmperf.report.plots.figure import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 1001


def cumulative(found: Distribution, ax: Axes | None = None) -> Axes:
    """The share of samples up to each value, on `ax` or on a new figure. There must be samples."""
    ax = ax if ax is not None else new_axes(6, 3.6)
    levels = np.linspace(0, 1, LEVELS)
    ax.plot(quantiles(found.samples, levels.tolist()), levels)
    ax.set(xlabel=f"{found.metric.short}, ms", ylabel="share of samples up to it", ylim=(0, 1.01))
    ax.set_title(f"{found.metric.label}, n = {found.n:,}")
    ax.grid(alpha=0.3)
    return ax
