"""Every Prometheus series of the service once: name, type, labels, unit, help, and where its value comes from.

The exposition, the panels and alerts of deploy/, and docs/grafana.md read these tables and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import vllmperf._engine as _engine
from vllmperf.version import __version__

PREFIX = "vllmperf_"
LIVE = ("waiting", "running")
PHASES = ("queued", *LIVE, "finished", "failed", "cancelled", "interrupted")
LEVELS = ("trusted", "caution", "untrusted")
KEPT_RUNS = 8
"""So many of the runs that ended last keep their series; a run label does not grow without bound."""
KEPT_STARTS = 8
"""Of measured starts of a server likewise."""


def _bounds(mantissas: Sequence[float], decades: Iterable[int], last: float) -> tuple[float, ...]:
    return (*(float(f"{m}e{decade}") for decade in decades for m in mantissas), last)


LATENCY_S = _bounds((1, 1.5, 2, 3, 5, 7), range(-3, 3), 1000.0)
"""Bounds of TTFT, ITL and E2EL: 1 ms to 1,000 s, six a decade. The usual goals (20 ms, 200 ms, 500 ms, 2 s) are bounds, so that
the share of requests within one is exact."""
LAG_S = _bounds((1, 2, 5), range(-5, 1), 10.0)
"""Bounds of the client's own lags: 10 µs to 10 s."""
BOUNDS_S: Mapping[str, tuple[float, ...]] = {
    "ttft": LATENCY_S,
    "itl": LATENCY_S,
    "e2el": LATENCY_S,
    "schedule_lag": LAG_S,
    "client_lag": LAG_S,
}
"""The histograms of a `histograms` line, by key: buckets has one cumulative count for each of these."""

Counts = Mapping[str, Any]
"""A `histograms` line of a worker (service/counts.py)."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What /metrics says of a run. Times are in s since 1970; None: not known (yet)."""

    id: str
    kind: str
    phase: str
    label: str = ""
    model: str = ""
    target: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    asked: int | None = None
    done: int = 0
    time_left_s: float | None = None
    verdict: str | None = None
    counts: Counts | None = None
    """The worker's last one."""
    power: Mapping[str, float] | None = None
    """Of a run that is told the GPUs' power: any of watts, limit_watts, energy_joules."""

    @property
    def is_live(self) -> bool:
        return self.phase in LIVE


@dataclass(frozen=True, slots=True)
class StartState:
    """A measured start of a server. phases: the seconds of each."""

    name: str
    model: str = ""
    version: str = ""
    is_reached: bool = True
    """False: it failed, and there is no total."""
    total_s: float | None = None
    ended_at: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What /metrics says. runs and starts: newest first."""

    runs: Sequence[RunState] = ()
    queue_limit: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    starts: Sequence[StartState] = ()

    def shown_runs(self) -> Iterator[RunState]:
        """Those going on, and the last ones that ended."""
        yield from (run for run in self.runs if run.is_live)
        yield from islice((run for run in self.runs if run.ended_at is not None), KEPT_RUNS)


@dataclass(frozen=True, slots=True)
class Histogram:
    """buckets: cumulative, one for each bound."""

    count: int
    sum_s: float
    buckets: Sequence[int]


Sample = tuple[tuple[str, ...], float | Histogram]
"""Values of the labels that a series has beside its subject's, and its value."""
Samples = Iterable[Sample]


@dataclass(frozen=True, slots=True)
class Series:
    """name: without the prefix, the unit and _total. labels: beside those of its subject."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    of: Callable[[Any], Samples]
    unit: str = ""
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus has it; of a histogram without _bucket, _sum, _count."""
        unit = f"_{self.unit}" if self.unit else ""
        return f"{PREFIX}{self.name}{unit}{'_total' if self.kind == 'counter' else ''}"


def _one(value: Callable[[Any], float | None]) -> Callable[[Any], Samples]:
    """A series without labels of its own; left out where the value is not known."""

    def samples(subject: Any) -> Samples:
        found = value(subject)
        return () if found is None else [((), found)]

    return samples


