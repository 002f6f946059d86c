"""Plots by matplotlib, which is an extra: cumulative distributions of the metrics of a run."""

from typing import Any

import numpy as np

from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.statistics import NS_PER_MS, quantiles
from vllmperf.metrics.view import Completed
from vllmperf.record.reader import Recording

LEVELS = 1001


class Plots:
    """Each method draws one metric on `ax`, or on a new figure, and gives the matplotlib Axes.

    Raises UsageError when matplotlib is missing or the run has no samples of the metric.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def ttft(self, ax: Any = None) -> Any:
        """Time to first token."""
        return self.cdf("ttft", ax)

    def itl(self, ax: Any = None) -> Any:
        """Gaps between token chunks."""
        return self.cdf("itl", ax)

    def tpot(self, ax: Any = None) -> Any:
        """Time per output token, one value a request."""
        return self.cdf("tpot", ax)

    def e2el(self, ax: Any = None) -> Any:
        """End-to-end latency."""
        return self.cdf("e2el", ax)

    def cdf(self, name: str, ax: Any = None) -> Any:
        """The share of samples up to each value of a metric, by its name ("ttft", "itl", …)."""
        if name not in BY_NAME:
            raise UsageError(f"there is no metric {name!r}: choose from {', '.join(BY_NAME)}")
        samples = BY_NAME[name].all_samples(Completed(self._recording))
        if len(samples) == 0:
            raise UsageError(f"this run has no samples of {name}: it needs {BY_NAME[name].needs}")
        ax = ax if ax is not None else _new_axes()
        levels = np.linspace(0, 1, LEVELS)
        values = np.array(quantiles(samples, levels.tolist()), dtype=np.float64) / NS_PER_MS
        ax.plot(values, levels)
        ax.set(xlabel=f"{BY_NAME[name].short}, ms", ylabel="share of samples up to it", ylim=(0, 1.01))
        ax.set_title(f"{BY_NAME[name].label}, n = {len(samples):,}")
        ax.grid(alpha=0.3)
        return ax


def _new_axes() -> Any:
    return new_figure(figsize=(6, 3.6), layout="constrained").subplots()


def new_figure(**more: Any) -> Any:
    """A figure of its own, which no backend and no pyplot knows of: it shows itself in a notebook, and savefig writes it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'vllmperf[plots]'") from None
    figure = Figure(**more)
    FigureCanvasAgg(figure)
    return figure
