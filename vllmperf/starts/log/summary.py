"""Turns what an attempt has shown into a StartupLog."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate

from vllmperf.starts.log.attempt import PROGRESS, Attempt, Key
from vllmperf.starts.log.failure import Problem, message_phase, root
from vllmperf.starts.log.figures import Labels, figures
from vllmperf.starts.log.marker import number
from vllmperf.starts.log.spans import spans
from vllmperf.starts.log.wallclock import Moment, Resolver, clock_changes
from vllmperf.starts.result import Failure, Later, SleepCycle, StartupLog

_DEVICES = ("cpu", "tpu", "xpu", "hpu", "npu", "neuron", "openvino")
_PLUGINS = {"ascend": "npu", "gaudi": "hpu", "tpu_inference": "tpu", "tpu_commons": "tpu"}
_LOCAL_VERSION = re.compile(r"\+.*\b(cpu|rocm|xpu|tpu|gaudi|neuron)")
_DEVICE_WORDS = (
    (re.compile(r"\bHIP (?:out of memory|error)|\bhipError|\bROCm\b"), "rocm"),
    (re.compile(r"\bneuronx?(?:_|\b)"), "neuron"),
    (re.compile(r"\bNPU out of memory|\btorch_npu\b|\bACL error"), "npu"),
    (re.compile(r"\bXPU out of memory|\bUR_RESULT_ERROR"), "xpu"),
    (re.compile(r"\bTPU (?:initialization|backend)"), "tpu"),
    (re.compile(r"\bsynStatus\b"), "hpu"),
    (
        re.compile(r"\bCUDA (?:out of memory|error|driver)|\bNVIDIA\b|\bNCCL\b|\bcu(?:blas|dnn)\w*", re.I),
        "cuda",
    ),
)
_SIZED = ("blocks", "gpu_blocks", "cpu_blocks", "kv_tokens", "engine_done")
_OWN_SERVER = ("api_version", "banner_version", "server_version", "args", "server_start")
_VERSIONS = ("api_version", "banner_version", "server_version", "engine_config")
LONGEST_VERSION = 100
MAX_NOTES = 20
_TAGS = re.compile(r"[\w]+")


def summarize(attempt: Attempt, resolver: Resolver) -> StartupLog:
    sizes = _sizes(attempt)
    ranks = sizes["tp"] * sizes["pp"] * sizes["dp"] if sizes else None
    found = figures(attempt, ranks or 1)
    instants = _Instants(attempt, resolver)
    ready, reached = _ready(attempt)
    problem = None if reached else root_of(attempt)
    ready_ns = _ready_ns(attempt, ready, instants)
    first, last = instants.of(attempt.first or attempt.earliest), instants.of(attempt.latest)
    failure = Failure(_phase_of(attempt, problem), problem.line, problem.text) if problem else None
    notes = [*_notes(attempt, problem, ready, reached), *instants.notes]
    unfinished = None if reached else failure.phase if failure else _phase_reached(attempt.counts)
    clock = resolver.clock_of(attempt.stamped, attempt.finer)
    phases = spans(attempt, instants.of, clock.resolution_s, first, ready_ns, last, unfinished)
    stamp = attempt.ready_stamp if ready is attempt.ready else None
    return StartupLog(
        vllm_version=version(attempt),
        engine=_engine(attempt),
        platform=_platform(attempt),
        mode=_mode(attempt),
        model=_model(attempt),
        ranks=ranks,
        tp=sizes.get("tp"),
        pp=sizes.get("pp"),
        dp=sizes.get("dp"),
        enforce_eager=_eager(attempt),
        first_log_ts=str(attempt.first.stamp) if attempt.first else None,
        ready_ts=str(stamp.stamp) if ready and stamp else None,
        first_log_ns=first
        if first is not None
        else instants.of(attempt.latest if not attempt.first else None),
        last_log_ns=last,
        ready_ns=ready_ns,
        reached_ready=reached,
        cut_at_start=_cut_at_start(attempt),
        first_line=attempt.first_line,
        last_line=attempt.last_line or None,
        clock=clock,
        failure=failure,
        phases=phases,
        reported=found.reported,
        per_rank=found.per_rank,
        drafter=found.drafter,
        sleep=_sleep(attempt, instants),
        later=_later(attempt, instants),
        notes=tuple(notes),
    )


class _Instants:
    """The instants of an attempt's moments, with the changes of its clock."""

    def __init__(self, attempt: Attempt, resolver: Resolver) -> None:
        self._resolver = resolver
        changes = clock_changes(seen.moment for seen in attempt.events)
        self._lines, self._shifts = [*changes], [0, *accumulate(changes.values())]
        self.notes = [f"the log's clock goes back an hour at line {line}" for line in self._lines[:MAX_NOTES]]

    def of(self, moment: Moment | None) -> int | None:
        if moment is None:
            return None
        return self._resolver.ns(moment, self._shifts[bisect_right(self._lines, moment.line)])