def _state_set(names: Sequence[str], value: Callable[[Any], str | None]) -> Callable[[Any], Samples]:
    """1 for the name that is true, 0 for the others."""

    def samples(subject: Any) -> Samples:
        now = value(subject)
        return () if now is None else [((name,), float(name == now)) for name in names]

    return samples


# ---- of the service ----

SERVICE = (
    Series("build_info", "gauge", "1; the version is a label", lambda _: [((__version__,), 1.0)], labels=("version",)),
    Series("runs", "gauge", "Runs of the data folder by phase",
           lambda state: [((phase,), _in_phase(state, phase)) for phase in PHASES], labels=("phase",)),
    Series("queue_length", "gauge", "Runs that wait for their turn", _one(lambda state: _in_phase(state, "queued"))),
    Series("queue_limit", "gauge", "So many may wait; beyond, a request for a run gets 429",
           _one(lambda state: state.queue_limit)),
    Series("uploads_pending", "gauge", "Result files that are not in the bucket yet", _one(lambda state: state.uploads)),
    Series("uploads_pending", "gauge", "Their size", _one(lambda state: state.upload_bytes), unit="bytes"),
)  # fmt: skip


def _in_phase(state: ServiceState, phase: str) -> float:
    return float(sum(run.phase == phase for run in state.runs))


# ---- of a run: label `run` ----


def _live(value: Callable[[RunState], float | None]) -> Callable[[RunState], Samples]:
    return _one(lambda run: value(run) if run.is_live else None)


def _count(key: str) -> Callable[[RunState], Samples]:
    """A counter of the worker, 0 from the beginning of the run on: a counter that begins at 5 hides five from rate()."""

    def value(run: RunState) -> float | None:
        return float(run.counts.get(key, 0)) if run.counts else 0.0 if run.is_live else None

    return _one(value)


def _requests(run: RunState) -> Samples:
    if run.counts is None and not run.is_live:
        return ()
    counted = run.counts["requests"] if run.counts else {}
    return [((outcome,), float(counted.get(outcome, 0))) for outcome in _engine.OUTCOMES]


def _histogram(key: str) -> Callable[[RunState], Samples]:
    def samples(run: RunState) -> Samples:
        if run.counts is None and not run.is_live:
            return ()
        found = run.counts.get(key) if run.counts else None
        if found is None:
            return [((), Histogram(0, 0.0, [0] * len(BOUNDS_S[key])))]
        return [((), Histogram(found["count"], found["sum_s"], found["buckets"]))]

    return samples


def _power(key: str) -> Callable[[RunState], float | None]:
    return lambda run: run.power.get(key) if run.power else None


def _joules_per_token(run: RunState) -> float | None:
    joules, tokens = _power("energy_joules")(run), run.counts.get("output_tokens") if run.counts else None
    return joules / tokens if joules is not None and tokens else None


