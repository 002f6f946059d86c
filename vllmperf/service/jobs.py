"""A run as the service knows it: what was asked for, how far it is, what it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vllmperf.service.rows import Rows

QUEUED, WAITING, RUNNING = "queued", "waiting", "running"
FINISHED, FAILED, CANCELLED, INTERRUPTED = "finished", "failed", "cancelled", "interrupted"
ENDED = (FINISHED, FAILED, CANCELLED, INTERRUPTED)
SPECS = "benchmarkSpecs"
MOST_SPARKS = 60
SHORT_S = 0.5
"""The last row of a run may be of a few ms: its rate tells nothing."""


class Spark:
    """At most MOST_SPARKS numbers that tell a run's throughput from its start on: means of ever longer stretches."""

    def __init__(self, values: Sequence[float] = (), every: int = 1) -> None:
        self.values, self.every = list(values), every
        self._open: list[float] = []

    def add(self, value: float) -> None:
        self._open.append(value)
        if len(self._open) < self.every:
            return
        self.values.append(round(sum(self._open) / len(self._open), 3))
        self._open.clear()
        if len(self.values) == MOST_SPARKS:
            self.values = [(a + b) / 2 for a, b in zip(self.values[::2], self.values[1::2], strict=True)]
            self.every *= 2


@dataclass
class Job:
    """One run. What job.json holds never changes; what state.json holds does; the rest is gone with the service.

    starts: how often a worker began it. resumes: the service goes on with it when it starts again.
    """

    # job.json
    id: str
    kind: str
    request: Mapping[str, Any]
    created_at: str
    label: str | None = None
    target: str = ""
    asked: int | None = None
    duration_s: float | None = None
    model: str | None = None
    key: str | None = None
    digest: str = ""
    # state.json
    phase: str = QUEUED
    note: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    done: int = 0
    progress: float | None = None
    time_left_s: float | None = None
    verdict: Mapping[str, Any] | None = None
    headline: Mapping[str, Any] | None = None
    error: str | None = None
    exit_code: int | None = None
    result: str | None = None
    starts: int = 0
    resumes: bool = False
    spark: Spark = field(default_factory=Spark)
    # memory
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    intervals: Rows = field(default_factory=Rows, repr=False)
    histograms: Mapping[str, Any] | None = field(default=None, repr=False)
    power: Mapping[str, Any] | None = None
    is_cancelled: bool = False

    @property
    def has_ended(self) -> bool:
        return self.phase in ENDED

    @property
    def goes_on(self) -> bool:
        """It was interrupted, and is not over."""
        return self.phase == INTERRUPTED and self.resumes

    @property
    def is_of_specs(self) -> bool:
        """A values file asked for it: a service that starts again must know that it was done."""
        return self.key is not None and self.key.startswith(f"{SPECS}[")

    @property
    def is_active(self) -> bool:
        """A worker is at it."""
        return self.phase in (WAITING, RUNNING)

    def view(self) -> dict[str, Any]:
        """The run as GET /runs shows it."""
        return {
            **{name: getattr(self, name) for name in SHOWN},
            "spark": self.spark.values,
        }

    def what(self) -> str:
        """In a few words, for the log and /readyz."""
        parts = (self.kind, self.label, f"{self.asked} prompts" if self.asked else None, f"to {self.target}")
        return f"{self.id} ({', '.join(part for part in parts if part)})"

    # ---- what a worker says ----

    def take(self, event: Mapping[str, Any]) -> None:
        """Take a line of the worker over."""
        kind = event.get("event")
        if kind == "phase":
            self.phase, self.note = str(event["phase"]), str(event.get("note") or "")
        elif kind == "interval":
            row = {name: value for name, value in event.items() if name != "event"}
            self.intervals.add(row)
            if not self.spark.values or row["end_s"] - row["start_s"] > SHORT_S:
                self.spark.add(float(row.get("output_tokens_per_s") or 0.0))
        elif kind == "progress":
            self._go_on(event)
        elif kind == "histograms":
            self.histograms = {name: value for name, value in event.items() if name != "event"}
        elif kind == "power":
            self.power = {name: value for name, value in event.items() if name != "event"}
        elif kind == "end":
            self.exit_code, self.error = event.get("exit_code"), event.get("error")
            self.verdict, self.headline = event.get("verdict"), event.get("headline")
            self.result = event.get("result")

    def _go_on(self, event: Mapping[str, Any]) -> None:
        self.asked = event.get("asked") or self.asked
        self.done, self.time_left_s = int(event["done"]), event.get("time_left_s")
        elapsed_s = float(event["elapsed_s"])
        shares = [self.done / self.asked] if self.asked else []
        if self.duration_s:
            shares.append(elapsed_s / self.duration_s)
        self.progress = round(min(1.0, max(shares)), 4) if shares else None
        if "asked" not in event and self.progress:  # several runs: each knows of itself alone
            self.time_left_s = round(elapsed_s * (1 / self.progress - 1), 1)

    # ---- files ----

    def asked_for(self) -> dict[str, Any]:
        """What job.json holds."""
        return {name: getattr(self, name) for name in ASKED_FOR}

    def state(self) -> dict[str, Any]:
        """What state.json holds."""
        found = {name: getattr(self, name) for name in STATE}
        return {**found, "spark": list(self.spark.values), "spark_every": self.spark.every}

    @classmethod
    def saved(cls, asked_for: Mapping[str, Any], state: Mapping[str, Any]) -> Job:
        """The job of the two files."""
        known = {name: asked_for[name] for name in ASKED_FOR if name in asked_for}
        found = {name: state[name] for name in STATE if name in state}
        return cls(**known, **found, spark=Spark(state.get("spark", ()), state.get("spark_every", 1)))


ASKED_FOR = ("id", "kind", "request", "created_at", "label", "target", "duration_s", "model", "key", "digest")
STATE = (
    *(
        "phase",
        "note",
        "started_at",
        "ended_at",
        "asked",
        "done",
        "progress",
        "time_left_s",
        "verdict",
        "headline",
    ),
    *("error", "exit_code", "result", "starts", "resumes", "is_cancelled"),
)
SHOWN = (
    *(
        "id",
        "kind",
        "label",
        "phase",
        "note",
        "created_at",
        "started_at",
        "ended_at",
        "progress",
        "time_left_s",
    ),
    *("asked", "done", "verdict", "headline", "error", "target"),
)


def now() -> str:
    """UTC, as in 2026-12-01T10:15:00.123456Z: runs are put in their order by it, and two may come within a millisecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
