"""A start in words: what started, how long it took, how far its times can be trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vllmperf.numbers import NOTHING, clean, fixed, number
from vllmperf.report.startup.spans import elapsed_s, places, resolution_s
from vllmperf.starts.result import Clock, Start, StartupLog, Value

PLATFORMS = {"cuda": "CUDA", "rocm": "ROCm", "cpu": "CPU", "tpu": "TPU", "xpu": "XPU", "neuron": "Neuron"}
MODES = {"offline": "offline (LLM in a script)", "embedded": "embedded in another server"}
PARALLEL = (("tp", "TP"), ("pp", "PP"), ("dp", "DP"))

COMMAND = "command"
"""The one fact with a line of its own."""

STEP = re.compile(r"((?:sleep|wake)_\d+)_(.+)")
"""Facts of a /sleep or /wake_up that was asked for: sleep_1_s, wake_1_to_first_token_s, …"""

Pair = tuple[str, str]
Fact = str | int | float | None


def facts(start: Start) -> list[Pair]:
    """(label, value) pairs that stand above a waterfall."""
    log = start.log
    found = [
        ("server", server_words(log) if log else ""),
        ("model", clean(log.model or "") if log else ""),
        ("command", clean(start.facts.get(COMMAND) or "")),
        ("where", where_words(start.facts)),
        ("took", took_words(start)),
        ("clock", clock_words(log.clock if log else None, resolution_s(start))),
        ("restarts", str(start.restarts) if start.restarts else ""),
    ]
    return [(label, value) for label, value in found if value]


def name_words(start: Start) -> str:
    """Its name, and the set it belongs to unless the name says so."""
    name, group = clean(start.name), clean(start.group or "")
    return name if not group or group in name else f"{name} ({group})"


def server_words(log: StartupLog) -> str:
    """vLLM 0.11.0, V1 engine, CUDA, 4 ranks (TP 2, PP 2), eager"""
    parts = [
        f"vLLM {clean(log.vllm_version)}" if log.vllm_version else "vLLM of unknown version",
        f"{clean(log.engine)} engine" if log.engine else "",
        PLATFORMS.get(log.platform, clean(log.platform)) if log.platform else "",
        ranks_words(log),
        "eager (no graphs)" if log.enforce_eager else "",
        MODES.get(log.mode or "", ""),
    ]
    return ", ".join(part for part in parts if part)


def ranks_words(log: StartupLog) -> str:
    if log.ranks is None:
        return ""
    sizes = [f"{name} {size}" for key, name in PARALLEL if (size := getattr(log, key)) and size > 1]
    return f"{log.ranks} rank{'' if log.ranks == 1 else 's'}" + (f" ({', '.join(sizes)})" if sizes else "")


def where_words(known: Mapping[str, Fact]) -> str:
    """node n1, image vllm/vllm-openai:v0.11.0, image size 8.12 GB"""
    return ", ".join(
        fact(name, value) for name, value in known.items() if value is not None and _is_place(name)
    )


def _is_place(name: str) -> bool:
    """Neither shown elsewhere nor an instant, which is for programs."""
    return name != COMMAND and not name.endswith("_ns") and STEP.match(name) is None


def fact(name: str, value: str | int | float) -> str:
    """A fact's name may end with its unit."""
    words = clean(name).replace("_", " ")
    if isinstance(value, str):
        return f"{words} {clean(value)}"
    if name.endswith("_bytes"):
        return f"{words.removesuffix(' bytes')} size {size(value)}"
    if name.endswith("_s"):
        return f"{words.removesuffix(' s')} {number(value)} s"
    return f"{words} {number(value)}"


def size(count: float) -> str:
    """8,123,456,789 → 8.12 GB"""
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.3g} {unit}"
    return f"{count:.0f} B"


def took_words(start: Start) -> str:
    """123.4 s from created to first token"""
    seen = elapsed_s(start)
    time = seconds(seen, resolution_s(start))
    if start.reached:
        return f"{time} from {clean(start.origin)} to {clean(start.end)}"
    return f"not up after {time} from {clean(start.origin)}" if seen else "did not come up"


def seconds(value: float | None, resolution: float | None) -> str:
    return NOTHING if value is None else f"{figure(value, places(resolution))} s"


def figure(value: float | None, decimals: int) -> str:
    """12.34; what is more than nothing but rounds to it is `<0.01`, so that it is not taken for nothing."""
    smallest = 10.0**-decimals
    if value is not None and 0 < value <= smallest / 2:
        return f"<{smallest:.{decimals}f}"
    return fixed(value, decimals)


def clock_words(clock: Clock | None, coarsest: float | None) -> str:
    """Whose stamps they are, how far each may be off, and what had to be assumed."""
    if clock is None:
        return f"each end {precision(coarsest)}" if coarsest else ""
    whose = "the collector's stamps" if clock.source == "envelope" else "stamps as vLLM printed them"
    parts = [whose, f"each end {precision(clock.resolution_s)}", *_assumed(clock)]
    return ", ".join(parts)


def _assumed(clock: Clock) -> list[str]:
    if clock.source == "envelope":
        return []
    year = f"year {clock.year} ({clean(clock.year_from)})" if clock.year and clock.year_from else ""
    zone = f"zone {clean(clock.zone)}" if clock.zone else "zone unknown"
    return [part for part in (year, zone + ("" if clock.utc else " (assumed; spans are right)")) if part]


def precision(resolution: float | None) -> str:
    """±1 s, ±50 ms"""
    if resolution is None:
        return ""
    return f"±{resolution:g} s" if resolution >= 1 else f"±{resolution * 1000:.3g} ms"


# ---- the numbers that a log reports ----

REPORTED_WORDS: Mapping[str, tuple[str, str]] = {
    "weights_download_s": ("weights download", "s"),
    "weights_load_s": ("weights load", "s"),
    "weights_gib": ("weights", "GiB"),
    "model_loading_s": ("model loading in all", "s"),
    "dynamo_transform_s": ("Dynamo transform", "s"),
    "compile_s": ("graph compilation", "s"),
    "compile_cache_load_s": ("compiled graphs from the cache", "s"),
    "compile_from_cache": ("compiled graphs were in the cache", ""),
    "torch_compile_total_s": ("torch.compile in all", "s"),
    "warmup_run_s": ("profiling and warm-up run", "s"),
    "v0_memory_profiling_s": ("memory profiling (V0)", "s"),
    "graph_capture_s": ("graph capture", "s"),
    "graph_capture_gib": ("memory of the graphs", "GiB"),
    "kv_cache_gib": ("KV cache", "GiB"),
    "num_gpu_blocks": ("GPU blocks", ""),
    "num_cpu_blocks": ("CPU blocks", ""),
    "kv_cache_tokens": ("KV cache tokens", ""),
    "init_engine_s": ("init engine", "s"),
    "init_engine_compilation_s": ("compilation in init engine", "s"),
}


def reported_label(name: str) -> tuple[str, str]:
    """What a reported number is, and its unit."""
    return REPORTED_WORDS.get(name, (name.replace("_", " "), ""))


def value_text(value: Value) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else _as_printed(value)


def _as_printed(value: float) -> str:
    """All digits that the log gave, no made-up ones."""
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text if text != "-0" else "0"
