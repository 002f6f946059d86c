"""A recorded run in Python: its summary, its requests and gaps, its table and plots."""

import shutil
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.summary import summarize
from vllmperf.metrics.view import Completed
from vllmperf.record.reader import Recording, read
from vllmperf.report import console

if TYPE_CHECKING:
    from vllmperf.report.plot import Plots


class Run:
    """A run file, read when first asked for something.

    path: the run file; save() copies it to a better place. keep_alive: what must not go before the Run.
    Raises UsageError at the first use when the file cannot be read.
    """

    def __init__(self, path: Path | str, keep_alive: object = None) -> None:
        self.path = Path(path)
        self._keep_alive = keep_alive  # such as the temporary folder that the file is in

    @cached_property
    def recording(self) -> Recording:
        """Everything that was recorded, as arrays."""
        return read(self.path)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary: plain values, schema version first; what was not measured is None."""
        return summarize(self.recording)

    def summarize(self, percentiles: Iterable[float]) -> dict[str, Any]:
        """The summary with more percentiles (0 to 100)."""
        wanted = list(percentiles)
        return summarize(self.recording, wanted) if wanted else self.summary

    @cached_property
    def requests(self) -> Any:
        """One row a request, sorted by number: a pandas DataFrame with times in ns and metrics in ms, as in
        the CSV; without pandas the structured NumPy array of the recording."""
        from vllmperf.report.frame import frame

        try:
            return frame(self.recording)
        except ImportError:
            return self.recording.requests

    @cached_property
    def gaps(self) -> NDArray[np.float32]:
        """Gaps between token chunks in ms, all completed requests after one another."""
        return Completed(self.recording).gaps_ns / np.float32(NS_PER_MS)

    @property
    def plot(self) -> "Plots":
        """plot.ttft(), plot.itl(), …: cumulative distributions, drawn by matplotlib."""
        from vllmperf.report.plot import Plots

        return Plots(self.recording)

    def table(
        self,
        percentile_metrics: Sequence[str] | None = None,
        metric_percentiles: Sequence[float] | None = None,
    ) -> str:
        """The report as plain text of 80 columns."""
        summary = self.summarize(metric_percentiles) if metric_percentiles else self.summary
        return console.table(summary, percentile_metrics, metric_percentiles)

    def html(self) -> str:
        """The report as a self-contained fragment of HTML."""
        from vllmperf.report import html, svg

        done = Completed(self.recording)
        titles = {"ttft": "TTFT, ms", "itl": "ITL, ms"}
        plots = [svg.cdf(title, BY_NAME[name].samples(done)) for name, title in titles.items()]
        return html.fragment(self.summary, plots)

    def save(self, path: Path | str) -> Path:
        """Copy the run file to path. UsageError when something is there already."""
        path = Path(path)
        if path.exists() and path.resolve() != self.path.resolve():
            raise UsageError(f"{path} exists already: choose another name or remove it")
        if not path.exists():
            shutil.copyfile(self.path, path)
        return path

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"
