"""Starts made by hand, with times that are easy to add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllmperf.starts.result import (
    NS_PER_S,
    REPORTED,
    Clock,
    Failure,
    Phase,
    SleepCycle,
    Start,
    StartupLog,
    Value,
)
from vllmperf.starts.waterfall import fill

EPOCH_NS = 1_764_000_000 * NS_PER_S  # 2025-11-24 16:00:00 UTC

POD = (("scheduling", 0.5), ("volumes", 1.5), ("image_pull", 20.0), ("container_start", 1.0))
ENGINE = (
    ("config", 4.0),
    ("engine_process", 3.0),
    ("worker_init", 2.0),
    ("weights_load", 12.0),
    ("model_finish", 1.0),
    ("dynamo", 5.0),
    ("compile", 25.0),
    ("profile", 3.0),
    ("kv_cache", 1.0),
    ("graph_capture", 18.0),
    ("engine_finish", 1.0),
)
SERVING = (("frontend", 2.0), ("ready", 5.0), ("first_token", 1.0))
SOURCES = {"pod": "status", "process": "process", "ready": "probe"}


def at(seconds: float) -> int:
    return EPOCH_NS + round(seconds * NS_PER_S)


def phase(name: str, start_s: float | None, end_s: float | None, **more: Any) -> Phase:
    """A phase of the log with whole-second stamps, unless said otherwise."""
    settings = {"source": "log", "resolution_s": 1.0, **more}
    return Phase(
        name, None if start_s is None else at(start_s), None if end_s is None else at(end_s), **settings
    )


def chain(
    durations: Sequence[tuple[str, float]], start_s: float = 0.0, **more: Any
) -> tuple[list[Phase], float]:
    """Phases one after another, and where the last one ends."""
    found = []
    for name, seconds in durations:
        found.append(phase(name, start_s, start_s + seconds, **more))
        start_s += seconds
    return found, start_s


def reported(**values: Value) -> Mapping[str, Value]:
    return dict.fromkeys(REPORTED) | values


LOG_NUMBERS: dict[str, Value] = {
    "weights_download_s": 17.23,
    "weights_load_s": 11.87,
    "weights_gib": 6.1501,
    "model_loading_s": 12.6,
    "dynamo_transform_s": 4.72,
    "compile_s": 25.26,
    "compile_from_cache": False,
    "torch_compile_total_s": 30.03,
    "graph_capture_s": 18.0,
    "graph_capture_gib": 0.62,
    "kv_cache_tokens": 538_560,
    "init_engine_s": 51.89,
}

CLOCK = Clock("log", 1.0, utc=True, year=2025, year_from="file date", zone="UTC")


def log(**more: Any) -> StartupLog:
    settings: dict[str, Any] = {
        "vllm_version": "0.11.0",
        "engine": "V1",
        "platform": "cuda",
        "mode": "serve",
        "model": "org/model-7b",
        "ranks": 1,
        "tp": 1,
        "pp": 1,
        "dp": 1,
        "enforce_eager": False,
        "first_log_ns": at(28.0),
        "ready_ns": at(105.0),
        "reached_ready": True,
        "clock": CLOCK,
        "reported": reported(**LOG_NUMBERS),
    }
    return StartupLog(**{**settings, **more})


def pod(name: str = "vllm-0", *, scale: float = 1.0, **more: Any) -> Start:
    """A pod from created to first token: 111 s, of which 5 s before the log's first line are imports.
    `scale` stretches compilation only."""
    before, end = chain(POD, source="status", resolution_s=1.0)
    imports, end = chain((("imports", 5.0),), end, source="process")
    engine, end = chain([(n, s * scale if n == "compile" else s) for n, s in ENGINE], end)
    engine = [_with_number(p) for p in engine]
    serving, end = chain(SERVING, end, source="probe", resolution_s=0.1)
    settings: dict[str, Any] = {
        "origin": "created",
        "end": "first token",
        "origin_ns": at(0),
        "end_ns": at(end),
        "phases": fill([*before, *imports, *engine, *serving], at(0), at(end)),
        "log": log(),
        "facts": {"node": "node-a", "image": "vllm/vllm-openai:v0.11.0", "image_bytes": 8_123_456_789},
    }
    return Start(name=name, **{**settings, **more})


NUMBER_OF = {"weights_load": "weights_load_s", "dynamo": "dynamo_transform_s", "compile": "compile_s"}


def _with_number(found: Phase) -> Phase:
    number = LOG_NUMBERS.get(NUMBER_OF.get(found.name, ""))
    return found if number is None else Phase(**{**_fields(found), "reported_s": number})


def _fields(found: Phase) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def command(name: str = "start 1", total_s: float = 30.0, group: str | None = None, **more: Any) -> Start:
    """A child process from process start to ready with sub-second stamps; 2 s of it nobody explains."""
    spans = [
        phase("imports", 0.0, 8.25, source="process", resolution_s=0.001),
        phase("weights_load", 10.25, 12.5, resolution_s=0.001),
        phase("compile", 12.5, total_s, resolution_s=0.001),
    ]
    settings: dict[str, Any] = {
        "origin": "process start",
        "end": "ready",
        "origin_ns": at(0),
        "end_ns": at(total_s),
        "phases": fill(spans, at(0), at(total_s)),
        "group": group,
    }
    return Start(name=name, **{**settings, **more})


def failed(name: str = "vllm-bad") -> Start:
    """Out of memory while the weights were read."""
    spans, end = chain((("config", 4.0), ("weights_load", 6.0)))
    why = Failure("weights_load", 312, "torch.OutOfMemoryError: CUDA out of memory", "OOMKilled")
    return Start(
        name=name,
        origin="first line",
        end="ready",
        origin_ns=at(0),
        end_ns=None,
        phases=fill(spans, at(0), at(end)),
        reached=False,
        failure=why,
        evidence=("event Warning BackOff: restarting failed container", "last line of the log"),
    )


def ranked(ranks: int = 4) -> Start:
    """Rank r loads its weights in 10 + r seconds; the slowest one is the server's."""
    slowest = 10.0 + ranks - 1
    spans = [phase("config", 0.0, 2.0), phase("weights_load", 2.0, 2.0 + slowest, detail=f"{ranks} ranks")]
    spans += [
        phase("weights_load", 2.0, 12.0 + r, rank=f"Worker_TP{r}", critical=False) for r in range(ranks)
    ]
    end = 2.0 + slowest
    numbers = {"weights_load_s": {f"Worker_TP{r}": 9.5 + r for r in range(ranks)}}
    return Start(
        "tp.log",
        "first line",
        "server up",
        at(0),
        at(end),
        fill(spans, at(0), at(end)),
        log=log(ranks=ranks, tp=ranks, per_rank=numbers),
    )


SLEEP = (
    SleepCycle("sleep", 1.234567, at(200.0), freed_gib=60.5, in_use_gib=2.25),
    SleepCycle("wake", 0.456, at(230.0), tags=("weights", "kv_cache")),
)
