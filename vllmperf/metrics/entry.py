"""What an entry of the two tables of definitions.py says. No table here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vllmperf.metrics.gap_values import GapValues
    from vllmperf.metrics.statistics import Samples
    from vllmperf.metrics.view import Completed, Floats, Rows


class Metric(NamedTuple):
    """A time with many samples in a run.

    Either `of_request` gives one value for each request (ns, NaN where it has none), or `samples` gives all values of the
    completed requests (ns, empty where there are none).
    """

    name: str
    """For --percentile-metrics, --goodput, and as an attribute of a Run."""
    short: str
    """In a table."""
    label: str
    formula: str
    source: str
    needs: str
    of_request: Callable[[Rows], Floats] | None = None
    samples: Callable[[Completed], Samples] | None = None
    streamed: Callable[[Completed], GapValues | None] | None = None
    """Beside `samples`: gives the same in passes where they are too many to be held, else None."""
    is_shown: bool = False
    """A row of the table unless others are asked for."""
    is_scheduled: bool = False
    """Counts from the schedule, which a closed loop does not have."""
    profiles: tuple[str, ...] = ()
    """Profiles that have a metric of this name by a rule of their own."""
    vllm: bool = False
    """Stands under this name in vLLM's result file."""
    unit: str = "ms"

    @property
    def key(self) -> str:
        """In summary["metrics"] and as a column."""
        return f"{self.name}_{self.unit}"

    def all_samples(self, done: Completed) -> Samples:
        """All values of the completed requests in ns."""
        if self.samples is not None:
            return self.samples(done)
        assert self.of_request is not None
        values = self.of_request(done)
        known: Samples = values[values == values]  # without NaN
        return known

    def values(self, done: Completed) -> Samples | GapValues:
        """The same, without an array of them where they are more than statistics.EXACT_UP_TO gaps."""
        streamed = None if self.streamed is None else self.streamed(done)
        return self.all_samples(done) if streamed is None else streamed


class Figure(NamedTuple):
    """One number of a run; None where it was not measured. path: its keys in the summary."""

    path: tuple[str, ...]
    label: str
    unit: str
    formula: str
    needs: str
    compute: Callable[[Completed], float | int | None] | None = None
    """None: comes with the part of the summary that it stands in."""
    is_shown: bool = False
    """Among the throughput of the table, with `unit` behind it."""
    vllm: str | None = None
    """Its key in vLLM's result file."""
    profiles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def of(self, summary: Mapping[str, Any]) -> float | int | None:
        """Its value in a summary; None where its part is None or of an older version."""
        found: Any = summary
        for key in self.path:
            found = None if found is None else found.get(key)
        value: float | int | None = found
        return value
