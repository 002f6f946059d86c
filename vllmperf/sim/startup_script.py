"""What a simulated start is to be: version, durations of its phases, ranks, cache, failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.sim.config import number, switch, text, whole, wrong

NS_PER_S = 1_000_000_000

VERSIONS = {"0.7.3": "0.7.3", "0.8.5": "0.8.5", "0.11": "0.11.0", "0.19": "0.19.0", "0.28": "0.28.0"}
"""Names of the releases that the tests hold against real logs, and what each prints. Any other release from 0.7.3 on
is written by the same table of markers."""

DURATIONS = (
    "imports",
    "config",
    "engine_process",
    "worker_init",
    "weights_download",
    "weights_load",
    "model_finish",
    "dynamo",
    "compile",
    "profile",
    "kv_cache",
    "kernel_warmup",
    "graph_capture",
    "engine_finish",
    "frontend",
)
"""Phases of `vllmperf.starts.phases` that a process can say something of, in order."""


@dataclass(frozen=True)
class Cycle:
    """One /sleep or /wake_up after the start."""

    kind: str  # "sleep" or "wake"
    after: float  # s since the start was ready, or since the cycle before it ended
    takes: float  # s


@dataclass(frozen=True, repr=False)
class StartupScript:
    """One start of a simulated vLLM. Durations are seconds; what a release or a platform does not have (compiling in V0
    or with `eager`, graphs on a CPU, kernel warm-up before 0.10) takes no time whatever is said here.

    UsageError for what vLLM does not do, such as data parallelism before 0.10.2.
    """

    version: str = "0.19"
    model: str = "sim"
    platform: str = "cuda"  # "cuda", "rocm", "cpu"
    engine: str = ""  # "V0", "V1", "V2"; "": what the release takes by itself
    tp: int = 1
    pp: int = 1
    dp: int = 1
    cache: str = (
        "cold"  # "warm": compiled graphs come from the cache, and `compile` is the time of loading them
    )
    eager: bool = False

    imports: float = 0.2
    config: float = 0.1
    engine_process: float = 0.2
    worker_init: float = 0.1
    weights_download: float = 0.0  # printed only above 0.5 s, as vLLM does
    weights_load: float = 0.3
    model_finish: float = 0.05
    dynamo: float = 0.1
    compile: float = 0.2
    profile: float = 0.1
    kv_cache: float = 0.05
    kernel_warmup: float = 0.0
    graph_capture: float = 0.1
    engine_finish: float = 0.05
    frontend: float = 0.1

    spread: float = (
        0.1  # the fastest rank takes this share less than the slowest for weights, compiling and capture
    )
    shards: int = 4
    weights_gib: float = 14.98
    kv_cache_gib: float = 37.81
    kv_cache_tokens: int = 275_328
    num_gpu_blocks: int = 17_208
    num_cpu_blocks: int = 2_048
    graph_capture_gib: float = 0.57
    max_model_len: int = 8_192

    fail: str = ""  # a phase: it takes its time and then fails with vLLM's traceback
    stop: str = ""  # a phase: the log just ends after it, as when the kernel kills the process
    sleep: float = 0.3  # time that /sleep takes
    wake: float = 0.1  # time that /wake_up takes
    cycles: tuple[Cycle, ...] = ()  # of a log that is written at once; a running server is told by requests
    requests: int = 0  # requests that are answered after the start, in such a log

    port: str = "open"  # of a running server: "open" answers 503 until ready, "closed" listens only then, as vLLM does
    http_port: int = 8000  # that the log tells of
    pid: int = 1  # of the API server; the others follow
    json: bool = False  # vLLM's messages through a JSON formatter
    colour: bool | None = None  # None: what the release does when its output is a pipe

    def __post_init__(self) -> None:
        for each in fields(self):
            parse = PARSERS.get(each.name)
            if parse is not None:
                object.__setattr__(self, each.name, parse(each.name, getattr(self, each.name)))
        if re.fullmatch(r"\d+\.\d+(\.\d+)?", self.release) is None or self.number < (0, 7, 3):
            raise wrong("version", self.version, f"a release from 0.7.3 on, such as {', '.join(VERSIONS)}")
        self._check_together()

    def __repr__(self) -> str:
        """Only what differs from the default."""
        told = ((each.name, getattr(self, each.name), each.default) for each in fields(self))
        return f"StartupScript({', '.join(f'{name}={value!r}' for name, value, usual in told if value != usual)})"

    def _check_together(self) -> None:
        if self.dp > 1 and self.number < (0, 10, 2):
            raise UsageError(
                f"start-up setting dp: vLLM {self.release} serves one engine; take 0.10.2 or later"
            )
        if self.platform == "cpu" and self.number < (0, 9, 1):
            raise UsageError("start-up setting platform: cpu is written from 0.9.1 on")
        if self.runner == "V0" and self.number > (0, 10, 2):
            raise UsageError(f"start-up setting engine: vLLM {self.release} has no V0 engine")
        if self.runner == "V2" and self.number < (0, 22):
            raise UsageError(f"start-up setting engine: vLLM {self.release} has no V2 model runner")
        if self.fail == "engine_finish":
            raise UsageError("start-up setting fail: engine_finish has nothing that fails")
        for name in ("fail", "stop"):
            phase = getattr(self, name)
            if phase and not self.has(phase):
                raise UsageError(f"start-up setting {name}: this start has no phase {phase!r}")

    @property
    def release(self) -> str:
        """The version as the log prints it."""
        return VERSIONS.get(self.version, self.version)

    @property
    def number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.release.split("."))

    @property
    def runner(self) -> str:
        """Engine and model runner: "V0", "V1", "V2" (the V1 engine with the second runner)."""
        if self.engine:
            return self.engine
        return "V0" if self.number < (0, 8, 0) else "V1"

    @property
    def ranks(self) -> int:
        return self.tp * self.pp * self.dp

    def has(self, phase: str) -> bool:
        """Whether this start goes through a phase (of DURATIONS) at all."""
        if phase in ("dynamo", "compile"):
            return not self.eager and self.runner != "V0" and self.platform != "cpu"
        if phase == "graph_capture":
            return not self.eager and self.platform != "cpu"
        if phase == "kernel_warmup":
            return self.kernel_warmup > 0 and self.number >= (0, 10, 0) and self.platform == "cuda"
        if phase == "weights_download":
            return self.weights_download > 0
        return phase in DURATIONS

    def lasts_ns(self, phase: str) -> int:
        """How long a phase takes, 0 for one that this start does not go through."""
        return round(getattr(self, phase) * NS_PER_S) if self.has(phase) else 0


def one_of(*names: str) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if value not in names:
            raise wrong(name, value, f"one of {', '.join(each for each in names if each)}")
        return str(value)

    return parse


def gib(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise wrong(name, value, "a number") from None


def maybe(parse: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else parse(name, value)


def share(name: str, value: Any) -> float:
    result = number(name, value)
    if result >= 1:
        raise wrong(name, value, "a share below 1")
    return result


PARSERS: Mapping[str, Callable[[str, Any], Any]] = {
    "version": text,
    "model": text,
    "platform": one_of("cuda", "rocm", "cpu"),
    "engine": one_of("", "V0", "V1", "V2"),
    **dict.fromkeys(("tp", "pp", "dp"), whole(1, 1024)),
    "cache": one_of("cold", "warm"),
    "eager": switch,
    **dict.fromkeys((*DURATIONS, "sleep", "wake"), number),
    "spread": share,
    "shards": whole(1, 10_000),
    **dict.fromkeys(("weights_gib", "kv_cache_gib", "graph_capture_gib"), gib),
    **dict.fromkeys(("kv_cache_tokens", "num_gpu_blocks", "num_cpu_blocks", "requests"), whole(0)),
    "max_model_len": whole(1),
    **dict.fromkeys(("fail", "stop"), one_of("", *DURATIONS)),
    "pid": whole(1, 2**22),
    "port": one_of("open", "closed"),
    "http_port": whole(0, 65535),
    "json": switch,
    "colour": maybe(switch),
}
ALIASES = {"model_load": "weights_load", "enforce_eager": "eager"}


def parse_startup(words: str, script: StartupScript | None = None) -> StartupScript:
    """The script of `weights_load=3.2,compile=10,tp=2,cache=warm,fail=model_load,eager=1`, over another one.

    `time_scale=0.1` makes all durations that much shorter, those that are not named too; what is printed is what then
    really passes. UsageError for an unknown or a wrong setting.
    """
    given: dict[str, Any] = {}
    for part in words.split(",") if words.strip() else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        name = ALIASES.get(name.replace("-", "_"), name.replace("-", "_"))
        if not equals or name not in (*PARSERS, "time_scale"):
            known = ", ".join((*PARSERS, "time_scale"))
            raise UsageError(f"--startup has no setting {part.strip()!r}; write name=value with {known}")
        given[name] = ALIASES.get(value, value) if name in ("fail", "stop") else value
    scale = number("time_scale", given.pop("time_scale", 1))
    return scaled(replace(script or StartupScript(), **given), scale)


def scaled(script: StartupScript, factor: float) -> StartupScript:
    """The same start with all its durations times a factor."""
    times = {name: getattr(script, name) * factor for name in (*DURATIONS, "sleep", "wake")}
    return replace(script, **times)
