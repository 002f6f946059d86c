"""Finds why a start failed: the first exception that nothing came after, not the last symptom of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vllmperf.starts.log.lines import Line

Key = tuple[int | None, str]  # of a process, as in Attempt
TEXT_LIMIT = 400
KEPT = 200

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*+\.)*+(?:[A-Z]\w*+(?:\([A-Z]\w*+\))?|\w*(?:error|timeout|exception))(?:: |:$|$)"
)
_NAMED = re.compile(r"(?:[A-Za-z_]\w*+\.)*+(?P<name>[A-Z]\w*+)(?:\([\w.]++\))?(?:: |:$|$)")
_NAMES = ("Error", "Exception", "Interrupt", "Exit", "Failure", "NotFound", "Timeout")
_DEATHS = re.compile(
    r"(?:.*: )?(?:Killed|Terminated|Segmentation fault|Bus error|Aborted|Illegal instruction)(?: \(core dumped\))?$"
    r"|Fatal Python error: |!++ Segfault encountered !++|vllm[\w. ]*+: error: |\S+\.py: error: "
    r"|docker: Error response from daemon: |.*executable file not found in \$PATH"
    r"|\[Errno \d{1,9}\] error while attempting to bind on address |\[[\w.:-]++\] FATAL: "
    r"|\S{1,100}\.(?:service|scope): (?:A process of this unit has been killed|Main process exited, code=(?!exited, status=0)"
    r"|Failed with result '(?!success))|(?:\S{1,100} exited|command terminated) with (?:exit )?code [1-9]"
    r"|\S{1,100}: segfault at "
    r"|terminate called |.{0,200}?: command not found$|\S++ No such file or directory$"
)
_JOB = re.compile(
    r"(?:^|: ++|^\[\d++\][+-]? *+)\d++ ++(?:[Kk]illed|Segmentation fault|Aborted|Illegal instruction|Bus error)\b"
)
_NATIVE = re.compile(
    r"\[E[^\]\n]{0,120}\.cpp:\d{1,9}\] .{0,300}?(?:Watchdog caught|watchdog thread terminated|(?:NCCL|CUDA|HIP) error)"
    r"|\s{0,8}what\(\): |.{0,200}?(?:Out of memory: Killed process|oom-kill:|Memory cgroup out of memory)"
)
_DIED = re.compile(
    r"Worker(?: proc)? \S{1,80} (?:pid \d{1,12} )?died\b|\S{1,80} proc \S{1,80} died\b|Engine core proc \S{1,80} died\b"
    r"|.{0,200}?(?:The actor (?:died|is dead)|worker process has died|process in the process pool was terminated)"
)
# A word of what ends a start, so that most lines need be looked at only once.
_WORDS = re.compile(
    r"Error|Exception|Interrupt|Exit|Failure|NotFound|Timeout|[Kk]illed|[Tt]erminate|[Ff]ault|[Ee]rror|Abort|Illegal"
    r"|[Ss]egfault|exited|Failed|FATAL|Watchdog|watchdog|what\(|Memory|memory|oom-|died|is dead|not found|No such"
)
_ENDS = re.compile("|".join(pattern.pattern for pattern in (_DEATHS, _DIED, _NATIVE)))
_FRAME = re.compile(r'\s*+File "(?P<file>[^"]*+)", line \d++, in (?P<function>\S++)')
_SYMPTOMS = re.compile(
    r"Engine core initialization failed|Engine process failed to start|Failed core proc|EngineDeadError"
    r"|WorkerProc initialization failed|Worker failed with error|KeyboardInterrupt|SystemExit"
    r"|BrokenPipeError|ConnectionResetError|ProcessRaisedException|resource_tracker|cancelled|CancelledError"
    r"|exited with code|terminated with exit code|Main process exited|Failed with result|ExceptionGroup: "
    r"|Cancelled|shutting down|Engine loop has died|background process|terminate called|Executor failed"
    r"|AsyncEngineDeadError|MQEngineDeadError|ChildFailedError|leaked (?:semaphore|shared_memory)"
)
_GAVE_UP = re.compile(r"Engine core initialization failed|Engine process failed to start|Failed core proc")
_MARGIN = re.compile(r"\s{1,40}\| ")  # of a group of exceptions
_RANK = re.compile(r"(?:\[rank\d{1,6}\]: ?)++")  # torch puts it before every line of a traceback
_IMPORT_WARNING = re.compile(r"Failed to import from vllm\._C\w*+\b.*", re.S)
LONGEST = 20_000  # characters of a line that may be an exception

_FRAME_PHASES = (
    (re.compile(r"_dummy_sampler_run|_dummy_pooler_run|kernel_warmup|flashinfer_autotune"), "kernel_warmup"),
    (re.compile(r"capture_model|capture_graph|_capture_cudagraphs|^capture$"), "graph_capture"),
    (re.compile(r"^profile_run$|determine_(?:available_memory|num_available_blocks)|_dummy_run"), "profile"),
    (
        re.compile(r"_initialize_kv_caches|initialize_(?:from_config|kv_cache|cache)|get_kv_cache_config"),
        "kv_cache",
    ),
    (re.compile(r"download_weights|snapshot_download|hf_hub_download"), "weights_download"),
    (re.compile(r"^load_model$|^load_weights$|get_model$|^initialize_model$"), "weights_load"),
    (
        re.compile(r"^init_device$|init_worker_distributed|init_distributed|initialize_model_parallel"),
        "worker_init",
    ),
    (re.compile(r"create_engine_config|create_model_config|from_engine_args|parse_args"), "config"),
    (re.compile(r"create_server_socket|^listen$|bind"), "config"),
    (re.compile(r"^spawn_main$"), "engine_process"),
)


_MESSAGE_PHASES = (
    (re.compile(r"error while attempting to bind on address"), "frontend"),
    (re.compile(r"KV cache|[Nn]o available memory for the cache blocks"), "kv_cache"),
    (
        re.compile(
            r"Free memory on device .* on startup|number of required \w+ exceeds|placement group"
            r"|driver initialization failed"
        ),
        "worker_init",
    ),
)


class Problem(NamedTuple):
    line: int
    text: str  # the raw line
    message: str
    process: Key
    place: int  # events of the attempt seen before
    phase: str | None  # what the frames of its traceback say
    kind: (
        str  # "cause"; "native": what C++ or the kernel says; "death": of a process, without a cause; "echo"
    )
    is_vllm: bool  # it speaks of vLLM, or its traceback leads through it


@dataclass
class _Traceback:
    phase: str | None = None
    lines: int = 0
    ignored: bool = False
    is_vllm: bool = False


@dataclass
class Problems:
    """Exceptions of one attempt as they pass by."""

    found: list[Problem] = field(default_factory=list)
    failed_place: int | None = None  # events before the first "EngineCore failed to start." or the like
    import_warning: tuple[int, str] | None = None
    echoed: bool = False  # the front end said that its engine failed
    _open: dict[tuple[Key, str | None], _Traceback] = field(default_factory=dict)
    _ignored: set[tuple[Key, str | None]] = field(
        default_factory=set
    )  # "Exception ignored in: …" came before

    @property
    def show_vllm(self) -> bool:
        """Whether one of them is vLLM's."""
        return any(problem.is_vllm for problem in self.found)

    @property
    def is_full(self) -> bool:
        """No other one is kept."""
        return len(self.found) >= KEPT

    def see(self, number: int, raw: str, line: Line, process: Key, place: int) -> None:
        """One line that is no marker."""
        if len(self.found) >= KEPT:
            return
        message = _RANK.sub("", line.message) if "[rank" in line.message else line.message
        message = _MARGIN.sub("", message, 1) if message.startswith(" ") else message
        key = (process, line.file)
        if message.startswith("Exception ignored in"):
            if len(self._ignored) < KEPT:
                self._ignored.add(key)
        elif _TRACEBACK in message:
            if len(self._open) < KEPT:
                self._open[key] = _Traceback(ignored=key in self._ignored)
            self._ignored.discard(key)
        elif key in self._open:
            self._inside(key, number, raw, message, place)
        elif line.level in (None, "ERROR", "CRITICAL") and is_end(message):
            self._add(number, raw, message, process, place, _Traceback())
        elif (
            line.level == "WARNING"
            and self.import_warning is None
            and (found := _IMPORT_WARNING.match(message))
        ):
            self.import_warning = (number, found[0][:TEXT_LIMIT])

    def _inside(self, key: tuple[Key, str | None], number: int, raw: str, message: str, place: int) -> None:
        trace = self._open[key]
        trace.lines += 1
        if frame := _FRAME.match(message):
            trace.phase = frame_phase(frame["file"], frame["function"]) or trace.phase
            trace.is_vllm = trace.is_vllm or "vllm" in frame["file"]
        elif message[:1] not in ("", " ", "\t", "|", "^", "~") and _EXCEPTION.match(message):
            del self._open[key]
            if not trace.ignored:
                self._add(number, raw, message, key[0], place, trace)
        elif trace.lines > 2000:
            del self._open[key]

    def _add(self, number: int, raw: str, message: str, process: Key, place: int, trace: _Traceback) -> None:
        self.echoed = self.echoed or _GAVE_UP.search(message[:300]) is not None
        text, is_vllm = message[:1000], trace.is_vllm or "vllm" in message
        found = Problem(number, raw[:TEXT_LIMIT], text, process, place, trace.phase, _kind(text), is_vllm)
        self.found.append(found)


