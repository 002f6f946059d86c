"""The phases of the engine in a simulated start, from the weights on, one function each: what is said, and when."""

from __future__ import annotations

from typing import Any

from vllmperf.sim.startup_plan import Course, Rank
from vllmperf.sim.startup_script import NS_PER_S
from vllmperf.sim.startup_style import place


def weights_download(course: Course) -> None:
    start = course.spend("weights_download")
    for rank in course.speakers:
        seconds = (course.now - start) / NS_PER_S
        if seconds > 0.5:
            course.note("weights_download_s", rank.local, seconds)
            course.say("download", rank.process, model=course.script.model, seconds=seconds)


def weights_load(course: Course) -> None:
    shards, first = course.script.shards, next(course.speakers)
    takes = round(course.script.lasts_ns("weights_load") * first.factor)
    for done in range(shards + 1):
        _shard_bar(course, done, course.now + takes * done // shards)
    start = course.spend("weights_load")

    def loaded(rank: Rank, end: int, seconds: float) -> None:
        if course.say("weights_took", rank.process, at=end, seconds=seconds):
            course.note("weights_load_s", rank.local, seconds)

    course.each(start, loaded)


def _shard_bar(course: Course, done: int, at: int) -> None:
    shards, seconds = course.script.shards, (at - course.now) // NS_PER_S
    elapsed = f"{seconds // 60:02d}:{seconds % 60:02d}<00:00,  1.30it/s]"
    words: dict[str, Any] = {
        "format": "safetensors",
        "percent": done * 100 // shards,
        "done": done,
        "total": shards,
    }
    bar = course.word("shards", elapsed=elapsed, **words)
    course.line(next(course.speakers).process, "\r" + bar, at, logger="bar")


def model_finish(course: Course) -> None:
    script, file = course.script, course.runner_file
    course.spend("model_finish")
    course.engine_began = course.now
    if script.platform == "cpu":
        return
    for rank in course.speakers:
        end = course.now - round(script.lasts_ns("weights_load") * (1 - rank.factor))
        seconds = (end - course.load_began) / NS_PER_S
        course.say("model_loaded", rank.process, at=end, file=file, gib=script.weights_gib, seconds=seconds)
        course.note("weights_gib", rank.local, script.weights_gib)
        if course.style.at_least("0.8.0"):
            course.note("model_loading_s", rank.local, seconds)


def dynamo(course: Course) -> None:
    start = course.spend("dynamo")
    if not course.script.has("dynamo"):
        return
    seconds = (course.now - start) / NS_PER_S
    for rank in course.speakers:
        path = f"/root/.cache/vllm/torch_compile_cache/2f1c9a40d3/rank_{rank.index}_0/backbone"
        course.say("compile_cache_dir", rank.process, path=path)
        course.say("dynamo", rank.process, seconds=seconds)
        course.note("dynamo_transform_s", rank.local, seconds)


def compile_graphs(course: Course) -> None:
    start = course.spend("compile")
    if not course.script.has("compile"):
        return

    def compiled(rank: Rank, end: int, seconds: float) -> None:
        traced = course.script.lasts_ns("dynamo") / NS_PER_S
        total = traced + seconds
        if course.script.cache == "cold":
            course.say("compiled", rank.process, at=end, seconds=seconds, range="(1, 8192)")
            course.note("compile_s", rank.local, seconds)
            course.say(
                "aot_saved", rank.process, at=end, path="/root/.cache/vllm/torch_aot_compile/2f1c/model"
            )
        else:
            total = _from_cache(course, rank, end, seconds, traced)
        course.say("compile_total", rank.process, at=end, seconds=total)
        course.note("torch_compile_total_s", rank.local, total)

    course.each(start, compiled)


def _from_cache(course: Course, rank: Rank, end: int, seconds: float, traced: float) -> float:
    """The graphs come from the cache. What the total then says: without the load up to 0.11.0."""
    course.say("cache_loaded", rank.process, at=end, seconds=seconds, range="(1, 8192)", shape="None")
    if course.style.at_least("0.8.5"):
        course.note("compile_cache_load_s", rank.local, seconds)
    course.say("aot_loaded", rank.process, at=end, path="/root/.cache/vllm/torch_aot_compile/2f1c/model")
    return traced + seconds if course.style.at_least("0.11.1") else traced


def profile(course: Course) -> None:
    if course.script.platform == "cpu":
        course.say("cpu_warmup_start", next(course.speakers).process)
    start = course.spend("profile")
    script, seconds = course.script, (course.now - start) / NS_PER_S
    for rank in course.speakers:
        if script.runner == "V0":
            _v0_profile(course, rank, seconds)
            continue
        if not script.eager and course.say("warmup_run", rank.process, seconds=seconds):
            course.note("warmup_run_s", rank.local, seconds)
        if script.platform == "cpu":
            course.say("cpu_warmup_end", rank.process)
            course.say("kv_cpu", rank.process, gib=script.kv_cache_gib, node_gib=64.0, node=0)
        elif course.say("kv_available", rank.process, gib=script.kv_cache_gib):
            course.note("kv_cache_gib", rank.local, script.kv_cache_gib)


def _v0_profile(course: Course, rank: Rank, seconds: float) -> None:
    """One message of three lines."""
    script = course.script
    words: dict[str, Any] = {
        "weights": script.weights_gib,
        "other": 0.11,
        "peak": 1.66,
        "gib": script.kv_cache_gib,
    }
    parts = (
        course.word("profiled", seconds=seconds),
        "the current vLLM instance can use total_gpu_memory (79.10GiB) x gpu_memory_utilization (0.90) = 71.19GiB",
        course.word("kv_reserved", **words),
    )
    course.line(rank.process, "\n".join(parts), source=place("worker.py"))
    course.note("v0_memory_profiling_s", rank.local, seconds)
    course.note("kv_cache_gib", rank.local, script.kv_cache_gib)


def kv_cache(course: Course) -> None:
    course.spend("kv_cache")
    script, length = course.script, course.script.max_model_len
    if script.runner == "V0":
        course.say("blocks", course.engines[0], **_blocks(course))
        course.note("num_gpu_blocks", "", script.num_gpu_blocks)
        course.note("num_cpu_blocks", "", script.num_cpu_blocks)
        times = script.kv_cache_tokens / length
        course.say("concurrency", course.engines[0], file="executor_base.py", length=length, times=times)
        return
    for rank in course.ranks:
        if rank.index % (script.tp * script.pp) == 0 or not course.style.at_least("0.11.0"):
            _v1_cache(course, rank)


def _blocks(course: Course) -> dict[str, Any]:
    script = course.script
    return {"device": script.platform, "blocks": script.num_gpu_blocks, "cpu_blocks": script.num_cpu_blocks}


def _v1_cache(course: Course, rank: Rank) -> None:
    """Printed by the engine, once a rank up to 0.10: ranks differ a little in what is left."""
    script, engine, length = course.script, course.engines[rank.dp], course.script.max_model_len
    tokens = script.kv_cache_tokens - 16 * (rank.index % (script.tp * script.pp))
    words: dict[str, Any] = {"tokens": tokens, "length": length, "times": tokens / length}
    if script.number < (0, 8, 0):
        course.say("gpu_blocks", engine, blocks=script.num_gpu_blocks)
        course.note("num_gpu_blocks", str(rank.index), script.num_gpu_blocks)
        return
    device = "CPU" if script.platform == "cpu" and course.style.at_least("0.30.0") else "GPU"
    course.say("kv_tokens", engine, device=device, **words)
    course.note("kv_cache_tokens", f"{engine.name} {rank.index}", tokens)
    course.say("concurrency", engine, length=length, times=tokens / length)


def kernel_warmup(course: Course) -> None:
    begin = course.now
    if course.script.has("kernel_warmup"):
        for rank in course.speakers:
            course.say("autotune_start", rank.process, at=begin)
    course.spend("kernel_warmup")
    if course.script.has("kernel_warmup"):
        for rank in course.speakers:
            course.say("autotune_end", rank.process)


def graph_capture(course: Course) -> None:
    script = course.script
    if not script.has("graph_capture"):
        return
    takes = round(script.lasts_ns("graph_capture") * next(course.speakers).factor)
    if script.runner == "V0":
        for rank in course.speakers:
            course.say("capture_start", rank.process)
    _capture_bars(course, course.now + takes)
    start = course.spend("graph_capture")

    def captured(rank: Rank, end: int, seconds: float) -> None:
        file = course.runner_file
        course.say("captured", rank.process, at=end, file=file, seconds=seconds, gib=script.graph_capture_gib)
        course.note("graph_capture_s", rank.local, seconds)
        course.note("graph_capture_gib", rank.local, script.graph_capture_gib)

    course.each(start, captured)


def _capture_bars(course: Course, end: int) -> None:
    """One physical line: the bar is drawn over itself with CR, and ends only when it is full."""
    bars = ""
    for percent in (0, 33, 67, 100):
        begin = course.word("capture_bar", kind="mixed prefill-decode, PIECEWISE", percent=percent)
        bars += f"\r{begin}{'█' * (percent // 10):<10}| {percent * 67 // 100}/67 [00:00<00:00, 26.20it/s]"
    course.line(next(course.speakers).process, bars, end, logger="bar")


def engine_finish(course: Course) -> None:
    script, style = course.script, course.style
    if style.at_least("0.22.0") and script.platform == "cuda":
        course.say("jit_monitor", next(course.speakers).process)
    course.spend("engine_finish")
    seconds = (course.now - course.engine_began) / NS_PER_S
    compiling: dict[str, Any] = {}
    if style.at_least("0.20.0") and script.has("compile"):
        compiling["compilation"] = max(course.plan.said["torch_compile_total_s"].values())
    for engine in course.engines:
        course.say("engine_done", engine, file=course.core_file, seconds=seconds, parts="", **compiling)
        course.note("init_engine_s", engine.name, seconds)
        if compiling:
            course.note("init_engine_compilation_s", engine.name, compiling["compilation"])
    for index, _ in enumerate(course.engines):
        words: dict[str, Any] = {"engine": index, "blocks": script.num_gpu_blocks}
        if script.runner != "V0" and course.say("cache_blocks", course.front[0], **words):
            course.note("num_gpu_blocks", str(index), script.num_gpu_blocks)