def _sizes(attempt: Attempt) -> dict[str, int]:
    engine = attempt.config.sizes if attempt.config else {}
    given: Mapping[str, int] = attempt.arguments.sizes if attempt.arguments else {}
    if attempt.config is None and attempt.arguments is None:
        return {}
    sizes = {name: engine.get(name, given.get(name, 1)) for name in ("tp", "pp", "dp")}
    # With one process an engine, each engine's own configuration says 1.
    engines = {
        process.name
        for process in attempt.names.values()
        if process.kind == "engine" and process.rank is not None
    }
    sizes["dp"] = max(sizes["dp"], given.get("dp", 1), len(engines))
    return sizes


def version(attempt: Attempt) -> str | None:
    """As the server says it first, or in full where that line was cut."""
    found = [
        seen.fields["version"][:LONGEST_VERSION].split()[0]
        for event in _VERSIONS
        for seen in attempt.all(event)
        if seen.fields.get("version", "")[:LONGEST_VERSION].strip()
    ]
    return max((version for version in found if version.startswith(found[0])), key=len, default=None)


def _engine(attempt: Attempt) -> str | None:
    configs = attempt.all("engine_config")
    if not configs:
        return (
            "V1"
            if attempt.has("banner_version", "server_version", "runner_v2", "kv_available", "kv_tokens")
            else None
        )
    seen = configs[0]
    if " V1 " in seen.marker.template:
        return "V1"
    if " V0 " in seen.marker.template:
        return "V0"
    return "V1" if seen.file == "core.py" else "V0"


def _platform(attempt: Attempt) -> str | None:
    named = [
        _PLUGINS.get(name := seen.fields["platform"].strip().lower(), name)
        for seen in attempt.all("platform", "platform_plugin")
    ]
    votes = attempt.platforms
    device = attempt.config.device if attempt.config else None
    asked = attempt.arguments.device if attempt.arguments else None
    told = _platform_told(attempt)
    for platform in ("neuron", "hpu", "tpu", "npu", "openvino"):
        if platform in named or platform in votes or platform in (device, asked, told):
            return platform
    if "rocm" in (*named, told) or (
        "rocm" in votes and "cuda" not in named and not votes.get("cuda", 0) > 3 * votes["rocm"]
    ):
        return "rocm"
    if device in _DEVICES:
        return device
    local = _LOCAL_VERSION.search(version(attempt) or "")
    if local:
        return {"gaudi": "hpu"}.get(local[1], local[1])
    if named:
        return named[0]
    if device == "cuda":
        return "cuda"
    return max(votes, key=lambda platform: votes[platform], default=told)


def _platform_told(attempt: Attempt) -> str | None:
    """By the words of what failed; else releases whose configuration names no device knew only one."""
    texts = [problem.message[:1000] for problem in attempt.problems.found]
    for pattern, platform in _DEVICE_WORDS:
        if any(pattern.search(text) for text in texts):
            return platform
    graphs = attempt.has("capture_start", "capture_bar", "captured")
    return "cuda" if graphs or (attempt.config is not None and attempt.config.device is None) else None


def _mode(attempt: Attempt) -> str | None:
    if attempt.host is not None and attempt.has_engine and not attempt.has(*_OWN_SERVER):
        return "embedded"
    if attempt.api or attempt.ready is not None or attempt.early_ready is not None:
        return "serve"
    if (
        attempt.has("uvicorn_started", "uvicorn_waiting", "routes", "route")
        or attempt.answered_line is not None
    ):
        return "serve"
    if not attempt.has_engine:
        return None
    return "embedded" if attempt.has("traffic") else "offline"


def _model(attempt: Attempt) -> str | None:
    for config in (attempt.config, attempt.arguments):
        if config is not None and config.model:
            return config.model
    named = attempt.all("server_version", "banner_model", "load_start")
    return next((seen.fields["model"].strip() for seen in named), None)


def _eager(attempt: Attempt) -> bool | None:
    for config in (attempt.config, attempt.arguments):
        if config is not None and config.enforce_eager is not None:
            return config.enforce_eager
    return True if attempt.has("eager") else None


