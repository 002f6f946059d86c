"""The course of a simulated start: which process says what when, in the wording of the table of markers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from string import Formatter

from vllmperf.sim.startup_script import NS_PER_S, StartupScript
from vllmperf.sim.startup_style import Line, Process, Style, place
from vllmperf.starts.log.markers import Marker, version_key, wordings


@dataclass(frozen=True)
class Span:
    start_ns: int
    end_ns: int


@dataclass
class Plan:
    """What will be written, and what is true of it. Instants are ns after the process's start."""

    lines: list[Line] = field(default_factory=list)
    spans: dict[str, Span] = field(default_factory=dict)  # phases that were gone through
    said: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # {reported name: {rank: number}}, unrounded
    ready_ns: int | None = None
    failed: str | None = None  # the phase
    cause: str | None = None  # line of the failure
    end_ns: int = 0


class EndedError(Exception):
    """A phase ends the start; `explained` when a traceback tells why."""

    def __init__(self, phase: str, explained: bool) -> None:
        self.phase, self.explained = phase, explained


def fitting(event: str, version: str, names: Iterable[str], such: str = "") -> Marker | None:
    """The wording of a release for an event whose fields are all known: the one that tells most, then the newest.
    `such` is a text that it has to hold, where two wordings differ by that alone."""
    at, known = version_key(version), set(names)
    found = [
        marker
        for marker in wordings(event)
        if version_key(marker.since) <= at
        and (marker.until is None or at <= version_key(marker.until))
        and _fields(marker) <= known
        and such in marker.template
    ]
    return max(found, key=lambda m: (len(_fields(m)), version_key(m.since)), default=None)


FILES = {
    "args": (
        ("0.23.0", "api_utils.py"),
        ("0.10.1", "utils.py"),
        ("0.9.1", "cli_args.py"),
        ("0", "api_server.py"),
    ),
    "architecture": (("0.11.0", "model.py"), ("0", "__init__.py")),
    "max_model_len": (("0.11.0", "model.py"), ("0", "__init__.py")),
    "chunked_prefill": (("0.10.0", "scheduler.py"), ("0", "config.py")),
    "concurrency": (("0.8.0", "kv_cache_utils.py"), ("0", "executor_base.py")),
    "weights_took": (("0.9.0", "default_loader.py"), ("0", "loader.py")),
    "tasks": (("0.28.0", "entry.py"), ("0", "api_server.py")),
    "server_start": (("0.28.0", "entry.py"), ("0", "api_server.py")),
    "routes": (("0", "launcher.py"),),
    "route": (("0", "launcher.py"),),
    "aot_saved": (("0", "decorators.py"),),
    "aot_loaded": (("0", "decorators.py"),),
    "capture_start": (("0", "model_runner.py"),),
    "eager": (("0.12.0", "vllm.py"), ("0", "__init__.py")),
}
"""Which of its source files prints an event, from which release on, where the table's first is not the one."""


def file_of(marker: Marker, style: Style) -> str:
    for since, file in FILES.get(marker.event, ()):
        if style.at_least(since):
            return file
    return marker.files[0] if marker.files else "utils.py"


def _fields(marker: Marker) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(marker.template) if name}


@dataclass(frozen=True)
class Rank:
    """One worker: its place, who prints for it, and how much faster than the slowest one it is."""

    index: int
    dp: int
    pp: int
    tp: int
    process: Process
    before: Process  # the name that it has until its place is known
    factor: float
    speaks: bool

    @property
    def local(self) -> str:
        return f"{self.process.name or 'main'} {self.index}"