OF_COMPLETED = "of completed requests, counted when they end"
RUN = (
    Series("run_info", "gauge", "1; what the run is, as labels",
           lambda run: [((run.kind, run.label, run.model, run.target), 1.0)], labels=("kind", "label", "model", "target")),
    Series("run_phase", "gauge", "1 for the phase that the run is in, 0 for the others",
           _state_set(PHASES, lambda run: run.phase), labels=("phase",)),
    Series("run_start_timestamp", "gauge", "When the run started, since 1970", _one(lambda run: run.started_at), "seconds"),
    Series("run_end_timestamp", "gauge", "When it ended", _one(lambda run: run.ended_at), "seconds"),
    Series("run_time_left", "gauge", "About how long it will go on", _live(lambda run: run.time_left_s), "seconds"),
    Series("requests_asked", "gauge", "Requests that the run was asked for; missing where something else ends it",
           _one(lambda run: run.asked)),
    Series("requests_done", "gauge", "Of these, requests that have ended; those before a restart of the service included",
           _one(lambda run: run.done)),
    Series("requests_in_flight", "gauge", "Requests that are sent and have not ended",
           _live(lambda run: float(run.counts.get("in_flight", 0)) if run.counts else 0.0)),
    Series("requests_sent", "counter", "Requests handed to the transport", _count("sent")),
    Series("requests", "counter", "Requests that ended, by outcome (docs/endings.md)", _requests, labels=("outcome",)),
    Series("prompt_tokens", "counter", f"Prompt tokens {OF_COMPLETED}, as the server counts them", _count("prompt_tokens")),
    Series("output_tokens", "counter", f"Output tokens {OF_COMPLETED}", _count("output_tokens")),
    Series("ttft", "histogram", f"Time from sending to the first token chunk, {OF_COMPLETED}", _histogram("ttft"), "seconds"),
    Series("itl", "histogram", f"Time between token chunks, {OF_COMPLETED}", _histogram("itl"), "seconds"),
    Series("e2el", "histogram", f"Time from sending to the last token chunk, {OF_COMPLETED}", _histogram("e2el"), "seconds"),
    Series("schedule_lag", "histogram", "How late requests left by our own fault", _histogram("schedule_lag"), "seconds"),
    Series("client_lag", "histogram", "Time from the arrival of a chunk to when we saw it", _histogram("client_lag"), "seconds"),
    Series("chunks", "counter", "Token chunks that came", _count("chunks")),
    Series("coalesced_chunks", "counter", "Of these, chunks that came in one read with the one before", _count("coalesced")),
    Series("verdict", "gauge", "1 for the verdict on the run's figures, 0 for the others; missing before there is one",
           _state_set(LEVELS, lambda run: run.verdict), labels=("level",)),
    Series("worker_cpu", "counter", "CPU time of the load engine's threads", _count("cpu_s"), "seconds"),
    Series("worker_memory", "gauge", "Resident memory of the run's process",
           _live(lambda run: run.counts.get("memory_bytes") if run.counts else None), "bytes"),
    Series("gpu_power", "gauge", "Power of the GPUs behind the target, all together", _live(_power("watts")), "watts"),
    Series("gpu_power_limit", "gauge", "What they may draw, all together (TDP)", _live(_power("limit_watts")), "watts"),
    Series("gpu_energy", "counter", "Energy that they have used in the run", _one(_power("energy_joules")), "joules"),
    Series("energy_per_output_token", "gauge", "Energy of the run so far by its output tokens",
           _one(_joules_per_token), "joules"),
)  # fmt: skip

# ---- of a measured start of a server: label `start` ----

START = (
    Series("startup_info", "gauge", "1; which server, as labels", lambda start: [((start.model, start.version), 1.0)],
           labels=("model", "version")),
    Series("startup_reached", "gauge", "1 when the server became ready, 0 when the start failed",
           _one(lambda start: float(start.is_reached))),
    Series("startup", "gauge", "From the first moment that is known to ready", _one(lambda start: start.total_s), "seconds"),
    Series("startup_end_timestamp", "gauge", "When the server was ready, since 1970",
           _one(lambda start: start.ended_at), "seconds"),
    Series("startup_phase", "gauge", "Time of a phase on the critical path (docs/startup.md)",
           lambda start: [((name,), seconds) for name, seconds in start.phases.items()], "seconds", ("phase",)),
)  # fmt: skip

SUBJECTS: tuple[tuple[str, tuple[Series, ...], Callable[[ServiceState], Iterable[Any]]], ...] = (
    ("", SERVICE, lambda state: [state]),
    ("run", RUN, ServiceState.shown_runs),
    ("start", START, lambda state: state.starts[:KEPT_STARTS]),
)
"""The label of each kind of subject, its series, and the subjects that have them now."""


def subject_name(subject: RunState | StartState) -> str:
    return subject.id if isinstance(subject, RunState) else subject.name
