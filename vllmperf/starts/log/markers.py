"""The table of start-up markers: every line of vLLM's log that the parser reads and the simulator writes.

Wordings and versions were taken from vLLM's own history (v0.3.3 to v0.32) and from real logs. What is printed at
DEBUG only counts as not printed. docs/startup_log.md shows the table as a page.

An entry: `event | since..until | component | source files [| logger] [-> names of reported numbers]`, then the
template, then what it means. Capital words stand for sets of files, "-" for any file. Where a message fits two
wordings of one event, the first one in the table counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from vllmperf.starts.log.marker import Fields, Marker, number, version_key

__all__ = ["EVENTS", "MARKERS", "Fields", "Marker", "find", "number", "version_key", "wording", "wordings"]

FILE_SETS = {
    "API": "api_server.py",
    "CORE": "core.py llm_engine.py",
    "LOADER": "base_loader.py default_loader.py loader.py sharded_state_loader.py tpu.py",
    "RUNNER": "gpu_model_runner.py model_runner.py cpu_model_runner.py xpu_model_runner.py",
    "COMPILER": "backends.py piecewise_backend.py compiler_interface.py decorators.py",
    "EXECUTOR": "executor_base.py gpu_executor.py distributed_gpu_executor.py ray_gpu_executor.py "
    "multiproc_gpu_executor.py cpu_executor.py tpu_executor.py hpu_executor.py neuron_executor.py xpu_executor.py "
    "openvino_executor.py llm_engine.py",
}

TABLE = """\
# processes and configuration
platform | 0.7.0..0.11.0 | any | __init__.py
    Automatically detected platform {platform}.
    = a process has found what it runs on; printed once a process
platform_plugin | 0.7.0.. | any | __init__.py
    Platform plugin {platform} is activated
    = a platform that lives outside of vLLM was chosen
api_version | 0.4.0..0.14.1 | api | API
    vLLM API server version {version}
    = the API server begins
banner_version | 0.15.0.. | api | api_utils.py utils.py
     ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}
    = third line of the logo: the API server begins
banner_model | 0.15.0.. | api | api_utils.py utils.py
      █▄█▀ █     █     █     █  model   {model}
    = fourth line of the logo
server_version | 0.15.0.. | api | api_utils.py utils.py
    vLLM server version {version}, serving model {model}
    = the API server begins, where the logo is off or the logger has a format of its own
args | 0.4.0..0.9.0 | api | API
    args: Namespace({args})
    = all arguments of the server
args | 0.9.1.. | api | API api_utils.py utils.py cli_args.py
    non-default args: {args}
    = arguments that differ from the default
headless | 0.9.0.. | api | serve.py
    Launching {engines:d} data parallel engine(s) in headless mode, with head node address {address}
    = engines of this node only: another node serves
architecture | 0.10.0.. | api | model.py __init__.py config.py
    Resolved architecture: {architecture}
    = the model's configuration was read
max_model_len | 0.10.0.. | api | model.py __init__.py config.py
    Using max model len {tokens:d}
    = context length
chunked_prefill | 0.5.0.. | api | scheduler.py config.py vllm.py
    Chunked prefill is enabled with max_num_batched_tokens={tokens:d}
    = scheduler configured
engine_spawned | 0.5.5..0.10.2 | api | API
    Started engine process with PID {pid:d}
    = V0's engine process begins
engine_waiting | 0.9.0..0.11.0 | engine | core.py
    Waiting for init message from front-end.
    = the engine's process has imported everything
engine_config | 0.7.1.. | engine | CORE
    Initializing a V1 LLM engine (v{version}) with config: {config}
    = the V1 engine begins
engine_config | 0.7.1..0.10.2 | engine | llm_engine.py
    Initializing a V0 LLM engine (v{version}) with config: {config}
    = the V0 engine begins
engine_config | 0.4.0..0.7.0 | engine | CORE
    Initializing an LLM engine (v{version}) with config: {config}
    = the engine begins
engine_config | 0.1.0..0.3.3 | engine | CORE
    Initializing an LLM engine with config: {config}
    = the engine begins
# workers
nccl | 0.4.1.. | worker | pynccl.py
    vLLM is using nccl=={version}
    = communication library loaded