def _kind(message: str) -> str:
    if _NATIVE.match(message):
        return "native"
    if _DIED.match(message):
        return "death"
    return "echo" if _SYMPTOMS.search(message[:300]) else "cause"


def is_end(message: str) -> bool:
    """Whether a line outside of any traceback is an exception, or what a shell or a runtime says of a death."""
    first = message[:1]
    if first in (" ", "\t"):
        return message[:16].lstrip().startswith("what(): ")
    if not first or len(message) > LONGEST or not _WORDS.search(message):
        return False
    named = _NAMED.match(message)
    if named is not None and named["name"].endswith(_NAMES) and named["name"] not in _NAMES:
        return True
    return _ENDS.match(message) is not None or _JOB.search(message) is not None


def root(problems: Sequence[Problem], is_worker: Callable[[Key], bool]) -> Problem | None:
    """The first of these that names the cause. The death of a process does so unless that process, or what runs
    beneath it, says why; an echo only where there is nothing else."""
    first = next((p for p in problems if p.kind != "echo"), None)
    if first is None:
        return problems[0] if problems else None
    if first.kind == "death":
        told = (p for p in problems if p.kind == "native" or (p.kind == "cause" and is_worker(p.process)))
        return next(told, first)
    return first


def message_phase(message: str) -> str | None:
    """The phase that an exception's own words name, or None."""
    head = message[:TEXT_LIMIT]
    return next((phase for pattern, phase in _MESSAGE_PHASES if pattern.search(head)), None)


def frame_phase(file: str, function: str) -> str | None:
    """The phase that a frame of a traceback belongs to, or None when it tells nothing."""
    if (
        "/_inductor/" in file or "/_dynamo/" in file or "/compilation/" in file
    ) and "__init__" not in function:
        return "compile"
    return next((phase for pattern, phase in _FRAME_PHASES if pattern.search(function)), None)
