"""A recorded run: its plan, summary, metrics and requests, computed from the run file. Knows nothing of how it looks."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vllmperf import temporary
from vllmperf.distribution import Distribution, Plots
from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.entry import Metric
from vllmperf.metrics.requests import requests
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.summary import Summary, summary_of
from vllmperf.metrics.trim import view
from vllmperf.metrics.view import Completed
from vllmperf.numbers import NOTHING, number, plural
from vllmperf.record.plans import plan_of
from vllmperf.record.reader import Recording, check, read
from vllmperf.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

    from vllmperf.comparison.comparison import Comparison
    from vllmperf.comparison.figures import Figures
    from vllmperf.metrics.explanation import Explained
    from vllmperf.plan import Plan

SHOWN = ("ttft", "tpot", "e2el")


def open_run(path: Path | str, *, trim: bool = True) -> Run:
    """The run in a run file; trim=False: with its warm-up and drain. Raises UsageError when there is none, or it is no run file.

    >>> open_run("/nope")
    Traceback (most recent call last):
    vllmperf.errors.UsageError: there is no run file /nope: check the name, runs are written by `vllmperf bench --record FILE`
    """
    return Run(path, trim=trim)


class Folder:
    """A temporary folder that goes when nobody holds this any more."""

    def __init__(self) -> None:
        self._path = tempfile.mkdtemp(prefix="vllmperf-", dir=temporary.folder())
        weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)

    def __str__(self) -> str:
        return self._path


class Run(Shown):
    """A run file and what is computed from it, when it is asked for.

    Every metric of docs/metrics.md is an attribute that gives its Distribution: `run.ttft.p99`, `run.itl.mean`.

    >>> import vllmperf
    >>> run = vllmperf.bench(sim={"ttft_ms": 5, "itl_ms": 1}, num_prompts=8, concurrency=2, input_len=4, output_len=5)
    >>> run.ttft.n, run.ttft.p99 >= 5
    (8, True)
    >>> int(run.requests["output_tokens"].sum())
    40
    >>> run.summary["requests"]["outcomes"]
    {'completed': 8}

    path: the run file; save() copies it to a better place. keep_alive: what must not go before the Run. trim: figures are
    without the warm-up and the drain (docs/warm_up.md); `untrimmed` is the same run with them.
    Raises UsageError when there is no file, or it is no run file.
    """

    has_requests = True
    """False of a run that a foreign file tells: it has figures alone."""

    def __init__(self, path: Path | str, keep_alive: object = None, trim: bool = True) -> None:
        self.path, self.is_trimmed = Path(path), trim
        check(self.path)
        self._keep_alive = keep_alive  # such as the temporary folder that the file is in

    @cached_property
    def recording(self) -> Recording:
        """Everything that was recorded, as arrays."""
        return read(self.path)

    @property
    def plan(self) -> Plan:
        """What the run was to do; bench(run.plan) does it again. Raises UsageError for a plan that is not there in whole, as
        in files of drop-ins. `summary["plan"]` has what there is, by name."""
        return plan_of(self.recording.meta)

    @cached_property
    def summary(self) -> Summary:
        """All figures as plain values; what was not measured is None. docs/metrics.md defines each."""
        return summary_of(self.done)

    def summarize(self, percentiles: Iterable[float]) -> Summary:
        """The summary with more percentiles (0 to 100)."""
        wanted = list(percentiles)
        return summary_of(self.done, wanted) if wanted else self.summary

    def to_dict(self) -> dict[str, object]:
        """The summary as a plain dictionary that json.dumps takes."""
        return dict(self.summary)

    @cached_property
    def done(self) -> Completed:
        """The completed requests that count, as arrays of ns."""
        return view(self.recording, self.is_trimmed)

    @property
    def untrimmed(self) -> Run:
        """The same run with its warm-up and drain."""
        if not self.is_trimmed:
            return self
        whole = Run(self.path, self._keep_alive, trim=False)
        whole.recording = self.recording
        return whole

    def __getattr__(self, name: str) -> Distribution:
        if name not in BY_NAME:
            raise AttributeError(f"a Run has no attribute {name!r}; its metrics are {', '.join(BY_NAME)}")
        return Distribution(BY_NAME[name], self.done)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *BY_NAME})

    @cached_property
    def requests(self) -> NDArray[np.void]:
        """One row a request, sorted by number: a structured NumPy array of the recorded fields (units in their names, NaN
        for what did not happen) and of each request's metrics in ms, such as `run.requests["ttft_ms"]`. All requests are in it;
        left_out is 1 for those of the warm-up, which are in no other figure."""
        return requests(self.done)

    def frame(self) -> pd.DataFrame:
        """The same as a pandas DataFrame, indexed by the request's number, with the error of each. Needs pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise UsageError("frame() needs pandas: pip install 'vllmperf[plots]'") from None
        table = pd.DataFrame({name: self.requests[name] for name in self.requests.dtype.names or ()})
        return table.assign(error=list(self.recording.errors)).set_index("index")

    @property
    def gaps(self) -> NDArray[np.float32]:
        """Gaps between token chunks in ms, all completed requests that count after one another."""
        return self.done.gaps_ns / np.float32(NS_PER_MS)

    def explain(self) -> list[Explained]:
        """Each doubt of the verdict and each odd pattern (docs/explain.md): what was seen, the likely causes in order, what tells
        them apart, and commands to run next. Empty for an ordinary run."""
        from vllmperf.metrics.explanation import explain

        return explain(self.done, self.summary)

    def compare(self, other: Run) -> Comparison:
        """This run's figures beside those of another one, with the change."""
        from vllmperf.comparison.comparison import Comparison
        from vllmperf.comparison.figures import short_names

        names = short_names([str(self.path), str(other.path)])
        return Comparison(self.figures(names[0]), other.figures(names[1]))

    def figures(self, name: str) -> Figures:
        """What a comparison takes of it, under this name."""
        from vllmperf.comparison.figures import figures_of_summary

        found = figures_of_summary(self.summary, name, self.done if self.has_requests else None)
        return replace(found, warnings=tuple(self._warnings()))

    def _warnings(self) -> Iterator[str]:
        verdict = self.summary["verdict"]
        if found := verdict.get("findings"):
            names = ", ".join(finding["name"] for finding in found)
            yield f"its verdict is {verdict['level']}: {names} (vllmperf explain {self.path.name})"

    @property
    def plot(self) -> Plots:
        """plot.ttft(), plot.itl(ax=ax), …: cumulative distributions, drawn by matplotlib."""
        return Plots(self.done)

    def save(self, path: Path | str) -> Path:
        """Copy the run file to path. UsageError when something is there already."""
        path = Path(path)
        if path.exists() and path.resolve() != self.path.resolve():
            raise UsageError(f"{path} exists already: choose another name or remove it")
        if not path.exists():
            shutil.copyfile(self.path, path)
        return path

    # ---- as it travels and looks ----

    def __getstate__(self) -> dict[str, Any]:
        """The path, or the file itself when it goes with this object."""
        if self._keep_alive is None:
            return {"path": self.path.absolute(), "trim": self.is_trimmed}
        return {"path": self.path, "trim": self.is_trimmed, "file": self.path.read_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        path, folder = state["path"], None
        if "file" in state:
            folder = Folder()
            path = Path(str(folder)) / path.name
            path.write_bytes(state["file"])
        self.__init__(path, folder, state["trim"])  # type: ignore[misc]

    def __repr__(self) -> str:
        """Run(a.vllmperf): 198 of 200 requests completed, 24.44 requests/s, TTFT p50 50.00 p99 50.00 ms, …, trusted"""
        summary = self.summary
        completed, ended = summary["requests"]["completed"], sum(summary["requests"]["outcomes"].values())
        parts = [
            f"{completed:,} of {plural(ended, 'request')} completed",
            f"{number(summary['throughput']['requests_per_s'])} requests/s",
            *(words for name in SHOWN if (words := _words(summary, BY_NAME[name]))),
            summary["verdict"]["level"],
        ]
        return f"Run({self.path.name}): {', '.join(parts)}"


def _words(summary: Summary, metric: Metric) -> str:
    row = summary["metrics"][metric.key]
    p50, p99 = (NOTHING if row is None else number(row[key]) for key in ("p50", "p99"))
    return f"{metric.short} p50 {p50} p99 {p99} {metric.unit}" if row else ""