world | 0.11.2.. | worker | parallel_state.py
    world_size={world_size:d} rank={rank:d} local_rank={local_rank:d} \
distributed_init_method={method} backend={backend}
    = a worker joins the others
rank | 0.7.3.. | worker | parallel_state.py
    rank {rank:d} in world size {world_size:d} is assigned as \
DP rank {dp_rank:d}, PP rank {pp_rank:d}, TP rank {tp_rank:d}
    = a worker's place
rank | 0.11.1.. | worker | parallel_state.py
    rank {rank:d} in world size {world_size:d} is assigned as \
DP rank {dp_rank:d}, PP rank {pp_rank:d}, PCP rank {pcp_rank:d}, TP rank {tp_rank:d}
    = a worker's place
runner_v2 | 0.22.0.. | worker | gpu_worker.py
    Using V2 Model Runner
    = the V1 engine runs the new model runner
# weights
load_start | 0.5.4.. | worker | RUNNER tpu_model_runner.py hpu_model_runner.py worker.py
    Starting to load model {model}...
    = loading begins (not printed by the V2 runner and on a TPU)
load_scratch | 0.9.1.. | worker | RUNNER
    Loading model from scratch...
    = loading begins; the only such line of the V2 runner
drafter_start | 0.9.0.. | worker | RUNNER
    Loading drafter model...
    = the speculative model's loading begins
download | 0.7.3.. | worker | weight_utils.py -> weights_download_s
    Time spent downloading weights for {model}: {seconds:.6f} seconds
    = weights came from the hub; only printed above 0.5 s
download | 0.7.0..0.7.2 | worker | weight_utils.py -> weights_download_s
    Time took to download weights for {model}: {seconds:.6f} seconds
    = weights came from the hub
prefetch_start | 0.18.0.. | worker | weight_utils.py
    Prefetching checkpoint files into page cache started
    = files are read ahead, beside the loading
prefetch_end | 0.18.0.. | worker | weight_utils.py
    Prefetching checkpoint files into page cache finished in {seconds:.2f}s
    = files were read ahead
checkpoint | 0.22.0.. | worker | weight_utils.py
    Filesystem type for checkpoints: {filesystem}. Checkpoint size: {gib:.2f} GiB.
    = where the weights come from
