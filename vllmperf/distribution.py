"""How one metric of a run is distributed."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vllmperf import shown
from vllmperf.errors import UsageError
from vllmperf.metrics import ci95
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.entry import Metric
from vllmperf.metrics.intervals import Interval
from vllmperf.metrics.percentiles import percentile
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed
from vllmperf.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENTILE = re.compile(r"p(\d{1,3}(?:_\d+)?)")


class Distribution:
    """One metric of a run, in ms: `run.ttft.mean`, `run.itl.p99`, `run.e2el.percentile(99.95)`.

    n is the number of samples; mean, std (of the population), min, max and p0 to p100 (`p99_9` is the 99.9th percentile)
    are floats, NaN when there are no samples. samples gives all of them.
    """

    def __init__(self, metric: Metric, done: Completed) -> None:
        self.metric, self._done = metric, done

    @cached_property
    def samples(self) -> NDArray[np.floating[Any]]:
        """All values in ms."""
        values = self.metric.all_samples(self._done)
        return values / values.dtype.type(NS_PER_MS)

    @property
    def n(self) -> int:
        return len(self.samples)

    @property
    def mean(self) -> float:
        return float(self.samples.mean(dtype=np.float64)) if self.n else np.nan

    @property
    def std(self) -> float:
        return float(self.samples.std(dtype=np.float64)) if self.n else np.nan

    @property
    def min(self) -> float:
        return float(self.samples.min()) if self.n else np.nan

    @property
    def max(self) -> float:
        return float(self.samples.max()) if self.n else np.nan

    def percentile(self, q: float) -> float:
        """The q-th percentile (0 to 100) by NumPy's default rule."""
        return percentile(self.samples, q)

    def interval(self, of: float | str = "mean") -> Interval:
        """The 95 % interval of the mean, or of a percentile (99, "p99"), in ms. Where the run cannot carry one, low and high are
        None and `needed` says how many requests would do."""
        q = of if isinstance(of, int | float) else _percentile(of)
        if q is not None and not 0 <= q <= 100:
            raise ValueError(f"percentiles lie within 0 and 100 (got {q:g})")
        return ci95.interval(self.metric, self._done, q)

    def ci95(self, of: float | str = "mean") -> tuple[float, float] | None:
        """The same as (low, high); None where the run cannot carry it: `run.ttft.ci95("p99")`."""
        found = self.interval(of)
        return None if found.low is None or found.high is None else (found.low, found.high)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The share of samples up to each value, on `ax` or on a new figure.

        Raises UsageError when matplotlib is missing or there are no samples.
        """
        if not self.n:
            raise UsageError(f"this run has no samples of {self.metric.name}: it needs {self.metric.needs}")
        return shown.views().axes(self, ax)

    def __getattr__(self, name: str) -> float:
        if match := PERCENTILE.fullmatch(name):
            q = float(match[1].replace("_", "."))
            if q <= 100:
                return self.percentile(q)
        raise AttributeError(
            f"{name!r} is no statistic: there are n, mean, std, min, max and p0 to p100 (p99_9)"
        )

    def __repr__(self) -> str:
        if not self.n:
            return f"{self.metric.short}: no samples (needs {self.metric.needs})"
        shown = ", ".join(f"{name} {number(getattr(self, name))}" for name in ("mean", "p50", "p99", "max"))
        return f"{self.metric.short}, {self.metric.unit}: {shown} (n = {self.n:,})"


def _percentile(name: str) -> float | None:
    """The number of "p99.9" or "p99_9"; None for "mean"."""
    if match := PERCENTILE.fullmatch(name.replace(".", "_")):
        return float(match[1].replace("_", "."))
    if name != "mean":
        raise ValueError(f"{name!r} has no interval: mean and p0 to p100 have one (p99.9)")
    return None


class Plots:
    """Each method draws one metric of a run on `ax`, or on a new figure, and gives the matplotlib Axes.

    Raises UsageError when matplotlib is missing or the run has no samples of the metric.
    """

    def __init__(self, done: Completed) -> None:
        self._done = done

    def ttft(self, ax: Axes | None = None) -> Axes:
        """Time to first token."""
        return self.cdf("ttft", ax)

    def itl(self, ax: Axes | None = None) -> Axes:
        """Gaps between token chunks."""
        return self.cdf("itl", ax)

    def tpot(self, ax: Axes | None = None) -> Axes:
        """Time per output token, one value a request."""
        return self.cdf("tpot", ax)

    def e2el(self, ax: Axes | None = None) -> Axes:
        """End-to-end latency."""
        return self.cdf("e2el", ax)

    def cdf(self, name: str, ax: Axes | None = None) -> Axes:
        """The share of samples up to each value of a metric, by its name ("ttft", "itl", …)."""
        if name not in BY_NAME:
            raise UsageError(f"there is no metric {name!r}: choose from {', '.join(BY_NAME)}")
        return Distribution(BY_NAME[name], self._done).plot(ax)
