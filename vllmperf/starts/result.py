"""What is known of a server's start: plain frozen data, made by the parser or the live watcher, read by reports.

All instants are integer nanoseconds since the epoch, UTC, on one axis for a whole Start. Where a log gives no zone or
year they were assumed, and `Clock` says so. A thing that is not known is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NS_PER_S = 1_000_000_000

REPORTED = (
    "weights_download_s",
    "weights_load_s",
    "weights_gib",
    "model_loading_s",
    "dynamo_transform_s",
    "compile_s",
    "compile_cache_load_s",
    "compile_from_cache",
    "torch_compile_total_s",
    "warmup_run_s",
    "v0_memory_profiling_s",
    "graph_capture_s",
    "graph_capture_gib",
    "kv_cache_gib",
    "num_gpu_blocks",
    "num_cpu_blocks",
    "kv_cache_tokens",
    "init_engine_s",
    "init_engine_compilation_s",
)
"""Names of the numbers that the log itself reports; each stands in StartupLog.reported, None when it does not say."""

Value = float | int | bool | None


@dataclass(frozen=True)
class Phase:
    """One span of a start. `reported_s` is the number that the server printed for it, when it printed one;
    the span on the axis is never stretched to fit it."""

    name: str  # a name of vllmperf.starts.phases.PHASES
    start_ns: int | None
    end_ns: int | None
    source: str  # "log", "status", "event", "probe", "process", "watch"
    resolution_s: float | None  # how far each end may be off; 1.0 for whole-second stamps
    rank: str | None = None  # "Worker_TP0", "EngineCore_DP1"; None for the server as a whole
    critical: bool = True  # on the path that the total is made of; critical phases do not overlap
    reported_s: float | None = None
    detail: str | None = None  # "from cache", "8 of 8 ranks", the image's name

    @property
    def duration_s(self) -> float | None:
        if self.start_ns is None or self.end_ns is None:
            return None
        return (self.end_ns - self.start_ns) / NS_PER_S

    def facts(self) -> dict[str, Any]:
        """For JSON: all but the name and the two ends, which are spelled by where they stand."""
        return {
            "duration_s": self.duration_s,
            "reported_s": self.reported_s,
            "source": self.source,
            "resolution_s": self.resolution_s,
            "rank": self.rank,
            "critical": self.critical,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Failure:
    """Why a start did not succeed: the root cause, not the last symptom."""

    phase: str | None
    line: int | None  # 1-based number in the file
    text: str
    reason: str | None = None  # of Kubernetes: "OOMKilled", "ImagePullBackOff", "Unschedulable", …


@dataclass(frozen=True)
class SleepCycle:
    """One /sleep or /wake_up as the log reports it."""

    kind: str  # "sleep" or "wake"
    duration_s: float | None
    at_ns: int | None
    freed_gib: float | None = None
    in_use_gib: float | None = None
    tags: tuple[str, ...] = ()
    line: int | None = None


@dataclass(frozen=True)
class Later:
    """A step that came after the start was over and is no part of it: weights loaded again, an engine that joined."""

    event: str  # an event of vllmperf.starts.log.markers.EVENTS
    at_ns: int | None
    seconds: float | None  # that the line gives
    rank: str | None
    line: int


@dataclass(frozen=True)
class Clock:
    """How the log's stamps became instants."""

    source: str  # "envelope" (the collector's own UTC stamps) or "log" (as vLLM printed them)
    resolution_s: float
    utc: bool  # False: zone assumed, so instants may be off by whole hours; spans are right
    year: int | None
    year_from: str | None  # "envelope", "argument", "file date", "assumed"
    zone: str | None  # "UTC", "+02:00", "America/Los_Angeles": what was used