class Course:
    """Goes through the phases of a script and notes what is said."""

    def __init__(self, script: StartupScript) -> None:
        self.script = script
        self.plan = Plan()
        self.now = 0
        self.load_began = self.engine_began = 0
        self.style = Style(script.release, script.json, script.colour)
        named = self.style.names_processes
        self.main = Process(self._main_name() if named else "", script.pid)
        self.front = [self.main]
        if script.dp > 1 and self.style.at_least("0.18.0"):
            self.front = [Process(f"ApiServer_{i}", script.pid + 1 + i) for i in range(script.dp)]
        first = script.pid + len(self.front) + 10
        self.engines = [Process(self._engine_name(i) if named else "", first + i) for i in range(script.dp)]
        self.ranks = [self._rank(i, first + script.dp) for i in range(script.ranks)]

    # --- who speaks

    def _main_name(self) -> str:
        return "MainProcess" if self.script.dp > 1 and self.style.at_least("0.18.0") else "APIServer"

    def _engine_name(self, index: int) -> str:
        if self.script.dp > 1 or self.style.numbers_lone_engines:
            return self.style.engine_name.format(index)
        return "EngineCore"

    def _rank(self, index: int, first_pid: int) -> Rank:
        script = self.script
        each = script.tp * script.pp
        dp, pp, tp = index // each, index // script.tp % script.pp, index % script.tp
        speaks = self.style.all_ranks_speak or index % each == 0
        slowest = each - 1 if self.style.all_ranks_speak else 0
        behind = abs(index % each - slowest) / max(each - 1, 1)
        process, before = self._worker(index, dp, pp, tp, first_pid)
        return Rank(index, dp, pp, tp, process, before, 1 - script.spread * behind, speaks)

    def _worker(self, index: int, dp: int, pp: int, tp: int, first_pid: int) -> tuple[Process, Process]:
        script, pid = self.script, first_pid + index
        alone = script.tp * script.pp == 1
        if alone and not (script.platform == "cpu" and self.style.at_least("0.28.0")):
            return self.engines[dp], self.engines[dp]
        if not self.style.names_processes:
            old = "VllmWorkerProcess" if script.runner == "V0" else "VllmWorker"
            same = Process(old, pid, index)
            return same, same
        name = "Worker" if self.style.at_least("0.10.2") else "VllmWorker"
        for size, letter, place_ in ((script.dp, "DP", dp), (script.pp, "PP", pp), (script.tp, "TP", tp)):
            joint = "_" if self.style.at_least("0.10.2") or not name.endswith("Worker") else " "
            name += f"{joint}{letter}{place_}" if size > 1 and not alone else ""
        early = "Worker" if self.style.at_least("0.18.0") else name
        return Process(name, pid, index), Process(early, pid, index)

    @property
    def speakers(self) -> Iterator[Rank]:
        return (rank for rank in self.ranks if rank.speaks)

    @property
    def runner_file(self) -> str:
        if self.script.platform == "cpu":
            return "cpu_model_runner.py"
        return "model_runner.py" if self.script.runner in ("V0", "V2") else "gpu_model_runner.py"

    @property
    def core_file(self) -> str:
        return "llm_engine.py" if self.script.runner == "V0" else "core.py"

    # --- saying

    def line(
        self,
        process: Process,
        text: str,
        at: int | None = None,
        source: str | None = None,
        level: str = "INFO",
        logger: str = "vllm",
    ) -> None:
        """Any text."""
        self.plan.lines.append(Line(self.now if at is None else at, process, text, source, level, logger))

    def word(self, event: str, such: str = "", **fields: object) -> str:
        """The text of this release for an event, "" when it has none."""
        marker = fitting(event, self.script.release, fields, such)
        return marker.write(**fields) if marker else ""

    def say(
        self,
        event: str,
        process: Process,
        at: int | None = None,
        file: str | None = None,
        level: str = "INFO",
        such: str = "",
        **fields: object,
    ) -> bool:
        """The message of this release for an event, by its logger. False when it has none."""
        marker = fitting(event, self.script.release, fields, such)
        if marker is None:
            return False
        file = file or file_of(marker, self.style)
        source = place(file) if marker.logger == "vllm" else None
        self.line(process, marker.write(**fields), at, source=source, logger=marker.logger, level=level)
        return True

    def note(self, key: str, who: str, value: float) -> None:
        self.plan.said.setdefault(key, {})[who] = value

    def spend(self, phase: str) -> int:
        """Let a phase pass; its start. EndedError when it is the one that fails."""
        start = self.now
        if not self.script.has(phase):
            return start
        self.now += self.script.lasts_ns(phase)
        self.plan.spans[phase] = Span(start, self.now)
        if phase in (self.script.fail, self.script.stop):
            raise EndedError(phase, explained=phase == self.script.fail)
        return start

    def each(self, start: int, do: Callable[[Rank, int, float], None]) -> None:
        """`do(rank, its end, its seconds)` for every rank that speaks in a span that began at `start`."""
        for rank in self.speakers:
            end = start + round((self.now - start) * rank.factor)
            do(rank, end, (end - start) / NS_PER_S)
