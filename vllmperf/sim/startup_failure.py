"""How a start that fails ends: the cause, its traceback in the process that it hit, and who gives up after it."""

from __future__ import annotations

from vllmperf.sim.startup_plan import Course
from vllmperf.sim.startup_style import Process, place

_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 260.00 MiB. "
    "GPU 0 has a total capacity of 79.10 GiB of which 41.88 MiB is free."
)
CAUSES = {
    "imports": "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
    "config": "OSError: {model} is not a local folder and is not a valid model identifier "
    "listed on 'https://huggingface.co/models'",
    "engine_process": "RuntimeError: No CUDA GPUs are available",
    "worker_init": "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
    "weights_download": "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the "
    "files on the Hub and we cannot find the appropriate snapshot folder for the specified revision on the local disk.",
    "weights_load": _MEMORY,
    "model_finish": "ValueError: There is no module or parameter named 'model.layers.0.mlp.gate' in LlamaForCausalLM",
    "dynamo": "torch._dynamo.exc.Unsupported: Graph break under fullgraph mode",
    "compile": "torch._inductor.exc.InductorError: RuntimeError: EndedError to find C compiler. "
    "Please specify via CC environment variable.",
    "profile": _MEMORY,
    "kv_cache": "ValueError: No available memory for the cache blocks. "
    "Try increasing `gpu_memory_utilization` when initializing the engine.",
    "kernel_warmup": "RuntimeError: Ninja build failed. Ninja output:",
    "graph_capture": _MEMORY,
    "engine_finish": "RuntimeError: Worker failed with error 'CUDA error: an illegal memory access was encountered'",
    "frontend": "OSError: [Errno 98] Address already in use",
}
"""What each phase fails with, by exception and text, as vLLM and its libraries word it."""

_OF_WORKER = (
    "Exception: WorkerProc initialization failed due to an exception in a background process. "
    "See stack trace for root cause."
)
_BEFORE_ENGINE = ("imports", "config")
_FRAMES = (
    ("vllm/v1/engine/core.py", 996, "run_engine_core", "engine_core = EngineCoreProc(*args, **kwargs)"),
    ("vllm/v1/executor/abstract.py", 103, "__init__", "self._init_executor()"),
    ("vllm/v1/worker/gpu_worker.py", 292, "load_model", "self.model_runner.load_model()"),
)


def explain(course: Course, phase: str) -> str:
    """Says why the start fails. The line of the cause."""
    cause = CAUSES[phase].format(model=course.script.model)
    if phase in (*_BEFORE_ENGINE, "frontend"):
        _raw(course, course.main, cause)
    elif course.script.runner == "V0":
        _v0(course, cause)
    else:
        _v1(course, cause)
    return cause


def _traceback(cause: str) -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for file, number, name, code in _FRAMES:
        lines += [
            f'  File "/usr/lib/python3.12/site-packages/{file}", line {number}, in {name}',
            f"    {code}",
        ]
    return [*lines, cause]


def _raw(course: Course, process: Process, cause: str) -> None:
    for line in _traceback(cause):
        course.line(process, line, logger="plain")


def _logged(course: Course, process: Process, file: str, cause: str) -> None:
    """One ERROR message a line, as `logger.exception` in a handler of one line writes it."""
    for line in _traceback(cause):
        course.line(process, line, source=place(file), level="ERROR")


def _v0(course: Course, cause: str) -> None:
    engine = course.engines[0]
    course.line(engine, cause.partition(": ")[2], source=place("engine.py"), level="ERROR")
    _logged(course, engine, "engine.py", cause)
    course.line(engine, "Process SpawnProcess-1:", logger="plain")
    _raw(course, engine, cause)
    _raw(
        course,
        course.main,
        "RuntimeError: Engine process failed to start. See stack trace for the root cause.",
    )


def _v1(course: Course, cause: str) -> None:
    engine, worker = course.engines[0], course.ranks[0].process
    if worker != engine:
        course.say(
            "failed", worker, such="WorkerProc", file="multiproc_executor.py", level="ERROR", text=cause
        )
        _logged(course, worker, "multiproc_executor.py", cause)
        cause = _OF_WORKER
    course.say("failed", engine, such="EngineCore", file="core.py", level="ERROR", text=cause)
    _logged(course, engine, "core.py", cause)
    course.line(engine, f"Process {engine.name or 'EngineCore_0'}:", logger="plain")
    _raw(course, engine, cause)
    _raw(
        course,
        course.main,
        "RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'" + (engine.name or "EngineCore_0") + "': 1}",
    )