shards | 0.5.4.. | worker | - | bar
    Loading {format} checkpoint shards: {percent:3d}% Completed | {done:d}/{total:d} [{elapsed}
    = progress of reading the weights
shards | 0.9.0.. | worker | - | bar
    Loading safetensors using {loader}: {percent:d}% Completed | {done:d}/{total:d} [{elapsed}
    = progress of reading the weights by a streamer
weights_took | 0.8.0.. | worker | LOADER -> weights_load_s
    Loading weights took {seconds:.2f} seconds
    = weights read and placed (not printed for bitsandbytes and GGUF)
hpu_loaded | 0.6.0.. | worker | hpu_model_runner.py habana_model_runner.py -> weights_gib
    Loading model weights took in total {gib:.4f} GiB of device memory
    = model loaded, on Gaudi
model_loaded | 0.3.1..0.7.3 | worker | RUNNER -> weights_gib
    Loading model weights took {gib:.4f} GB
    = model loaded; says GB, means GiB
model_loaded | 0.8.0..0.8.2 | worker | RUNNER -> weights_gib model_loading_s
    Model loading took {gib:.4f} GB and {seconds:.6f} seconds
    = model loaded, download included; says GB, means GiB
model_loaded | 0.8.3..0.11.0 | worker | RUNNER -> weights_gib model_loading_s
    Model loading took {gib:.4f} GiB and {seconds:.6f} seconds
    = model loaded, download included
model_loaded | 0.11.1..0.14.1 | worker | RUNNER -> weights_gib model_loading_s
    Model loading took {gib:.4f} GiB memory and {seconds:.6f} seconds
    = model loaded, download included
model_loaded | 0.15.0.. | worker | RUNNER -> weights_gib model_loading_s
    Model loading took {gib:.2f} GiB memory and {seconds:.6f} seconds
    = model loaded, download included
# torch.compile
compile_cache_dir | 0.6.5.. | worker | COMPILER
    Using cache directory: {path} for vLLM's torch.compile
    = Dynamo is done, compiling begins
dynamo | 0.6.5.. | worker | COMPILER -> dynamo_transform_s
    Dynamo bytecode transform time: {seconds:.2f} s
    = Dynamo traced the model
compiled | 0.6.5..0.9.2 | worker | COMPILER -> compile_s
    Compiling a graph for general shape takes {seconds:.2f} s
    = graphs compiled
compiled | 0.6.5..0.12.0 | worker | COMPILER -> compile_s
    Compiling a graph for shape {shape} takes {seconds:.2f} s
    = graphs of one shape compiled
compiled | 0.10.0..0.12.0 | worker | COMPILER -> compile_s
    Compiling a graph for dynamic shape takes {seconds:.2f} s
    = graphs compiled
compiled | 0.13.0.. | worker | COMPILER -> compile_s
    Compiling a graph for compile range {range} takes {seconds:.2f} s
    = graphs of a range compiled; one line a range
cache_loaded | 0.13.0.. | worker | COMPILER -> compile_cache_load_s compile_from_cache
    Directly load the compiled graph(s) for compile range {range} from the cache, took {seconds:.3f} s
    = compiled graphs taken from the cache
cache_loaded | 0.10.0..0.12.0 | worker | COMPILER -> compile_cache_load_s compile_from_cache
    Directly load the compiled graph(s) for dynamic shape from the cache, took {seconds:.3f} s
    = compiled graphs taken from the cache
cache_loaded | 0.8.5..0.12.0 | worker | COMPILER -> compile_cache_load_s compile_from_cache
    Directly load the compiled graph(s) for shape {shape} from the cache, took {seconds:.3f} s
    = compiled graphs taken from the cache
cache_loaded | 0.7.3..0.8.4 | worker | COMPILER -> compile_from_cache
    Directly load the compiled graph for shape {shape} from the cache
    = compiled graphs taken from the cache, without a time
cache_loaded | 0.6.6..0.7.2 | worker | COMPILER -> compile_from_cache
    Directly lookup the graph for shape {shape} from the cache
    = compiled graphs taken from the cache, without a time
aot_loaded | 0.15.0.. | worker | COMPILER -> compile_from_cache
    Directly load AOT compilation from path {path}
    = the whole compiled function taken from the cache
aot_saved | 0.16.0.. | worker | COMPILER
    saved AOT compiled function to {path}
    = the compiled function written to the cache
aot_failed | 0.15.0.. | worker | COMPILER
    Compiling model again due to a load failure from {path}, reason: {reason}
    = a cache that could not be loaded: a warm start that compiles
compile_total | 0.6.5..0.18.1 | worker | monitor.py decorators.py backends.py -> torch_compile_total_s
    torch.compile takes {seconds:.2f} s in total
    = Dynamo and compiling; up to 0.11.0 without the loading of a cache
compile_total | 0.19.0.. | worker | monitor.py decorators.py backends.py -> torch_compile_total_s
    torch.compile took {seconds:.2f} s in total
    = wall time of Dynamo and compiling
compile_and_warmup | 0.19.0.. | worker | monitor.py decorators.py backends.py
    torch.compile and initial profiling/warmup run together took {seconds:.2f} s in total
    = compiling and the first run, which could not be told apart
# profiling and KV cache
profiled | 0.6.5..0.10.2 | worker | worker.py gpu_worker.py -> v0_memory_profiling_s
    Memory profiling takes {seconds:.2f} seconds
    = V0's memory profiling
kv_reserved | 0.6.5..0.10.2 | worker | worker.py -> kv_cache_gib
    model weights take {weights:.2f}GiB; non_torch_memory takes {other:.2f}GiB; \
PyTorch activation peak memory takes {peak:.2f}GiB; \
the rest of the memory reserved for KV Cache is {gib:.2f}GiB.
    = V0's memory for the KV cache
memory_results | 0.6.4..0.6.4 | worker | worker.py
    Memory profiling results: {results}
    = V0's memory profiling is done
warmup_run | 0.19.0.. | worker | monitor.py decorators.py -> warmup_run_s
    Initial profiling/warmup run took {seconds:.2f} s
    = the first forward pass
encoder_budget | 0.7.0.. | worker | RUNNER
    Encoder cache will be initialized with a budget of {tokens:d} tokens
    = multi-modal encoder is profiled next
graph_memory_start | 0.18.0.. | worker | RUNNER
    Profiling CUDA graph memory: {graphs}
    = memory of the graphs is estimated by capturing some
graph_memory_end | 0.18.0.. | worker | RUNNER
    Estimated CUDA graph memory: {gib:.2f} GiB total
    = memory of the graphs is known
kv_available | 0.9.2.. | worker | gpu_worker.py cpu_worker.py xpu_worker.py tpu_worker.py core.py -> kv_cache_gib
    Available KV cache memory: {gib:.2f} GiB
    = profiling done; memory left for the KV cache (can be negative)
kv_tokens | 0.8.0..0.27.1 | engine | kv_cache_utils.py -> kv_cache_tokens
    GPU KV cache size: {tokens:,d} tokens
    = KV cache sized; says GPU on other devices too
kv_tokens | 0.28.0.. | engine | kv_cache_utils.py -> kv_cache_tokens
    {device} KV cache size: {tokens:,d} tokens, Maximum concurrency for {length:,d} tokens per request: {times:.2f}x
    = KV cache sized, in one line with the concurrency
concurrency | 0.6.2..0.27.1 | engine | EXECUTOR kv_cache_utils.py
    Maximum concurrency for {length:,d} tokens per request: {times:.2f}x
    = follows the size of the KV cache
blocks | 0.1.0..0.10.2 | engine | EXECUTOR -> num_gpu_blocks num_cpu_blocks
    # {device} blocks: {blocks:d}, # CPU blocks: {cpu_blocks:d}
    = V0's KV cache sized
gpu_blocks | 0.6.4..0.7.3 | engine | CORE EXECUTOR kv_cache_utils.py -> num_gpu_blocks
    # GPU blocks: {blocks:d}
    = KV cache sized
cpu_blocks | 0.4.0..0.6.6 | engine | EXECUTOR -> num_cpu_blocks
    # CPU blocks: {cpu_blocks:d}
    = KV cache sized, on a CPU
cache_blocks | 0.9.0..0.9.0 | api | loggers.py -> num_gpu_blocks
    vllm cache_config_info with initialization after num_gpu_blocks is: {blocks:d}
    = blocks of the KV cache, for the metrics
cache_blocks | 0.9.1..0.11.0 | api | loggers.py -> num_gpu_blocks
    Engine {engine:03d}: vllm cache_config_info with initialization after num_gpu_blocks is: {blocks:d}
    = blocks of the KV cache, for the metrics; one line an engine
# kernels and graphs
autotune_start | 0.10.0.. | worker | autotuner.py | flashinfer
    [Autotuner]: Autotuning process starts
    = FlashInfer tunes its kernels
autotune_end | 0.10.0.. | worker | autotuner.py | flashinfer
    [Autotuner]: Autotuning process ends
    = FlashInfer has tuned its kernels
kernel_warmup | 0.11.0.. | worker | kernel_warmup.py
    Warming up FlashInfer attention.
    = kernels are compiled before the first request
kernel_warmup_end | 0.22.0.. | worker | kernel_warmup.py deepseek_v4_warmup.py mhc_warmup.py
    {kernel} warmup finished in {seconds:.2f} seconds.
    = kernels were compiled
deep_gemm_bar | 0.10.2.. | worker | - | bar
    DeepGEMM warmup
    = progress of compiling DeepGEMM's kernels
capture_start | 0.2.7..0.6.4 | worker | RUNNER
    Capturing the model for CUDA graphs.
    = V0 begins to capture
capture_start | 0.6.5..0.10.2 | worker | RUNNER
    Capturing cudagraphs for decoding.
    = V0 begins to capture
capture_bar | 0.6.5..0.10.1 | worker | - | bar
    Capturing CUDA graph shapes: {percent:3d}%|
    = progress of the capture
capture_bar | 0.10.2.. | worker | - | bar
    Capturing CUDA graphs ({kind}): {percent:3d}%|
    = progress of the capture, one bar a kind
captured | 0.6.4.. | worker | RUNNER -> graph_capture_s graph_capture_gib
    Graph capturing finished in {seconds:.0f} secs, took {gib:.2f} GiB
    = graphs captured (GiB can be negative)
captured | 0.2.7..0.6.3 | worker | RUNNER -> graph_capture_s
    Graph capturing finished in {seconds:.0f} secs.
    = graphs captured
capture_skipped | 0.8.0.. | worker | RUNNER
    Skipping CUDA graph capture.
    = nothing is captured
eager | 0.10.2.. | any | vllm.py __init__.py cuda.py interface.py
    Cudagraph is disabled under eager mode
    = neither compiling nor capturing
jit_monitor | 0.22.0.. | worker | jit_monitor.py
    Kernel JIT monitor activated
    = everything is compiled; what is compiled later is warned of
# other devices
cpu_warmup_start | 0.9.1.. | worker | cpu_model_runner.py
    Warming up model for the compilation...
    = a CPU compiles while it runs the model
cpu_warmup_end | 0.9.1.. | worker | cpu_model_runner.py
    Warming up done.
    = a CPU has compiled and run the model
kv_cpu | 0.28.0.. | worker | cpu_worker.py
    Explicitly set ({gib}/{node_gib:.2f}) GiB for KV cache on node {node:d}
    = memory for the KV cache of a CPU
tpu_compile_start | 0.7.0.. | worker | tpu_model_runner.py
    Compiling the model with different input shapes
    = a TPU compiles every shape
tpu_compiled | 0.8.0.. | worker | tpu_model_runner.py
    Compilation finished in {seconds:.2f} [secs]
    = a TPU has compiled one set of shapes
tpu_compiled | 0.11.0.. | worker | compilation_manager.py tpu_runner.py tpu_jax_runner.py
    Compilation of {name} finished in {seconds:.2f} [secs]
    = a TPU has compiled one function
tpu_init | 0.11.0.. | worker | tpu_runner.py tpu_jax_runner.py
    Init model | hbm={hbm}
    = a TPU has the model
xpu_loaded | 0.9.0..0.11.0 | worker | xpu_worker.py
    Before memory profiling run, total GPU memory: {total:.2f} MB, model load takes {mb:.2f} MB
    = an XPU has the model
xpu_profiled | 0.9.0..0.11.0 | worker | xpu_worker.py
    After memory profiling run, peak memory usage is {mb:.2f} MB
    = an XPU has profiled
# engine done, front end, ready
engine_done | 0.6.5..0.19.1 | engine | CORE -> init_engine_s
    init engine (profile, create kv cache, warmup model) took {seconds:.2f} seconds
    = the engine is ready; the weights are not in this time
engine_done | 0.20.0.. | engine | CORE -> init_engine_s init_engine_compilation_s
    init engine (profile, create kv cache, warmup model) took {seconds:.2f} s (compilation: {compilation:.2f} s{parts})
    = the engine is ready; compilation is the sum over target and drafter
engine_done | 0.20.0.. | engine | CORE -> init_engine_s
    init engine (profile, create kv cache, warmup model) took {seconds:.2f} s
    = the engine is ready and nothing was compiled
tasks | 0.11.1.. | api | API entry.py llm.py
    Supported tasks: {tasks}
    = the front end knows what the engine can do
tasks | 0.10.0..0.11.0 | api | API llm.py
    Supported_tasks: {tasks}
    = the front end knows what the engine can do
template_warmup | 0.14.0..0.17.1 | api | serving.py serving_chat.py
    Chat template warmup completed in {ms:.1f}ms
    = the chat template was rendered once
multimodal_warmup | 0.18.0.. | api | base.py
    Multi-modal warmup completed in {seconds:.3f}s
    = the multi-modal processor was run once
server_start | 0.18.0.. | api | API entry.py
    Starting vLLM server on {url}
    = the front end begins to serve
server_start | 0.7.3..0.9.0 | api | API
    Starting vLLM API server on {url}
    = the front end begins to serve
server_start | 0.9.1..0.17.1 | api | API
    Starting vLLM API server {index:d} on {url}
    = the front end begins to serve
routes | 0.5.2.. | api | API launcher.py
    Available routes are:
    = the front end lists its routes
route | 0.5.2.. | api | API launcher.py
    Route: {path}, Methods: {methods}
    = one route
uvicorn_started | 0.1.0.. | api | - | uvicorn
    Started server process [{pid:d}]
    = the web server begins
uvicorn_waiting | 0.1.0.. | api | - | uvicorn
    Waiting for application startup.
    = the web server starts the application
ready | 0.1.0.. | api | - | uvicorn
    Application startup complete.
    = the server answers from here on
uvicorn_running | 0.1.0..0.8.5 | api | - | uvicorn
    Uvicorn running on {url} (Press CTRL+C to quit)
    = the server answers from here on
shutdown | 0.1.0.. | api | - | uvicorn
    Application shutdown complete.
    = the server has ended
# sleep and wake
sleep_freed | 0.7.0.. | worker | gpu_worker.py worker.py xpu_worker.py
    Sleep mode freed {gib:.2f} GiB memory, {in_use:.2f} GiB memory is still in use.
    = what /sleep gave back
asleep | 0.7.3.. | engine | abstract.py executor_base.py
    It took {seconds:.6f} seconds to fall asleep.
    = /sleep is done
awake | 0.8.3.. | engine | abstract.py executor_base.py
    It took {seconds:.6f} seconds to wake up tags {tags}.
    = /wake_up is done for these tags
awake | 0.7.3..0.8.2 | engine | abstract.py executor_base.py
    It took {seconds:.6f} seconds to wake up.
    = /wake_up is done
# failure
failed | 0.8.3.. | engine | core.py
    EngineCore failed to start.
    = the engine's process gave up; the cause follows in the traceback
failed | 0.7.0..0.8.2 | engine | core.py
    EngineCore hit an exception: {text}
    = the engine's process gave up
died | 0.8.3.. | engine | core.py
    EngineCore encountered a fatal error.
    = the running engine died
failed | 0.9.0.. | worker | multiproc_executor.py
    WorkerProc failed to start.
    = a worker gave up; the cause follows in the traceback
failed | 0.9.1.. | worker | multiproc_executor.py
    WorkerProc hit an exception.
    = a worker's call failed; the cause follows in the traceback
failed | 0.7.3..0.9.0 | worker | multiproc_executor.py
    WorkerProc hit an exception: {text}
    = a worker's call failed
failed | 0.4.1.. | worker | worker_base.py ray_utils.py
    Error executing method {method}. This might cause deadlock in distributed execution.
    = a worker's call failed; the cause follows in the traceback
"""


def _entries(table: str) -> Iterator[Marker]:
    lines = (line for line in table.splitlines() if not line.startswith("#"))
    while entry := tuple(islice(lines, 3)):
        head, template, meaning = entry
        left, _, keys = head.partition(" -> ")
        event, versions, component, files, *logger = left.split(" | ")
        since, _, until = versions.partition("..")
        names = " ".join(FILE_SETS.get(word, word) for word in files.split()).split()
        yield Marker(
            event=event,
            template=template[4:],
            meaning=meaning.removeprefix("    = "),
            since=since,
            until=until or None,
            component=component,
            files=() if files == "-" else tuple(dict.fromkeys(names)),
            logger=logger[0] if logger else "vllm",
            keys=tuple(keys.split()),
        )


MARKERS = tuple(_entries(TABLE))
EVENTS = tuple(dict.fromkeys(marker.event for marker in MARKERS))


@lru_cache(maxsize=4096)
def _candidates(start: str) -> tuple[Marker, ...]:
    """Markers that a message with these first four characters can be, in the order of the table."""
    return tuple(
        m for m in MARKERS if m.start[:4] == start or (len(m.start) < 4 and start.startswith(m.start))
    )


def find(message: str, loggers: Iterable[str] = ("vllm",)) -> tuple[Marker, Fields] | None:
    """The marker that a message is, with its fields, or None."""
    for marker in _candidates(message[:4]):
        if marker.logger in loggers and (fields := marker.read(message)) is not None:
            return marker, fields
    return None


def wordings(event: str) -> tuple[Marker, ...]:
    """All wordings of an event."""
    return tuple(marker for marker in MARKERS if marker.event == event)


def wording(event: str, version: str) -> Marker | None:
    """The wording that a release prints for an event: of several the newest, None when it prints none."""
    at = version_key(version)
    fitting = [
        marker
        for marker in wordings(event)
        if version_key(marker.since) <= at and (marker.until is None or at <= version_key(marker.until))
    ]
    return max(fitting, key=lambda marker: version_key(marker.since), default=None)