def _cut_at_start(attempt: Attempt) -> bool:
    """Whether a start was going on before the first line."""
    if attempt.has(*_VERSIONS, "platform", "args", "headless"):
        return False
    return bool(attempt.events) or attempt.served_lines > 0


# --- ready


def _ready(attempt: Attempt) -> tuple[Moment | None, bool]:
    """The line that says ready, and whether the server came so far."""
    if attempt.ready is not None:
        return attempt.ready, True
    if attempt.early_ready is not None and attempt.has("engine_done") and attempt.answered_line is not None:
        return attempt.early_ready, True
    whole = attempt.has("model_loaded", "weights_took", "engine_done", "captured", "server_start")
    return None, attempt.answered_line is not None and (whole or _cut_at_start(attempt))


def _ready_ns(attempt: Attempt, ready: Moment | None, instants: _Instants) -> int | None:
    """Without a stamp of its own the line is as late as the last stamp before it."""
    if ready is None:
        return None
    own = instants.of(ready)
    return own if own is not None else instants.of(attempt.ready_stamp)


# --- failure


def root_of(attempt: Attempt) -> Problem | None:
    """The first problem that the start did not get over, and that is not only the echo of another."""
    problems = attempt.problems
    if not problems.found or (attempt.has("traffic") and attempt.has("captured", *_SIZED)):
        return None  # an engine inside another server was at work: what came later ended no start
    progress, in_use = _Progress(attempt), _in_use_from(attempt)
    lasting = [p for p in problems.found if not _overcome(attempt, progress, p) and p.place <= in_use]

    def is_worker(key: Key) -> bool:
        process = attempt.names.get(key)
        return process is not None and process.kind == "worker"

    return root(lasting, is_worker)


class _Progress:
    """The places of a start's steps among its events, of each process and of all."""

    def __init__(self, attempt: Attempt) -> None:
        self._of: dict[Key | None, list[int]] = {None: []}
        self.processes = {seen.process for seen in attempt.events}
        for place, seen in enumerate(attempt.events):
            if seen.event in PROGRESS:
                self._of[None].append(place)
                self._of.setdefault(seen.process, []).append(place)

    def after(self, place: int, key: Key | None = None) -> int:
        """How many come from a place on."""
        places = self._of.get(key, [])
        return len(places) - bisect_left(places, place)


def _overcome(attempt: Attempt, progress: _Progress, problem: Problem) -> bool:
    """An error that the start went on after: `ERROR` alone is no failure."""
    failed, own = attempt.problems.failed_place, problem.process
    if own in progress.processes and not _is_front_end(attempt, own):
        later = progress.after(problem.place, own)
        return later > 0 and (failed is None or failed > problem.place or later > 2)
    return progress.after(problem.place) > 1


def _in_use_from(attempt: Attempt) -> int:
    """How many events come before the engine's last line. Without a server of vLLM's the start is over with it: what
    fails then is the script, or a request."""
    done = next((place for place, seen in enumerate(attempt.events) if seen.event == "engine_done"), None)
    over = done is not None and _mode(attempt) in ("offline", "embedded")
    return done if done is not None and over else len(attempt.events)


def _is_front_end(attempt: Attempt, key: Key) -> bool:
    """When the front end dies its engine does not go on for long; a dead worker's sisters may."""
    process = attempt.names.get(key)
    return process is not None and process.kind == "api"


def _phase_of(attempt: Attempt, problem: Problem | None) -> str | None:
    if problem is None:
        return None
    before = [seen.event for seen in attempt.events[: problem.place]]
    reached = _phase_reached(before)
    if reached == "kernel_warmup" and "tpu" in attempt.platforms:
        reached = "compile"  # a TPU compiles after its KV cache is sized
    if (said := message_phase(problem.message)) and _has_engine(attempt, problem):
        return said
    if problem.phase is not None and reached == "imports" and _has_engine(attempt, problem):
        return problem.phase  # the log's beginning is missing
    return problem.phase if problem.phase is not None and _plausible(problem.phase, reached) else reached


def _has_engine(attempt: Attempt, problem: Problem) -> bool:
    """Whether there was an engine when it failed, by the log or by who failed."""
    process = attempt.names.get(problem.process)
    of_engine = process is not None and process.kind in ("engine", "worker")
    return attempt.has_engine or attempt.has("failed") or of_engine