@dataclass(frozen=True, repr=False)
class StartupLog:
    """One attempt to start, as one log tells it."""

    vllm_version: str | None = None
    engine: str | None = None  # "V0", "V1", "V2" (V1 engine with the V2 model runner)
    platform: str | None = None  # "cuda", "rocm", "cpu", "tpu", "xpu", "neuron", "hpu"
    mode: str | None = None  # "serve", "offline", "embedded"
    model: str | None = None
    ranks: int | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    enforce_eager: bool | None = None
    first_log_ts: str | None = None  # as printed, MM-DD HH:MM:SS
    ready_ts: str | None = None
    first_log_ns: int | None = None
    last_log_ns: int | None = None
    ready_ns: int | None = None
    reached_ready: bool = False
    cut_at_start: bool = False  # the log's beginning is missing (rotated, truncated)
    first_line: int | None = None  # of this attempt in the file
    last_line: int | None = None
    clock: Clock | None = None
    failure: Failure | None = None
    phases: tuple[Phase, ...] = ()
    reported: Mapping[str, Value] = field(default_factory=dict)
    per_rank: Mapping[str, Mapping[str, Value]] = field(
        default_factory=dict
    )  # {reported name: {rank: value}}
    drafter: Mapping[str, Value] = field(default_factory=dict)  # the speculative model's own numbers
    sleep: tuple[SleepCycle, ...] = ()
    later: tuple[Later, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class ParsedFile(shown.Shown):
    """All attempts of one file, in order. `main` is the one that the file's own row shows: the last that became
    ready, else the last."""

    file: str
    attempts: tuple[StartupLog, ...]
    main: StartupLog
    lines: int
    notes: tuple[str, ...] = ()
    recognized: bool = True  # False: no line of a vLLM server is in it
    first_text: str = ""  # the first line with a text in it

    @property
    def start(self) -> Start:
        """The main attempt as the reports show it."""
        return as_start(self)

    def to_dict(self) -> dict[str, object]:
        """The object that `vllmperf parse-log --json` prints."""
        return shown.views().data(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The waterfall of the main attempt. Raises UsageError without matplotlib."""
        return self.start.plot(ax)


@dataclass(frozen=True, repr=False)
class Start(shown.Shown):
    """One start of one server from its first to its last instant, from every source: what the reports show.

    `origin` and `end` name the instants between which the total is taken ("created" … "first token",
    "process start" … "ready"). Phases are in order of time; the critical ones and `unattributed` add up to the total.

    >>> weights = Phase("weights_load", 1_000_000_000, 4_000_000_000, "log", resolution_s=0.001)
    >>> start = Start("start 1", "process start", "ready", 0, 5_000_000_000, (weights,))
    >>> start.total_s, start.phases[0].duration_s
    (5.0, 3.0)
    """

    name: str  # pod name, file name, "start 3"
    origin: str
    end: str
    origin_ns: int | None
    end_ns: int | None
    phases: tuple[Phase, ...]
    group: str | None = None  # "cold", "warm": the set it belongs to in a comparison
    reached: bool = True  # False: it never came to `end`
    failure: Failure | None = None
    log: StartupLog | None = None
    log_path: str | None = None
    restarts: int = 0
    earlier: tuple[Start, ...] = ()  # earlier attempts of the same container
    facts: Mapping[str, str | int | float | None] = field(default_factory=dict)  # node, image, image_bytes, …
    evidence: tuple[str, ...] = ()  # events and last log lines of a failed start
    notes: tuple[str, ...] = ()

    @property
    def total_s(self) -> float | None:
        """From `origin` to `end` in seconds; None where one of them is not known."""
        if self.origin_ns is None or self.end_ns is None:
            return None
        return (self.end_ns - self.origin_ns) / NS_PER_S

    def to_dict(self) -> dict[str, object]:
        """As it stands in what `vllmperf startup --json` prints."""
        return shown.views().data(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The waterfall. Raises UsageError without matplotlib, or when no phase is known."""
        return shown.views().axes(self, ax)


def as_start(parsed: ParsedFile) -> Start:
    """The file's main attempt as reports take it, with the attempts before it."""
    logs = list(parsed.attempts)
    place = next((i for i, log in enumerate(logs) if log is parsed.main), len(logs) - 1)
    earlier = tuple(_start(log, parsed) for log in logs[:place])
    return _start(parsed.main, parsed, earlier)


def _start(log: StartupLog, parsed: ParsedFile, earlier: tuple[Start, ...] = ()) -> Start:
    return Start(
        name=Path(parsed.file).name if parsed.file != "-" else "standard input",
        origin="first line",
        end="server up" if log.ready_ns is not None or log.failure is None else "failure",
        origin_ns=log.first_log_ns,
        end_ns=_end_ns(log),
        phases=log.phases,
        reached=log.reached_ready,
        failure=log.failure,
        log=log,
        log_path=parsed.file,
        restarts=len(earlier),
        earlier=earlier,
        notes=(*parsed.notes, *log.notes),
    )


def _end_ns(log: StartupLog) -> int | None:
    """Where the start's phases end: the log may go on."""
    if log.ready_ns is not None:
        return log.ready_ns
    ends = [phase.end_ns for phase in log.phases if phase.critical and phase.end_ns is not None]
    return max(ends, default=log.last_log_ns)
