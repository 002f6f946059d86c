"""The phases of a simulated start around the engine's, one function each: what is said in it, and when."""

from __future__ import annotations

from typing import Any

from vllmperf.sim import startup_engine as inner
from vllmperf.sim.startup_plan import Course, Rank
from vllmperf.sim.startup_style import Process, place

ROUTES = (
    ("/openapi.json", "HEAD, GET"),
    ("/docs", "HEAD, GET"),
    ("/health", "GET"),
    ("/load", "GET"),
    ("/metrics", "GET"),
    ("/v1/models", "GET"),
    ("/tokenize", "POST"),
    ("/v1/chat/completions", "POST"),
    ("/v1/completions", "POST"),
    ("/sleep", "POST"),
    ("/wake_up", "POST"),
    ("/is_sleeping", "GET"),
)
NOBODY = Process("", 0)
BANNER = (
    "",
    "       █     █     █▄   ▄█",
    " ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}",
    "  █▄█▀ █     █     █     █  model   {model}",
    "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀",
    "",
)
"""The logo that vLLM prints since 0.15. Its third and fourth lines are markers of the table."""

CONFIG = (
    "model='{model}', speculative_config=None, tokenizer='{model}', skip_tokenizer_init=False, "
    "trust_remote_code=False, dtype=torch.bfloat16, max_seq_len={length}, download_dir=None, load_format=auto, "
    "tensor_parallel_size={tp}, pipeline_parallel_size={pp}, {dp}disable_custom_all_reduce=False, quantization=None, "
    "enforce_eager={eager}, kv_cache_dtype=auto, device_config={device}, seed=0, served_model_name={model}, "
    'enable_prefix_caching=True, compilation_config={{"level":{level},"compile_sizes":[]}}'
)


def imports(course: Course) -> None:
    course.spend("imports")
    script, main = course.script, course.main
    course.say("platform", NOBODY, platform=script.platform)
    if not course.say("api_version", main, version=script.release):
        banner = "\n".join(BANNER).format(version=script.release, model=script.model)
        course.line(
            main, banner, source=place("api_utils.py" if course.style.at_least("0.23.0") else "utils.py")
        )
    course.say("args", main, args=f"{{'model': '{script.model}', 'port': {script.http_port}}}")


def config(course: Course) -> None:
    course.spend("config")
    main, length = course.main, course.script.max_model_len
    if not course.say("architecture", main, architecture="LlamaForCausalLM"):
        tasks = "This model supports multiple tasks: {'generate', 'embed'}. Defaulting to 'generate'."
        course.line(main, tasks, source=place("config.py"))
    course.say("max_model_len", main, tokens=length)
    if course.script.runner == "V0":
        course.say("engine_spawned", main, pid=course.engines[0].pid)
    else:
        course.say("chunked_prefill", main, tokens=2048)
    if course.script.eager:
        course.say("eager", main)


def engine_process(course: Course) -> None:
    start = course.spend("engine_process")
    script = course.script
    for engine in course.engines:
        course.say("platform", NOBODY, at=(start + course.now) // 2, platform=script.platform)
        if script.runner != "V0":
            course.say("engine_waiting", engine)
    kind = "V0" if script.runner == "V0" else "V1"
    for engine in course.engines:
        course.say(
            "engine_config",
            engine,
            such=kind,
            file=course.core_file,
            version=script.release,
            config=_config(course),
        )


def _config(course: Course) -> str:
    script = course.script
    return CONFIG.format(
        model=script.model,
        length=script.max_model_len,
        tp=script.tp,
        pp=script.pp,
        dp=f"data_parallel_size={script.dp}, " if course.style.at_least("0.9.0") else "",
        eager=script.eager,
        device="cuda" if script.platform == "rocm" else script.platform,
        level=0 if script.eager or script.runner == "V0" else 3,
    )


def worker_init(course: Course) -> None:
    course.spend("worker_init")
    script = course.script
    backend = "gloo" if script.platform == "cpu" else "nccl"
    for rank in course.speakers:
        local = rank.pp * script.tp + rank.tp
        course.say(
            "world",
            rank.before,
            world_size=script.tp * script.pp,
            rank=local,
            local_rank=local,
            method="tcp://127.0.0.1:51023",
            backend=backend,
        )
        if script.ranks > 1 and script.platform != "cpu":
            course.say("nccl", rank.before, version="2.27.5")
    _places(course)
    for rank in course.speakers:
        _begin_loading(course, rank)
    course.load_began = course.now


def _places(course: Course) -> None:
    """Where each worker stands; the later wording has more kinds of ranks."""
    script = course.script
    more: dict[str, Any] = {"pcp_rank": 0} if course.style.at_least("0.11.1") else {}
    for rank in course.ranks:
        if (script.runner != "V0" or course.style.at_least("0.8.0")) and rank.speaks:
            course.say(
                "rank",
                rank.before,
                rank=rank.pp * script.tp + rank.tp,
                world_size=script.tp * script.pp,
                dp_rank=rank.dp,
                pp_rank=rank.pp,
                tp_rank=rank.tp,
                **more,
            )


def _begin_loading(course: Course, rank: Rank) -> None:
    script = course.script
    if script.runner == "V2":
        course.say("runner_v2", rank.process)
        course.say("load_scratch", rank.process, file="model_runner.py")
    else:
        course.say("load_start", rank.process, file=course.runner_file, model=script.model)
        if script.runner == "V1" and script.platform != "cpu" and script.number <= (0, 11, 0):
            course.say("load_scratch", rank.process)
    if script.platform != "cpu":
        course.line(rank.process, _attention(course), source=place(f"{script.platform}.py"))


def _attention(course: Course) -> str:
    if course.style.at_least("0.12.0"):
        return "Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN', 'TRITON_ATTN']."
    return "Using Flash Attention backend" + ("." if course.script.runner == "V0" else " on V1 engine.")


def frontend(course: Course) -> None:
    for front in course.front:
        course.say("tasks", front, tasks="['generate']")
    course.spend("frontend")
    for index, front in enumerate(course.front):
        _serve(course, front, index)
    course.plan.ready_ns = course.now


def _serve(course: Course, front: Process, index: int) -> None:
    url = f"http://0.0.0.0:{course.script.http_port}"
    course.say("server_start", front, url=url, index=index)
    course.say("routes", front)
    for path, methods in ROUTES:
        course.say("route", front, path=path, methods=methods)
    course.say("uvicorn_started", front, pid=front.pid)
    course.say("uvicorn_waiting", front)
    course.say("ready", front)


STAGES = (
    imports,
    config,
    engine_process,
    worker_init,
    inner.weights_download,
    inner.weights_load,
    inner.model_finish,
    inner.dynamo,
    inner.compile_graphs,
    inner.profile,
    inner.kv_cache,
    inner.kernel_warmup,
    inner.graph_capture,
    inner.engine_finish,
    frontend,
)
