"""What one attempt to start has shown so far: markers, processes, problems. Reading only; figures come later."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from vllmperf.starts.log.engine_config import EngineConfig, combined, from_arguments, from_engine
from vllmperf.starts.log.failure import Problems
from vllmperf.starts.log.lines import Line, whole
from vllmperf.starts.log.marker import Fields, Marker
from vllmperf.starts.log.process import Process
from vllmperf.starts.log.ray_serve import Replicas
from vllmperf.starts.log.wallclock import Moment, seconds_between

Key = tuple[int | None, str]  # pid, node; without a pid the engine's part, as in "[Stage-1]"

API_EVENTS = frozenset(
    ("api_version", "banner_version", "banner_model", "server_version", "args", "server_start", "headless")
)
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
NO_STEP = frozenset(
    (
        *("sleep_freed", "asleep", "awake", "ready", "shutdown", "failed", "died", "tasks", "server_start"),
        *("routes", "route", "uvicorn_started", "uvicorn_waiting", "uvicorn_running", "template_warmup"),
        "multimodal_warmup",
    )
)
"""What may come at any time: it is no step of a start."""
FRONT = frozenset(("server_start", "routes", "route"))
_CONFIGURING = frozenset(("engine_config", "engine_done", "args"))
KEPT_ONCE = frozenset(("route", "platform", "chunked_prefill", "concurrency", "checkpoint"))
KEPT_LAST = frozenset(("shards", "capture_bar", "deep_gemm_bar"))
LONG_S = 10  # uvicorn needs a second
MAX_EVENTS = 20_000
MAX_LATER = 1_000
MAX_ENGINES = 256

_HOSTS = {"kserve": "KServe", "ray serve": "Ray Serve"}
_HOST_WORDS = {"TRITONBACKEND_": "Triton", "GRPCInferenceService": "Triton", "BentoServer": "BentoML"}
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


@lru_cache(maxsize=4096)
def _platform_of(file: str) -> str | None:
    return next((platform for pattern, platform in _PLATFORM_FILES if pattern.search(file)), None)


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


class Life(NamedTuple):
    """A ready line of uvicorn's that no start was known for where it stood."""

    pid: int | None
    ready: Moment
    bound: bool = True  # False: it could not take its port


