"""The tab-separated files of vllm-serverStartupLatency.py and vllm-logParser.py (dumb0002/production-stack,
perf-test/server-startup, February to July 2025): no header, one row a pod.

LAYOUTS is the one table of them. Seconds and GiB. What is not known is `nan`, which float() reads and which spoils a
sum instead of making it too small. docs/startup.md says how each value differs from the scripts'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vllmperf.errors import UsageError
from vllmperf.starts.result import NS_PER_S, Phase, Start, StartupLog
from vllmperf.whole_file import write_whole

NAME = "vllm-server-startup-latency.txt"
MISSING = "nan"


@dataclass(frozen=True)
class Source:
    """A start, and how the scripts were told to look at it. cached: --model-cached yes."""

    start: Start
    cached: bool = False

    @property
    def log(self) -> StartupLog:
        return self.start.log or StartupLog()


class Measured(NamedTuple):
    """A value and what it may be off by; resolution_s None: printed by the server itself."""

    value: float | None
    resolution_s: float | None = None


class Column(NamedTuple):
    name: str
    meaning: str
    value: Callable[[Source], Measured]


# ---- instants ----


class Instant(NamedTuple):
    at_ns: int
    resolution_s: float


def _begin(source: Source, *names: str) -> Instant | None:
    """The first begin of the first of these phases that is known."""
    for name in names:
        ends = [(p.start_ns, p) for p in _phases(source, name) if p.start_ns is not None]
        if ends:
            return _instant(source, *min(ends, key=lambda end: end[0]))
    return None


def _finish(source: Source, *names: str) -> Instant | None:
    """The last end of the first of these phases that is known."""
    for name in names:
        ends = [(p.end_ns, p) for p in _phases(source, name) if p.end_ns is not None]
        if ends:
            return _instant(source, *max(ends, key=lambda end: end[0]))
    return None


def _phases(source: Source, name: str) -> list[Phase]:
    """Of the server as a whole; of its ranks only where it has none."""
    found = [phase for phase in source.start.phases if phase.name == name]
    return [phase for phase in found if phase.critical] or found


def _instant(source: Source, at_ns: int, phase: Phase) -> Instant:
    known = phase.resolution_s
    return Instant(at_ns, _log_resolution_s(source) if known is None else known)


def _of_log(source: Source, at_ns: int | None) -> Instant | None:
    return None if at_ns is None else Instant(at_ns, _log_resolution_s(source))


def _log_resolution_s(source: Source) -> float:
    return source.log.clock.resolution_s if source.log.clock is not None else 1.0


def _span(begin: Instant | None, end: Instant | None) -> Measured:
    if begin is None or end is None or end.at_ns < begin.at_ns:
        return Measured(None)
    return Measured((end.at_ns - begin.at_ns) / NS_PER_S, max(begin.resolution_s, end.resolution_s))


def _reported(source: Source, name: str) -> Measured:
    value = source.log.reported.get(name)
    return Measured(None if value is None else float(value))


def _first_of(*choices: Measured) -> Measured:
    return next((choice for choice in choices if choice.value is not None), Measured(None))


LOADING = ("weights_download", "weights_load", "model_finish")


# ---- values ----


def process_startup(source: Source) -> Measured:
    """Container (or process) started to the first line of the log."""
    return _span(_begin(source, "imports"), _finish(source, "imports"))


def engine_init(source: Source) -> Measured:
    first = None if source.log.cut_at_start else _of_log(source, source.log.first_log_ns)
    return _span(
        first or _begin(source, "config"), _finish(source, "worker_init") or _begin(source, *LOADING)
    )


def download(source: Source) -> Measured:
    return _reported(source, "weights_download_s")


def load_span(source: Source) -> Measured:
    """Cached: from `Starting to load model`, a download within included; else from the end of the download."""
    if source.cached:
        return _span(_begin(source, *LOADING), _finish(source, "weights_load"))
    span = _span(_begin(source, "weights_load"), _finish(source, "weights_load"))
    return _first_of(span, _reported(source, "weights_load_s"))


def load_reported(source: Source) -> Measured:
    return _reported(source, "weights_load_s")


def weights_gib(source: Source) -> Measured:
    return _reported(source, "weights_gib")


def before_compile(source: Source) -> Measured:
    return _span(_finish(source, "weights_load", "model_finish"), _begin(source, "dynamo", "compile"))


def compile_total(source: Source) -> Measured:
    """What the log says in total, else the time from Dynamo to the last graph."""
    span = _span(_begin(source, "dynamo", "compile"), _finish(source, "compile", "dynamo"))
    return _first_of(_reported(source, "torch_compile_total_s"), span)


def graph_capture(source: Source) -> Measured:
    span = _span(_begin(source, "graph_capture"), _finish(source, "graph_capture"))
    return _first_of(_reported(source, "graph_capture_s"), span)


def readiness_of_pod(source: Source) -> Measured:
    """The engine done to the pod's Ready (or the first 200 on /health)."""
    done = _finish(source, "engine_finish", "graph_capture", "kv_cache")
    return _span(done, _finish(source, "ready"))


