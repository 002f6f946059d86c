"""How a start that fails ends: the cause, its traceback in the process that it hit, and who gives up after it."""

from __future__ import annotations

from typing import NamedTuple

from vllmperf.sim.startup_plan import Course
from vllmperf.sim.startup_style import Process, place

_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 260.00 MiB. "
    "GPU 0 has a total capacity of 79.10 GiB of which 41.88 MiB is free."
)
_LOAD = (
    ("v1/worker/gpu_worker.py", "load_model", "self.model_runner.load_model()"),
    ("model_executor/model_loader/base_loader.py", "load_model", "self.load_weights(model, model_config)"),
)
_CACHES = (
    "v1/engine/core.py",
    "_initialize_kv_caches",
    "available = self.model_executor.determine_available_memory()",
)
_PROFILE = (
    _CACHES,
    ("v1/worker/gpu_worker.py", "determine_available_memory", "self.model_runner.profile_run()"),
    (
        "v1/worker/gpu_model_runner.py",
        "profile_run",
        "hidden_states, _ = self._dummy_run(self.max_num_tokens)",
    ),
)
_WARM = ("v1/worker/gpu_worker.py", "compile_or_warm_up_model", "self.model_runner.capture_model()")


class Cause(NamedTuple):
    """What a phase fails with: the exception's line, and the frames of vLLM that are its own, outermost first."""

    line: str
    frames: tuple[tuple[str, str, str], ...]  # file, function, code


CAUSES: dict[str, Cause] = {
    "imports": Cause(
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
        (("platforms/cuda.py", "<module>", "import vllm._C  # noqa"),),
    ),
    "config": Cause(
        "OSError: {model} is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'",
        (
            ("engine/arg_utils.py", "create_engine_config", "model_config = self.create_model_config()"),
            ("transformers_utils/config.py", "get_config", "raise e"),
        ),
    ),
    "engine_process": Cause(
        "ImportError: /opt/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
        (("v1/engine/core.py", "<module>", "from vllm.platforms import current_platform"),),
    ),
    "worker_init": Cause(
        "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
        (
            (
                "v1/worker/gpu_worker.py",
                "init_device",
                "init_worker_distributed_environment(self.vllm_config, self.rank)",
            ),
            (
                "distributed/device_communicators/pynccl.py",
                "__init__",
                "self.comm = self.nccl.ncclCommInitRank()",
            ),
        ),
    ),
    "weights_download": Cause(
        "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the files on the Hub "
        "and we cannot find the appropriate snapshot folder for the specified revision on the local disk.",
        (
            *_LOAD,
            (
                "model_executor/model_loader/weight_utils.py",
                "download_weights_from_hf",
                "hf_folder = snapshot_download(",
            ),
        ),
    ),
    "weights_load": Cause(_MEMORY, _LOAD),
    "model_finish": Cause(
        "ValueError: The quantized weights of model.layers.0.mlp.gate cannot be repacked for this device",
        (
            *_LOAD[:1],
            ("model_executor/model_loader/utils.py", "process_weights_after_loading", "repack(module)"),
        ),
    ),
    "dynamo": Cause(
        "torch._dynamo.exc.Unsupported: Graph break under fullgraph mode",
        (
            *_PROFILE,
            ("compilation/decorators.py", "__call__", "output = self.compiled_callable(*args, **kwargs)"),
        ),
    ),
    "compile": Cause(
        "torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler. "
        "Please specify via CC environment variable.",
        (
            *_PROFILE,
            ("compilation/backends.py", "__call__", "return self.compiler_manager.compile(graph, inputs)"),
        ),
    ),
    "profile": Cause(_MEMORY, _PROFILE),
    "kv_cache": Cause(
        "ValueError: No available memory for the cache blocks. "
        "Try increasing `gpu_memory_utilization` when initializing the engine.",
        (
            _CACHES,
            (
                "v1/core/kv_cache_utils.py",
                "get_kv_cache_configs",
                "check_enough_kv_cache_memory(vllm_config)",
            ),
        ),
    ),
    "kernel_warmup": Cause(
        "RuntimeError: Ninja build failed.",
        (
            _WARM,
            (
                "model_executor/warmup/kernel_warmup.py",
                "kernel_warmup",
                "flashinfer_autotune(worker.model_runner)",
            ),
        ),
    ),
    "graph_capture": Cause(
        _MEMORY,
        (_WARM, ("v1/worker/gpu_model_runner.py", "capture_model", "self._capture_cudagraphs(batches)")),
    ),
    "frontend": Cause(
        "ValueError: The supplied chat template string (chat.jinja) appears path-like, but doesn't exist!",
        (
            (
                "entrypoints/openai/api_server.py",
                "init_app_state",
                "template = load_chat_template(args.chat_template)",
            ),
        ),
    ),
}
"""What each phase that can fail fails with, as vLLM and its libraries word it."""