@dataclass
class Attempt:
    first_line: int
    events: list[Seen] = field(default_factory=list)
    later: list[Seen] = field(
        default_factory=list
    )  # steps after the start was over: reloads, engines that join
    later_count: int = 0
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    first: Moment | None = None  # first and last stamp of vLLM's own
    last: Moment | None = None
    stamped: int = 0  # lines with a stamp of vLLM's own
    finer: int = 0  # those of them that have a part of a second before it
    earliest: Moment | None = None  # first line of vLLM's that a collector stamped
    latest: Moment | None = None  # last moment of any kind
    last_line: int = 0
    names: dict[Key, Process] = field(default_factory=dict)
    named_at: dict[Key, int] = field(default_factory=dict)  # the first line of each
    parts: dict[Key, str] = field(default_factory=dict)  # "[Stage-1]"
    api: bool = False
    api_pids: set[int] = field(default_factory=set)
    host: str | None = None  # the server that the engine is part of: "Ray Serve", "TorchServe", …
    replicas: Replicas = field(default_factory=Replicas)
    ready: Moment | None = None
    ready_stamp: Moment | None = None  # last stamp at or before it
    early_ready: Moment | None = None  # a server said so before there was an engine
    loose: list[Life] = field(default_factory=list)
    front: Moment | None = None  # the last line before uvicorn's first
    ready_apart: bool = False  # the ready line stands apart from the others: `ready_stamp` is that of `front`
    web_pid: int | None = None  # of uvicorn's latest process
    ready_pid: int | None = None  # of the one that said ready
    server_pids: set[int] = field(default_factory=set)  # of API servers, as vLLM's own lines say
    answered_line: int | None = None
    served: Moment | None = None  # the first request
    served_lines: int = 0
    ended: bool = False
    problems: Problems = field(default_factory=Problems)
    platforms: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    repeats: int = 0
    rows: dict[Key, list[str]] = field(default_factory=dict)  # of configurations that a terminal wrapped
    argument_rows: list[str] | None = None
    configs: dict[Key, EngineConfig] = field(default_factory=dict)
    servers: set[Key] = field(default_factory=set)  # processes that said their arguments
    engines: dict[Key, str] = field(
        default_factory=dict
    )  # process names of those that said their configuration
    done: dict[Key, Moment] = field(default_factory=dict)  # when each engine was ready
    _arguments: str | None = None
    _kept: dict[tuple[str, Key], int] = field(default_factory=dict)
    _place: dict[str, int] = field(default_factory=dict)  # of the last marker of each event

    def has(self, *events: str) -> bool:
        return any(map(self.counts.get, events))

    @property
    def config(self) -> EngineConfig | None:
        """Of all engines."""
        wrapped = {key: from_engine(whole(rows)) for key, rows in self.rows.items()}
        return combined([*(self.configs | wrapped).values()])

    @property
    def arguments(self) -> EngineConfig | None:
        if self.argument_rows is not None:
            return from_arguments(whole(self.argument_rows).partition("args: ")[2].removeprefix("Namespace"))
        return from_arguments(self._arguments) if self._arguments is not None else None

    @property
    def has_engine(self) -> bool:
        return self.has(
            *ENGINE_EVENTS, "engine_done", "dynamo", "kv_tokens", "blocks", "gpu_blocks", "cpu_blocks"
        )

    @property
    def is_hosted_engine_up(self) -> bool:
        own = self.has("api_version", "banner_version", "server_version", "server_start")
        return not own and self.has("engine_done", "captured", "blocks", "gpu_blocks", "cpu_blocks")

    @property
    def shows_vllm(self) -> bool:
        """Whether anything in it is vLLM's: what uvicorn says, any server may say."""
        return (
            self.first is not None
            or self.has("traffic")
            or self.problems.show_vllm
            or any(process.kind for process in self.names.values())
            or any(seen.marker.logger != "uvicorn" for seen in self.events)
        )

    @property
    def is_past_front(self) -> bool:
        """Whether the server has answered or slept, or has printed for long behind the last line before uvicorn's."""
        if self.front is None or self.front.stamp is None or self.last is None or self.last.stamp is None:
            return False
        used = self.served is not None or self.has("sleep_freed", "asleep", "awake")
        return used or seconds_between(self.front, self.last) > LONG_S

    @property
    def is_lost(self) -> bool:
        """Whether the start may have failed, as far as the log has shown, or the server has ended."""
        return self.ended or bool(self.problems.found)

    @property
    def has_failed(self) -> bool:
        """Whether the server itself said so."""
        return self.ended or self.has_engine_failed

    @property
    def has_engine_failed(self) -> bool:
        return self.problems.failed_place is not None or self.problems.echoed

    @property
    def is_web_only(self) -> bool:
        """Whether nothing but uvicorn, and bars of progress, has spoken, and no request was answered."""
        spoke = self.first is not None or self.earliest is not None or self.served_lines > 0
        return not spoke and not self.has_steps

    @property
    def has_steps(self) -> bool:
        """Whether there is a marker that vLLM's own logger printed."""
        return any(seen.marker.logger not in ("uvicorn", "bar") for seen in self.events)

    def take_back(self, line: int) -> None:
        """The lines from here on are the next attempt's."""
        if self.first is not None and self.first.line >= line:
            self.first = self.last = None
        if self.earliest is not None and self.earliest.line >= line:
            self.earliest = None
        for key in [key for key, first in self.named_at.items() if first >= line]:
            del self.named_at[key], self.names[key]
            self.api_pids.discard(key[0] or 0)
            self.server_pids.discard(key[0] or 0)

    def step(self, line: Line, moment: Moment, key: Key) -> None:
        """Every line of the attempt."""
        self.last_line = moment.line
        process = line.process
        if process.pid is not None:
            self._name(key, process)
            self.named_at.setdefault(key, moment.line)
            self.host = self.host or process.host
        if line.logger == "vllm":
            if line.stamp is not None:
                self.first = self.first or moment
                self.last = moment
                self.stamped += 1
                self.finer += moment.envelope_ns is not None and moment.digits > 0
            if line.part:
                self.parts[key] = line.part
            if process.kind == "api" and process.pid is not None:
                self.server_pids.add(process.pid)
        if moment.envelope_ns is not None or (
            line.stamp is not None and not self._is_of_earlier(line, moment)
        ):
            self.latest = moment
            if line.logger == "vllm":
                self.earliest = self.earliest or moment
        if line.file:
            if (platform := _platform_of(line.file)) is not None:
                self.platforms[platform] += 1
        elif line.message.startswith("[aiter]"):
            self.platforms["rocm"] += 1
        if line.logger in _HOSTS:
            self.host = _HOSTS[line.logger]
        elif not line.logger and self.host is None:
            said = line.message[:200]
            self.host = next((host for word, host in _HOST_WORDS.items() if word in said), None)
        self.repeats += line.repeated

    def _is_of_earlier(self, line: Line, moment: Moment) -> bool:
        """Ray Serve keeps a file for each process: joined, the last one's lines may be the earliest."""
        return (
            line.logger == "ray serve"
            and self.latest is not None
            and not _is_after(moment, self.latest, self.latest)
        )

    def set_apart(self) -> None:
        """A server said ready before there was anything of vLLM's: what came since then is of a start."""
        assert self.ready is not None
        self.loose.append(Life(self.ready_pid, self.ready))
        self.early_ready, self.ready, self.ready_stamp = self.ready, None, None
        since, self.later, self.later_count = self.later, [], 0
        for seen in since:
            self.add(seen)

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

    def add(self, seen: Seen) -> bool:
        """A marker of this attempt; False when it came after the start was over and counts for nothing in it."""
        event = seen.marker.event
        if event not in NO_STEP and self._is_over(seen.moment):
            self.later_count += 1
            if len(self.later) < MAX_LATER:
                self.later.append(seen)
            return False
        self.counts[event] += 1
        self.api = self.api or event in API_EVENTS
        if event in FRONT and (seen.moment.stamp is not None or seen.moment.envelope_ns is not None):
            self.front = seen.moment
        elif event == "uvicorn_started":
            self.web_pid = int(seen.fields["pid"])
        if event in _CONFIGURING:
            self._configured(seen)
        if event in KEPT_ONCE and self.counts[event] > 8:
            return True
        if event in KEPT_LAST and (place := self._kept.get((event, seen.process))) is not None:
            self.events[place] = seen
            return True
        if len(self.events) < MAX_EVENTS:
            self._kept[event, seen.process] = self._place[event] = len(self.events)
            self.events.append(seen)
        return True

    def _configured(self, seen: Seen) -> None:
        if seen.event == "engine_config" and len(self.engines) < MAX_ENGINES:
            process = self.names.get(seen.process)
            self.engines[seen.process] = process.name if process else ""
            self.configs[seen.process] = from_engine(seen.fields["config"])
        elif seen.event == "engine_done":
            self.done[seen.process] = seen.moment
        elif seen.event == "args":
            self.servers.add(seen.process)
            self._arguments = seen.fields["args"]

    def _is_over(self, moment: Moment) -> bool:
        """Whether the start had ended when a line was printed. Lines may come in another order than they were
        printed in: what has the stamp of the last one before the end belongs to the start."""
        edge, stamp = self.ready, self.ready_stamp
        if edge is None and self.loose and self.front is not None:
            edge = stamp = self.front
        if edge is None and self.served is not None and self.has_engine:
            edge = stamp = self.served
        if edge is None and self.done and not self.api and self.done.keys() >= self.engines.keys():
            edge = stamp = max(self.done.values(), key=lambda done: done.line)
        return edge is not None and _is_after(moment, edge, stamp)

    def correct(self, event: str, marker: Marker, fields: Fields) -> None:
        """The last marker of an event says more than was read."""
        place = self._place.get(event)
        if place is not None and self.events[place].event == event:
            self.counts[event] -= 1
            self.counts[marker.event] += 1
            self.events[place] = self.events[place]._replace(marker=marker, fields=fields)

    def all(self, *events: str) -> list[Seen]:
        return [seen for seen in self.events if seen.event in events]


def _is_after(moment: Moment, edge: Moment, stamp: Moment | None) -> bool:
    if moment.stamp is not None and stamp is not None and stamp.stamp is not None:
        return (moment.turn, moment.stamp) > (stamp.turn, stamp.stamp)
    if moment.envelope_ns is not None and edge.envelope_ns is not None and moment.local == edge.local:
        return moment.envelope_ns > edge.envelope_ns
    return True