def readiness_of_log(source: Source) -> Measured:
    """Graphs captured (without graphs: the engine done) to the server's `startup complete`."""
    done = _finish(source, "graph_capture", "engine_finish", "kv_cache")
    return _span(done, _of_log(source, source.log.ready_ns))


def readiness(source: Source) -> Measured:
    return _first_of(readiness_of_pod(source), readiness_of_log(source))


def model_loading(source: Source) -> Measured:
    span = _span(_begin(source, *LOADING), _finish(source, "model_finish", "weights_load"))
    return _first_of(_reported(source, "model_loading_s"), span)


def memory_profiling(source: Source) -> Measured:
    span = _span(_begin(source, "profile"), _finish(source, "profile"))
    return _first_of(_reported(source, "v0_memory_profiling_s"), span)


def _cycle(source: Source, kind: str, field: str) -> Measured:
    """Of the first cycle of its kind that says it: a row has one place for it."""
    values = [getattr(cycle, field) for cycle in source.log.sleep if cycle.kind == kind]
    return Measured(next((value for value in values if value is not None), None))


def total(source: Source, parts: Sequence[Column]) -> Measured:
    """The sum of the parts that are known; none for a start that did not come up."""
    known = [value for part in parts if (value := part.value(source).value) is not None]
    if not known or not source.start.reached:
        return Measured(None)
    return Measured(round(math.fsum(known), 6))


# ---- layouts ----

PROCESS = Column("process_startup_s", "container started to the first line of the log", process_startup)
ENGINE = Column("engine_init_s", "first line of the log to the start of loading", engine_init)
DOWNLOAD = Column("weights_download_s", "the log's number for the download", download)
LOAD = Column("weights_load_s", "end of the download to weights loaded", load_span)
LOAD_JULY = Column("weights_load_s", "the log's number in `Loading weights took`", load_reported)
SIZE = Column("weights_gib", "the log's size of the weights, GiB", weights_gib)
BEFORE = Column("before_compile_s", "weights loaded to the start of torch.compile", before_compile)
COMPILE = Column("torch_compile_s", "the log's total of torch.compile", compile_total)
GRAPHS = Column("graph_capture_s", "the log's number for the capture of graphs", graph_capture)
READY = Column("api_readiness_s", "engine done to the pod Ready", readiness)
READY_OFFLINE = Column("api_readiness_s", "graphs captured to `startup complete`", readiness_of_log)
LOADING_ALL = Column("model_loading_s", "the model loaded in all", model_loading)
PROFILING = Column("memory_profiling_s", "memory profiling", memory_profiling)
ASLEEP = Column("sleep_s", "time to fall asleep", lambda source: _cycle(source, "sleep", "duration_s"))
FREED = Column(
    "sleep_freed_gib", "GPU memory that sleep freed", lambda source: _cycle(source, "sleep", "freed_gib")
)
KEPT = Column(
    "sleep_kept_gib", "GPU memory still in use", lambda source: _cycle(source, "sleep", "in_use_gib")
)
AWAKE = Column("wake_s", "time to wake up", lambda source: _cycle(source, "wake", "duration_s"))

_D = (ENGINE, DOWNLOAD, LOAD, SIZE, BEFORE, COMPILE, GRAPHS)
_E = (ENGINE, DOWNLOAD, LOAD_JULY, SIZE, BEFORE, COMPILE, GRAPHS)


def _july(ready: Column) -> tuple[Column, ...]:
    """The columns of July from engine init on, with either meaning of readiness."""
    summed = (*(column for column in _E if column is not SIZE), ready)
    meaning = "sum of engine init to API readiness, without the process"
    return (
        *_E,
        ready,
        ASLEEP,
        FREED,
        KEPT,
        AWAKE,
        Column("total_s", meaning, lambda source: total(source, summed)),
    )


class Layout(NamedTuple):
    """Columns of a row; has_pod: the pod's name stands before them."""

    when: str
    has_pod: bool
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (("pod",) if self.has_pod else ()) + tuple(column.name for column in self.columns)