_OF_WORKER = (
    "Exception: WorkerProc initialization failed due to an exception in a background process. "
    "See stack trace for root cause."
)
_IN_SERVER = ("imports", "config", "frontend")
_PACKAGES = "/usr/local/lib/python3.12/dist-packages/vllm/"


def explain(course: Course, phase: str) -> str:
    """Says why the start fails. The line of the cause."""
    line, frames = CAUSES[phase]
    cause = Cause(line.format(model=course.script.model), frames)
    if phase in _IN_SERVER:
        _raw(course, course.main, cause)
    elif phase == "engine_process":
        _raw(course, Process("", course.engines[0].pid), cause, _SPAWNED)
        _gives_up(course)
    elif course.script.runner == "V0":
        _v0(course, cause)
    else:
        _v1(course, cause)
    return cause.line


_SPAWNED = ("multiprocessing/spawn.py", "spawn_main", "exitcode = _main(fd, parent_sentinel)")
_STARTED = ("v1/engine/core.py", "run_engine_core", "engine_core = EngineCoreProc(*args, **kwargs)")
_SERVER = ("entrypoints/cli/serve.py", "cmd", "uvloop.run(run_server(args))")


def _traceback(cause: Cause, outermost: tuple[str, str, str]) -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for number, (file, name, code) in enumerate((outermost, *cause.frames), 1):
        lines += [f'  File "{_PACKAGES}{file}", line {number * 53}, in {name}', f"    {code}"]
    return [*lines, cause.line]


def _raw(course: Course, process: Process, cause: Cause, outermost: tuple[str, str, str] = _SERVER) -> None:
    for line in _traceback(cause, outermost):
        course.line(process, line, logger="plain")


def _logged(course: Course, process: Process, file: str, cause: Cause) -> None:
    """Each line of the traceback with its header."""
    for line in _traceback(cause, _STARTED):
        course.line(process, line, source=place(file), level="ERROR")


def _v0(course: Course, cause: Cause) -> None:
    engine = course.engines[0]
    course.line(engine, cause.line.partition(": ")[2], source=place("engine.py"), level="ERROR")
    _logged(course, engine, "engine.py", cause)
    course.line(engine, "Process SpawnProcess-1:", logger="plain")
    _raw(course, engine, cause, _STARTED)
    _gives_up(course)


def _v1(course: Course, cause: Cause) -> None:
    engine, worker = course.engines[0], course.ranks[0].process
    if worker != engine:
        course.say(
            "failed", worker, such="WorkerProc", file="multiproc_executor.py", level="ERROR", text=cause.line
        )
        _logged(course, worker, "multiproc_executor.py", cause)
        cause = Cause(
            _OF_WORKER, (("v1/executor/multiproc_executor.py", "wait_for_ready", "raise e from None"),)
        )
    course.say("failed", engine, such="EngineCore", file="core.py", level="ERROR", text=cause.line)
    _logged(course, engine, "core.py", cause)
    course.line(engine, f"Process {engine.name or 'EngineCore_0'}:", logger="plain")
    _raw(course, engine, cause, _STARTED)
    _gives_up(course)


def _gives_up(course: Course) -> None:
    """The server's process, whose engine is gone."""
    engine = course.engines[0].name or "EngineCore_0"
    line = (
        "RuntimeError: Engine process failed to start. See stack trace for the root cause."
        if course.script.runner == "V0"
        else "RuntimeError: Engine core initialization failed. See root cause above. "
        f"Failed core proc(s): {{'{engine}': 1}}"
    )
    _raw(
        course,
        course.main,
        Cause(line, (("v1/engine/utils.py", "wait_for_engine_startup", "raise RuntimeError("),)),
    )
