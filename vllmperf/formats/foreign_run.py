"""A run as a file of another tool tells it: figures without the requests behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from vllmperf.errors import UsageError
from vllmperf.metrics.checked import of_run
from vllmperf.metrics.definitions import BY_NAME, FIGURES, METRICS
from vllmperf.metrics.entries import Entries
from vllmperf.metrics.statistics import Row
from vllmperf.metrics.summary import SUMMARY_SCHEMA, Summary
from vllmperf.numbers import measured
from vllmperf.plan import Plan
from vllmperf.record.reader import Recording
from vllmperf.run import Run

Metrics = Mapping[str, Row | None]


class Stated:
    """A metric by its statistics alone: mean, p50, p99_9 … in ms, None where the file does not say."""

    def __init__(self, row: Row | None) -> None:
        self._row = row or {}

    def __getattr__(self, name: str) -> float | None:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._row.get(name.replace("_", "."))

    def __repr__(self) -> str:
        return f"Stated({self._row})"


def _measured(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Without NaN, infinity and text where figures belong; nobody counted such requests."""
    rows = {metric.key: None for metric in METRICS} | dict(stated["metrics"])
    found = {**stated, "metrics": {key: _known(row) for key, row in rows.items()}}
    for path in (figure.path for figure in FIGURES):
        part = found.get(path[0])
        value = part.get(path[1]) if len(path) > 1 and isinstance(part, Mapping) else part
        if value is None or measured(value) is not None:
            continue
        none = 0 if path[0] == "requests" else None
        found[path[0]] = none if len(path) == 1 or not isinstance(part, Mapping) else {**part, path[1]: none}
    return found


def _known(row: object) -> Row | None:
    """A metric's row with what is known of it."""
    if not isinstance(row, Mapping):
        return None
    found = {
        name: value
        for name, value in row.items()
        if not isinstance(value, str | bool | int | float) or measured(value) is not None
    }
    return cast(Row, found) if "mean" in found else None


class ForeignRun(Run):
    """`summary` has what the file says and None for the rest; there are no requests. stated: the same with figures that are no
    numbers, as they stand there.

    tool: who wrote the file. line: where in it the table begins. rounding: by how much a figure may be off, as it was printed,
    by its path in the summary. remarks: what the reader noticed. entries: the single
    requests that the file lists. Raises UsageError when single requests are asked for.
    """

    has_requests = False

    def __init__(
        self,
        path: Path,
        tool: str,
        summary: Mapping[str, Any],
        *,
        line: int | None = None,
        rounding: Mapping[str, float] | None = None,
        remarks: Sequence[str] = (),
        entries: Entries | None = None,
    ) -> None:
        self.path, self.tool, self._keep_alive = path, tool, None
        self.line, self.rounding, self.remarks, self.entries = line, rounding or {}, remarks, entries
        self.stated = summary

    @cached_property
    def summary(self) -> Summary:
        return cast(Summary, _measured(self.stated))

    def summarize(self, percentiles: Iterable[float]) -> Summary:  # noqa: ARG002
        """The same: a file of figures has no further percentiles."""
        return self.summary

    @property
    def untrimmed(self) -> ForeignRun:
        """The same: what a file does not tell of single requests stays as it is."""
        return self

    @property
    def plan(self) -> Plan:
        raise UsageError(f"{self.path} is of {self.tool} and does not hold a whole plan")

    @cached_property
    def recording(self) -> Recording:
        raise UsageError(f"{self.path} ({self.tool}) holds no single requests: give a run file for that")

    def _warnings(self) -> Iterator[str]:
        for one in of_run(self.stated, self.rounding, self.remarks, self.entries):
            if one.status in ("broken", "doubt"):
                sides = f": {one.left} against {one.right}: {one.meaning}" if one.left else ""
                yield f"{one.statement}{sides}"

    def __getattr__(self, name: str) -> Any:
        if name not in BY_NAME:
            raise AttributeError(name)
        return Stated(self.summary["metrics"].get(BY_NAME[name].key))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "tool": self.tool, "summary": self.stated}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["tool"], state["summary"])  # type: ignore[misc]