LAYOUTS = {
    "A": Layout("2025-02-11", True, (PROCESS, LOADING_ALL, PROFILING, GRAPHS, READY)),
    "B": Layout("after A", True, (ENGINE, LOADING_ALL, GRAPHS, READY)),
    "C": Layout("about 2025-02-16", True, (ENGINE, LOAD, SIZE, BEFORE, COMPILE, GRAPHS, READY)),
    "D": Layout("2025-02-27, that of the guide", True, (PROCESS, *_D, READY)),
    "D-offline": Layout("2025-02-27, vllm-logParser.py", False, (*_D, READY_OFFLINE)),
    "E": Layout("July 2025", False, (PROCESS, *_july(READY))),
    "E-offline": Layout("July 2025, vllm-logParser.py", False, _july(READY_OFFLINE)),
}
DEFAULT = "D"
OFFLINE = {"D": "D-offline", "E": "E-offline"}
"""The layout that vllm-logParser.py wrote at the time of a live one."""


# ---- writing ----


def file_name(model: str | None) -> str:
    """<model>_vllm-server-startup-latency.txt, or without a model that of the offline parser."""
    return f"{safe(model)}_{NAME}" if model else NAME


def safe(name: str) -> str:
    """A name as one part of a path: org/model → org_model."""
    kept = re.sub(r"[^\w.+@=-]+", "_", name).strip("._")
    return kept.encode()[:180].decode(errors="ignore") or "unnamed"


def row(start: Start, layout: str = DEFAULT, *, cached: bool = False) -> str:
    """The line of a start, without its line end. Raises UsageError for an unknown layout."""
    chosen, source = _layout(layout), Source(start, cached)
    cells = [_pod(start.name)] if chosen.has_pod else []
    return "\t".join([*cells, *(text(column.value(source)) for column in chosen.columns)])


def _pod(name: str) -> str:
    """A tab or a blank in it would make another column of it."""
    return "_".join(name.split()) or "unnamed"


def text(measured: Measured) -> str:
    """As the scripts wrote it: whole seconds from whole-second stamps, the log's numbers with the log's digits."""
    value, resolution = measured
    if value is None:
        return MISSING
    if resolution is not None and resolution >= 1:
        return str(round(value))
    shown = f"{value:.{6 if resolution is None else 3}f}"
    return shown.rstrip("0").rstrip(".")


def rows(starts: Sequence[Start], layout: str = DEFAULT, *, cached: bool = False) -> str:
    return "".join(row(start, layout, cached=cached) + "\n" for start in starts)


def write(
    starts: Sequence[Start],
    folder: Path,
    model: str | None = None,
    layout: str = DEFAULT,
    *,
    cached: bool = False,
) -> Path:
    """Write the file of all starts into a folder, which is made, and give its path.

    Raises UsageError when it cannot be written or the layout is unknown.
    """
    content = rows(starts, layout, cached=cached)
    path = folder / file_name(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    write_whole(path, content)
    return path


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise UsageError(f"there is no layout {name!r}: choose from {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


# ---- reading ----


def read(path: Path, layout: str | None = None) -> list[dict[str, str | float | None]]:
    """Rows of a file by any of the scripts or by write(): {"layout": …, "pod": …, column: number or None}.

    The layout is told from the number of columns and whether the first one is a number; `layout` overrides that
    (a pod named `123` needs it). A 0 of the scripts may be their sign for missing: it is read as 0.
    Raises UsageError for a file that cannot be read and names the line that fits no layout.
    """
    try:
        content = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            found.append(_read_row(line, layout, f"{path}, line {number}"))
    return found


def _read_row(line: str, layout: str | None, where: str) -> dict[str, str | float | None]:
    cells = line.split("\t") if "\t" in line else line.split()
    name = layout or _told_apart(cells)
    if name is None or len(cells) != len(_layout(name).names):
        sizes = ", ".join(f"{key}: {len(each.names)}" for key, each in LAYOUTS.items())
        raise UsageError(f"{where} has {len(cells)} columns, which fits no layout ({sizes})")
    values = [_number(cell, where) for cell in cells[1 if _layout(name).has_pod else 0 :]]
    named: Sequence[str | float | None] = [cells[0], *values] if _layout(name).has_pod else values
    return {"layout": name, **dict(zip(_layout(name).names, named, strict=True))}


def _told_apart(cells: Sequence[str]) -> str | None:
    has_pod = not _is_number(cells[0])
    fitting = (k for k, each in LAYOUTS.items() if len(each.names) == len(cells) and each.has_pod == has_pod)
    return next(fitting, None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, where: str) -> float | None:
    if not _is_number(cell):
        raise UsageError(f"{where}: {cell!r} is not a number")
    value = float(cell)
    return value if math.isfinite(value) else None
