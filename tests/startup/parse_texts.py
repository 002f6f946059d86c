"""Short logs for the tests of the parser, and one way to parse text."""

from __future__ import annotations

import io

from vllmperf.starts.log.parse import parse
from vllmperf.starts.result import ParsedFile, StartupLog

CONFIG = (
    "model='org/model', speculative_config=None, tokenizer='org/model', tensor_parallel_size={tp}, "
    "pipeline_parallel_size={pp}, enforce_eager={eager}, device_config={device}"
)


def config(tp: int = 1, pp: int = 1, eager: bool = False, device: str = "cuda", draft: str = "None") -> str:
    text = CONFIG.format(tp=tp, pp=pp, eager=eager, device=device)
    return text.replace("speculative_config=None", f"speculative_config={draft}")


START_0_11 = f"""\
INFO 06-21 08:00:00 [__init__.py:216] Automatically detected platform cuda.
(APIServer pid=1) INFO 06-21 08:00:02 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO 06-21 08:00:03 [model.py:547] Resolved architecture: LlamaForCausalLM
INFO 06-21 08:00:08 [__init__.py:216] Automatically detected platform cuda.
(EngineCore_DP0 pid=2) INFO 06-21 08:00:10 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: {config()}
(EngineCore_DP0 pid=2) INFO 06-21 08:00:12 [gpu_model_runner.py:2602] Starting to load model org/model...
(EngineCore_DP0 pid=2) INFO 06-21 08:00:20 [weight_utils.py:392] Time spent downloading weights for org/model: 8.123456 seconds
(EngineCore_DP0 pid=2) INFO 06-21 08:00:26 [default_loader.py:267] Loading weights took 5.75 seconds
(EngineCore_DP0 pid=2) INFO 06-21 08:00:27 [gpu_model_runner.py:2653] Model loading took 32.1993 GiB and 14.099772 seconds
(EngineCore_DP0 pid=2) INFO 06-21 08:00:33 [backends.py:559] Dynamo bytecode transform time: 5.50 s
(EngineCore_DP0 pid=2) INFO 06-21 08:00:43 [backends.py:215] Compiling a graph for dynamic shape takes 9.87 s
(EngineCore_DP0 pid=2) INFO 06-21 08:00:44 [monitor.py:34] torch.compile takes 15.37 s in total
(EngineCore_DP0 pid=2) INFO 06-21 08:00:46 [gpu_worker.py:298] Available KV cache memory: -0.12 GiB
(EngineCore_DP0 pid=2) INFO 06-21 08:00:46 [kv_cache_utils.py:1087] GPU KV cache size: 1,024,736 tokens
(EngineCore_DP0 pid=2) INFO 06-21 08:00:53 [gpu_model_runner.py:3480] Graph capturing finished in 7 secs, took 1.13 GiB
(EngineCore_DP0 pid=2) INFO 06-21 08:00:54 [core.py:210] init engine (profile, create kv cache, warmup model) took 26.86 seconds
(APIServer pid=1) INFO 06-21 08:00:56 [api_server.py:1912] Starting vLLM API server 0 on http://0.0.0.0:8000
(APIServer pid=1) INFO 06-21 08:00:56 [launcher.py:34] Available routes are:
(APIServer pid=1) INFO:     Started server process [1]
(APIServer pid=1) INFO:     Waiting for application startup.
(APIServer pid=1) INFO:     Application startup complete.
"""

START_0_7 = f"""\
INFO 02-24 13:59:20 __init__.py:207] Automatically detected platform cuda.
INFO 02-24 13:59:23 api_server.py:912] vLLM API server version 0.7.3
INFO 02-24 13:59:30 llm_engine.py:234] Initializing a V0 LLM engine (v0.7.3) with config: {config(tp=2)}
INFO 02-24 13:59:31 model_runner.py:1110] Starting to load model org/model...
(VllmWorkerProcess pid=71) INFO 02-24 13:59:31 model_runner.py:1110] Starting to load model org/model...
(VllmWorkerProcess pid=71) INFO 02-24 13:59:39 model_runner.py:1115] Loading model weights took 6.5001 GB
INFO 02-24 13:59:41 model_runner.py:1115] Loading model weights took 6.5000 GB
INFO 02-24 13:59:44 worker.py:267] Memory profiling takes 2.50 seconds
INFO 02-24 13:59:44 worker.py:267] the current vLLM instance can use total_gpu_memory (79.11GiB) x 0.90 = 71.20GiB
INFO 02-24 13:59:44 worker.py:267] model weights take 6.50GiB; non_torch_memory takes 0.15GiB; \
PyTorch activation peak memory takes 1.46GiB; the rest of the memory reserved for KV Cache is 63.09GiB.
INFO 02-24 13:59:44 executor_base.py:111] # cuda blocks: 25000, # CPU blocks: 2048
INFO 02-24 13:59:50 model_runner.py:1562] Graph capturing finished in 5 secs, took 0.25 GiB
(VllmWorkerProcess pid=71) INFO 02-24 13:59:51 model_runner.py:1562] Graph capturing finished in 6 secs, took 0.24 GiB
INFO 02-24 13:59:51 llm_engine.py:436] init engine (profile, create kv cache, warmup model) took 9.99 seconds
INFO:     Started server process [12]
INFO:     Application startup complete.
INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)
"""


def parsed(text: str | bytes, year: int | None = 2026, tz: str | None = None) -> ParsedFile:
    return parse(io.BytesIO(text.encode() if isinstance(text, str) else text), year=year, tz=tz)


def log_of(text: str | bytes, year: int | None = 2026, tz: str | None = None) -> StartupLog:
    return parsed(text, year, tz).main


def said(log: StartupLog) -> dict[str, object]:
    """The reported numbers that the log gives."""
    return {name: value for name, value in log.reported.items() if value is not None}