def summary_of(
    tool: str,
    figures: Mapping[str, float | int | None],
    metrics: Metrics,
    plan: Mapping[str, object],
    started_at: str | None = None,
) -> dict[str, Any]:
    """A summary with these figures (by the names of metrics.definitions.FIGURES) and metrics (by key), None for the rest."""
    completed, failed = figures.get("requests.completed"), figures.get("requests.not_completed") or 0
    done, failed = _count(completed), _count(failed)
    outcomes = {"completed": done, **({"failed": failed} if failed else {})}
    failure = {
        "outcome": "failed",
        "status": None,
        "count": failed,
        "kinds": 1,
        "sample": None,
        "hint": None,
    }
    found: dict[str, Any] = {
        "schema": SUMMARY_SCHEMA,
        "tool": {"name": tool},
        "profile": tool,
        "started_at": started_at,
        "duration_s": None,
        "plan": {name: value for name, value in plan.items() if value is not None},
        "environment": {},
        "state": "finished",
        "breaks": [],
        "power": None,
        "drift": None,
        "open_loop": False,
        "requests": {
            "asked": None,
            "sent": None,
            "completed": done,
            "not_completed": failed,
            "outcomes": outcomes,
            "samples": {},
            "failures": [failure] if failed else [],
        },
        "tokens": {"prompt": None, "cached": None, "output": None, "source": None, "sources": {}},
        "throughput": {},
        "in_flight": {"asked": plan.get("max_concurrency"), "mean": None, "max": None, "mean_sending": None},
        "metrics": {metric.key: metrics.get(metric.key) for metric in METRICS},
        "gaps": {"kept": None, "requests": 0, "n": 0, "shared": 0, "shared_share": None, "percentiles": None},
        "answers": {},
        "goodput": _goodput(figures),
        "client": dict.fromkeys(CLIENT),
        "machine": None,
        "server": None,
        "growth": None,
        "still_faster": None,
        "identities": {},
        "trim": None,
        "verdict": {"level": "unknown", "reasons": []},
    }
    for figure in FIGURES:
        _place(found, figure.path, figures.get(figure.name))
    return found


def _count(value: float | int | None) -> int:
    """0 for what is no number: check looks at what stands in the file."""
    known = measured(value)
    return 0 if known is None else int(known)


def _goodput(figures: Mapping[str, float | int | None]) -> dict[str, Any] | None:
    """Of a file that says how many requests a second met objectives, which it does not name."""
    rate = figures.get("goodput.requests_per_s")
    return None if rate is None else {"objectives_ms": {}, "met": None, "share": None, "requests_per_s": rate}


CLIENT = (
    *("schedule_lag_ms", "client_lag_ms", "loop_ms", "coalesced_share", "connect_ms", "connections_opened"),
    *("connections_ahead", "silent_retries", "lost_results", "cpu_s", "threads", "by_thread"),
    "machine_adds",
)


def _place(found: dict[str, Any], path: tuple[str, ...], value: float | int | None) -> None:
    part: Any = found
    for name in path[:-1]:
        part = part.get(name)
        if part is None:
            return
    if value is not None or path[-1] not in part:
        part[path[-1]] = value


def row(n: float | int | None, mean: float | None, **more: float | None) -> Row | None:
    """A metric's row from what a file says; None where it has no mean."""
    if mean is None:
        return None
    more = {"mean": mean, **more}
    named = {name.replace("_", "."): value for name, value in more.items()}
    return {
        **({"n": n} if n is not None else {}),
        **{name: _as_float(value) for name, value in named.items() if value is not None},
    }


def _as_float(value: Any) -> Any:
    """Of a number; what is none stays, for check to look at."""
    return float(value) if measured(value) is not None else value


def scaled(value: Any, scale: float) -> Any:
    """A figure in another unit; what is no number stays, for check to look at."""
    return value * scale if measured(value) is not None else value


def product(each: Any, count: Any) -> float | int | None:
    """How many there are in all, from the mean; None where either is not known, NaN where either is no number."""
    if each is None or count is None:
        return None
    return round(each * count) if measured(each) is not None and measured(count) is not None else math.nan


def part(data: object, name: str) -> Mapping[str, Any]:
    """An object within another one; an empty one where it is missing, or is no object."""
    found = data.get(name) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else {}
