"""Cumulative distributions of the metrics of a run."""

from typing import TYPE_CHECKING

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.statistics import NS_PER_MS, quantiles
from vllmperf.metrics.view import Completed
from vllmperf.record.reader import Recording
from vllmperf.report.plots.figure import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 1001


class Plots:
    """Each method draws one metric on `ax`, or on a new figure, and gives the matplotlib Axes.

    Raises UsageError when matplotlib is missing or the run has no samples of the metric.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def ttft(self, ax: "Axes | None" = None) -> "Axes":
        """Time to first token."""
        return self.cdf("ttft", ax)

    def itl(self, ax: "Axes | None" = None) -> "Axes":
        """Gaps between token chunks."""
        return self.cdf("itl", ax)

    def tpot(self, ax: "Axes | None" = None) -> "Axes":
        """Time per output token, one value a request."""
        return self.cdf("tpot", ax)

    def e2el(self, ax: "Axes | None" = None) -> "Axes":
        """End-to-end latency."""
        return self.cdf("e2el", ax)

    def cdf(self, name: str, ax: "Axes | None" = None) -> "Axes":
        """The share of samples up to each value of a metric, by its name ("ttft", "itl", …)."""
        if name not in BY_NAME:
            raise UsageError(f"there is no metric {name!r}: choose from {', '.join(BY_NAME)}")
        samples = BY_NAME[name].all_samples(Completed(self._recording))
        if len(samples) == 0:
            raise UsageError(f"this run has no samples of {name}: it needs {BY_NAME[name].needs}")
        ax = ax if ax is not None else new_axes(6, 3.6)
        levels = np.linspace(0, 1, LEVELS)
        values = np.array(quantiles(samples, levels.tolist()), dtype=np.float64) / NS_PER_MS
        ax.plot(values, levels)
        ax.set(xlabel=f"{BY_NAME[name].short}, ms", ylabel="share of samples up to it", ylim=(0, 1.01))
        ax.set_title(f"{BY_NAME[name].label}, n = {len(samples):,}")
        ax.grid(alpha=0.3)
        return ax
