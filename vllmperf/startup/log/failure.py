"""Finds why a start failed: the first exception that nothing came after, not the last symptom of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from vllmperf.startup.log.lines import Line

TEXT_LIMIT = 400
KEPT = 200

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:\([A-Z]\w*\))?|\w*(?:error|timeout|exception))(?:: |:$|$)"
)
_NAMED = re.compile(
    r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure|NotFound|Timeout)(?:\([\w.]+\))?(?:: |:$|$)"
)
_DEATHS = re.compile(
    r"(?:.*: )?(?:Killed|Terminated|Segmentation fault|Bus error|Aborted|Illegal instruction)(?: \(core dumped\))?$"
    r"|Fatal Python error: |!+ Segfault encountered !+|vllm[\w. ]*: error: |\S+\.py: error: "
    r"|(?:.*: )?(?:line \d+: )?(?:\[\d+\]\s+)?\s*\d+ +(?:[Kk]illed|Segmentation fault|Aborted)\b"
    r"|docker: Error response from daemon: |.*executable file not found in \$PATH"
    r"|\[Errno \d+\] error while attempting to bind on address "
    r"|\[[\w.:-]+\] FATAL: |terminate called after throwing|\S+: (?:command not found|No such file or directory)$"
)
_FRAME = re.compile(r'\s*File "(?P<file>[^"]*)", line \d+, in (?P<function>\S+)')
_SYMPTOMS = re.compile(
    r"Engine core initialization failed|Engine process failed to start|Failed core proc|EngineDeadError"
    r"|WorkerProc initialization failed|Worker failed with error|Worker proc \w+ died|KeyboardInterrupt|SystemExit"
    r"|BrokenPipeError|ConnectionResetError|ProcessRaisedException|resource_tracker|cancelled|CancelledError"
    r"|Cancelled|shutting down|Engine loop has died|background process"
)
_RANK = re.compile(r"\[rank\d+\]: ?")  # torch puts it before every line of a traceback
_IMPORT_WARNING = re.compile(r"Failed to import from vllm\._C\w*\b.*", re.S)

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
    process: str
    place: int  # events of the attempt seen before
    phase: str | None  # what the frames of its traceback say
    symptom: bool


@dataclass
class _Traceback:
    phase: str | None = None
    lines: int = 0
    ignored: bool = False


@dataclass
class Problems:
    """Exceptions of one attempt as they pass by."""

    found: list[Problem] = field(default_factory=list)
    failed_place: int | None = None  # events before the first "EngineCore failed to start." or the like
    import_warning: tuple[int, str] | None = None
    _open: dict[tuple[str, str | None], _Traceback] = field(default_factory=dict)
    _ignored: set[tuple[str, str | None]] = field(
        default_factory=set
    )  # "Exception ignored in: …" came before

    def see(self, number: int, raw: str, line: Line, process: str, place: int) -> None:
        """One line that is no marker."""
        message = _RANK.sub("", line.message)
        key = (process, line.file)
        if message.startswith("Exception ignored in"):
            self._ignored.add(key)
        elif _TRACEBACK in message:
            self._open[key] = _Traceback(ignored=key in self._ignored)
            self._ignored.discard(key)
        elif key in self._open:
            self._inside(key, number, raw, message, place)
        elif line.level in (None, "ERROR", "CRITICAL") and is_end(message):
            self._add(number, raw, message, process, place, None)
        elif (
            line.level == "WARNING"
            and self.import_warning is None
            and (found := _IMPORT_WARNING.match(message))
        ):
            self.import_warning = (number, found[0][:TEXT_LIMIT])

    def _inside(self, key: tuple[str, str | None], number: int, raw: str, message: str, place: int) -> None:
        trace = self._open[key]
        trace.lines += 1
        if frame := _FRAME.match(message):
            trace.phase = frame_phase(frame["file"], frame["function"]) or trace.phase
        elif message[:1] not in ("", " ", "\t", "|", "^", "~") and _EXCEPTION.match(message):
            del self._open[key]
            if not trace.ignored:
                self._add(number, raw, message, key[0], place, trace.phase)
        elif trace.lines > 2000:
            del self._open[key]

    def _add(self, number: int, raw: str, message: str, process: str, place: int, phase: str | None) -> None:
        if len(self.found) < KEPT:
            symptom = _SYMPTOMS.search(message[:300]) is not None
            self.found.append(Problem(number, raw[:TEXT_LIMIT], message, process, place, phase, symptom))


def is_end(message: str) -> bool:
    """Whether a line outside of any traceback is an exception, or what a shell or a runtime says of a death."""
    if message[:1] in (" ", "\t", "") or len(message) > 20_000:
        return False
    return _NAMED.match(message) is not None or _DEATHS.match(message) is not None


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