_LADDER = (
    ("frontend", ("engine_done", "server_start")),
    ("kernel_warmup", ("captured", "jit_monitor", "autotune_start")),
    ("graph_capture", ("capture_start", "capture_bar")),
    ("kernel_warmup", ("kv_tokens", "blocks", "gpu_blocks", "cpu_blocks", "kernel_warmup")),
    ("kv_cache", ("kv_available", "kv_reserved", "warmup_run")),
    ("profile", ("compile_total",)),
    ("compile", ("compile_cache_dir", "dynamo", "cpu_warmup_start", "tpu_compile_start")),
    ("profile", ("model_loaded", "hpu_loaded", "encoder_budget")),
    ("weights_load", ("drafter_start",)),
    ("model_finish", ("weights_took",)),
    ("weights_load", ("load_start", "load_scratch", "shards", "download")),
    ("worker_init", ("nccl", "world", "rank", "runner_v2")),
    ("engine_process", ("engine_config", "engine_waiting", "engine_spawned")),
    ("config", ("api_version", "banner_version", "server_version", "platform", "args")),
)


def _phase_reached(events: Iterable[str]) -> str:
    seen = set(events)
    for phase, marks in _LADDER:
        if not seen.isdisjoint(marks):
            return phase
    return "imports"


def _plausible(phase: str, reached: str) -> bool:
    """A frame of an earlier phase than the log has reached belongs to something that only goes through there."""
    order = [name for name, _ in reversed(_LADDER)]
    order = list(dict.fromkeys(order))
    if reached in ("imports", "config"):
        # No engine yet: a compiler's frame is only an import.
        return phase in ("config", "engine_process") or reached == phase
    early = order.index(phase) if phase in order else len(order)
    return early >= order.index(reached) if reached in order else True


# --- the rest


def _sleep(attempt: Attempt, instants: _Instants) -> tuple[SleepCycle, ...]:
    cycles: list[SleepCycle] = []
    freed: dict[str, float] = {}
    for seen in attempt.all("sleep_freed", "asleep", "awake"):
        if seen.event == "sleep_freed":
            gib, in_use = number(seen.fields["gib"]), number(seen.fields["in_use"])
            freed = {
                "gib": max(gib, freed.get("gib", gib)),
                "in_use": max(in_use, freed.get("in_use", in_use)),
            }
            continue
        asleep = seen.event == "asleep"
        cycles.append(
            SleepCycle(
                kind="sleep" if asleep else "wake",
                duration_s=number(seen.fields["seconds"]),
                at_ns=instants.of(seen.moment),
                freed_gib=freed.get("gib") if asleep else None,
                in_use_gib=freed.get("in_use") if asleep else None,
                tags=tuple(sorted(_TAGS.findall(seen.fields.get("tags") or ""))),
                line=seen.moment.line,
            )
        )
        freed = {} if asleep else freed
    return tuple(cycles)


def _later(attempt: Attempt, instants: _Instants) -> tuple[Later, ...]:
    if not attempt.later:
        return ()
    labels = Labels(attempt)
    for seen in attempt.events:  # whose names come first
        labels.of(seen.process, seen.marker.component)
    return tuple(
        Later(
            event=seen.event,
            at_ns=instants.of(seen.moment),
            seconds=number(seen.fields["seconds"]) if "seconds" in seen.fields else None,
            rank=labels.of(seen.process, seen.marker.component) if seen.process[0] is not None else None,
            line=seen.moment.line,
        )
        for seen in attempt.later
    )


def _notes(attempt: Attempt, problem: Problem | None, ready: Moment | None, reached: bool) -> list[str]:
    notes = []
    if _cut_at_start(attempt):
        notes.append("the log's beginning is missing")
    if attempt.has("runner_v2"):
        notes.append("V2 model runner")
    if reached and ready is None:
        notes.append(f"ready is known from an answered request only, line {attempt.answered_line}")
    if not reached and problem is None and attempt.replicas.engine_started:
        notes.append("the engine in Ray Serve's replica was up; the log does not say that the replica was")
    elif not reached and problem is None and attempt.events:
        notes.append("the log ends before the server was ready, without an error")
    if attempt.repeats:
        notes.append(
            f"Ray left out {attempt.repeats} repeated lines: the largest of the ranks is of those printed"
        )
    if problem is not None and attempt.problems.import_warning is not None:
        line, text = attempt.problems.import_warning
        notes.append(f"line {line} may be the cause: {text[:200]}")
    if attempt.ready_apart:
        notes.append(
            "uvicorn's lines stand apart from vLLM's: ready is taken from vLLM's last line before them"
        )
    if attempt.later_count > len(attempt.later):
        notes.append(f"{attempt.later_count - len(attempt.later)} more steps after the start are not listed")
    if attempt.has("aot_failed"):
        notes.append("a cached compilation could not be loaded: compiled again")
    return notes
