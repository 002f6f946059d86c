"""What one attempt to start has shown so far: markers, processes, problems. Reading only; figures come later."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from vllmperf.startup.log.engine_config import EngineConfig, from_arguments, from_engine
from vllmperf.startup.log.failure import Problems
from vllmperf.startup.log.lines import Line, Process
from vllmperf.startup.log.marker import Fields, Marker
from vllmperf.startup.log.wallclock import Moment

Key = tuple[int | None, str]  # pid, node

API_EVENTS = frozenset(("api_version", "banner_version", "banner_model", "args", "server_start", "headless"))
ENGINE_EVENTS = frozenset(
    ("engine_config", "load_start", "load_scratch", "weights_took", "model_loaded", "hpu_loaded")
)
PROGRESS = ENGINE_EVENTS | {
    *(
        "world",
        "rank",
        "nccl",
        "dynamo",
        "compiled",
        "cache_loaded",
        "compile_total",
        "warmup_run",
        "profiled",
    ),
    *("kv_available", "kv_tokens", "blocks", "captured", "engine_done", "server_start", "architecture"),
    "max_model_len",
}
KEPT_ONCE = frozenset(("route", "platform", "chunked_prefill", "concurrency", "checkpoint"))
KEPT_LAST = frozenset(("shards", "capture_bar", "deep_gemm_bar"))
MAX_EVENTS = 20_000

_PLATFORM_FILES = (
    (re.compile(r"rocm|aiter|hip"), "rocm"),
    (re.compile(r"tpu"), "tpu"),
    (re.compile(r"neuron"), "neuron"),
    (re.compile(r"hpu|habana"), "hpu"),
    (re.compile(r"xpu|ipex"), "xpu"),
    (re.compile(r"^cpu(?:_(?:worker|model_runner|executor))?\.py"), "cpu"),
    (re.compile(r"openvino"), "openvino"),
    (re.compile(r"^cuda\.py"), "cuda"),
    (re.compile(r"^(?:pynccl|custom_all_reduce|flash_attn|flashinfer|cuda_communicator)\.py"), "cuda"),
)


def process_name(key: Key) -> str:
    """A process as a text, for problems."""
    return f"{key[0] or ''} {key[1]}"


class Seen(NamedTuple):
    """A marker as it was met."""

    marker: Marker
    fields: Fields
    moment: Moment
    process: Key
    file: str | None
    label: str | None  # "[backbone]" before the message
    repeated: int

    @property
    def event(self) -> str:
        return self.marker.event


@dataclass
class Attempt:
    first_line: int
    events: list[Seen] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    first: Moment | None = None  # first and last stamp of vLLM's own
    last: Moment | None = None
    earliest: Moment | None = None  # first line of vLLM's that a collector stamped
    latest: Moment | None = None  # last moment of any kind
    last_line: int = 0
    names: dict[Key, Process] = field(default_factory=dict)
    api: bool = False
    api_pids: set[int] = field(default_factory=set)
    ready: Moment | None = None
    ready_stamp: Moment | None = None  # last stamp at or before it
    early_ready: Moment | None = None  # a server said so before there was an engine
    answered_line: int | None = None
    served_lines: int = 0
    ended: bool = False
    problems: Problems = field(default_factory=Problems)
    platforms: Counter[str] = field(default_factory=Counter)
    config: EngineConfig | None = None
    arguments: EngineConfig | None = None
    repeats: int = 0
    _kept: dict[tuple[str, Key], int] = field(default_factory=dict)

    def has(self, *events: str) -> bool:
        return any(self.counts[event] for event in events)

    @property
    def has_engine(self) -> bool:
        return self.has(
            *ENGINE_EVENTS, "engine_done", "dynamo", "kv_tokens", "blocks", "gpu_blocks", "cpu_blocks"
        )

    def step(self, line: Line, moment: Moment, key: Key) -> None:
        """Every line of the attempt."""
        self.last_line = moment.line
        if line.process.pid is not None:
            self._name(key, line.process)
        if line.logger == "vllm" and line.stamp is not None:
            self.first = self.first or moment
            self.last = moment
        if line.stamp is not None or moment.envelope_ns is not None:
            self.latest = moment
            if line.logger == "vllm":
                self.earliest = self.earliest or moment
        if line.file:
            self._vote(line)
        elif line.message.startswith("[aiter]"):
            self.platforms["rocm"] += 1
        self.repeats += line.repeated

    def skipped_to(self, moment: Moment) -> None:
        """Traffic up to here was not read."""
        self.last_line, self.latest = moment.line, moment

    def _name(self, key: Key, process: Process) -> None:
        known = self.names.get(key)
        if known is None or (known.rank is None and process.name):
            self.names[key] = process
        if process.kind == "api" and process.pid is not None:
            self.api = True
            self.api_pids.add(process.pid)

    def _vote(self, line: Line) -> None:
        assert line.file is not None
        for pattern, platform in _PLATFORM_FILES:
            if pattern.search(line.file):
                self.platforms[platform] += 1
                return

    def add(self, seen: Seen) -> None:
        """A marker of this attempt."""
        event = seen.event
        self.counts[event] += 1
        self.api = self.api or event in API_EVENTS
        if event == "engine_config":
            self.config = from_engine(seen.fields["config"])
        elif event == "args":
            self.arguments = from_arguments(seen.fields["args"])
        if event in KEPT_ONCE and self.counts[event] > 8:
            return
        if event in KEPT_LAST and (place := self._kept.get((event, seen.process))) is not None:
            self.events[place] = seen
            return
        if len(self.events) < MAX_EVENTS:
            self._kept[event, seen.process] = len(self.events)
            self.events.append(seen)

    def correct(self, event: str, marker: Marker, fields: Fields) -> None:
        """The last marker of an event says more than was read."""
        for place in range(len(self.events) - 1, -1, -1):
            if self.events[place].event == event:
                self.counts[event] -= 1
                self.counts[marker.event] += 1
                self.events[place] = self.events[place]._replace(marker=marker, fields=fields)
                return

    def config_goes_on(self, text: str) -> None:
        """The engine's configuration line was wrapped: this is all of it so far."""
        self.config = from_engine(text)

    def arguments_go_on(self, text: str) -> None:
        self.arguments = from_arguments(text)

    def all(self, *events: str) -> list[Seen]:
        return [seen for seen in self.events if seen.event in events]

    def progress_after(self, place: int, key: Key | None = None) -> int:
        """Steps of the start among the events from a place on, of one process or of all."""
        return sum(seen.event in PROGRESS and key in (None, seen.process) for seen in self.events[place:])
