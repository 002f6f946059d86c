"""The clients that scripts/bench/rivals compares: how each is installed and called, and where its figures stand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from clients import INPUT_TOKENS, Bare, Load, Ours, VllmRs, tokenizer
from numpy.typing import ArrayLike

import vllmperf

HERE = Path(__file__).parent
PROGRAMS = HERE / "rival_programs"
"""What runs in the rivals' environments, with their packages."""
ONE_CORE = "one worker process"
FLOOR = "bare reader (the floor)"


@dataclass(frozen=True)
class Spread:
    """Of one time, ms. None: the client does not say."""

    mean: float | None
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Reported:
    ttft: Spread
    itl: Spread
    completed: int
    failed: int


@dataclass(frozen=True)
class Job:
    """What a client is asked for. folder: where it leaves its files. stall_s: how long it may wait for bytes, if it can be
    told so."""

    load: Load
    url: str
    folder: Path
    environment: Path
    stall_s: int

    @property
    def tokenizer(self) -> Path:
        return tokenizer(self.folder / "tokenizer")

    def python(self, script: str) -> list[str | Path]:
        return [self.environment / "bin" / "python", PROGRAMS / script]

    def program(self, name: str) -> Path:
        return self.environment / "bin" / name


Command = list[str | Path]


@dataclass(frozen=True)
class Tool:
    """A client. packages: what pip installs; alone: without what they depend on. copied: files of PROGRAMS that the
    environment gets as modules. settings: what differs from its defaults, for the page."""

    name: str
    version: str
    command: Callable[[Job], Command]
    read: Callable[[Path], Reported]
    alone: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    copied: Mapping[str, str] = field(default_factory=dict)
    variables: Callable[[Job], dict[str, str]] = lambda _job: {}
    environment: str | None = None
    python: tuple[int, int] = (3, 12)
    settings: str = "defaults"


# ---- vllm bench serve, vllm-rs ----


def vllm_command(job: Job) -> Command:
    load = job.load
    words = "--backend openai --endpoint /v1/completions --model sim --dataset-name random --ignore-eos --disable-tqdm"
    words += (
        f" --random-input-len {INPUT_TOKENS} --random-output-len {load.tokens} --num-prompts {load.requests}"
    )
    words += " --save-result --result-filename result.json --ready-check-timeout-sec 0 --result-dir"
    command = [*job.python("vllm_without_torch.py"), *words.split(), job.folder, "--base-url", job.url]
    command += ["--tokenizer", job.tokenizer]
    if load.streams:
        return [*command, "--max-concurrency", str(load.streams)]
    return [*command, "--request-rate", str(load.rate), "--burstiness", "1000000"]


def vllm_rs_command(job: Job) -> Command:
    binary = next(job.environment.glob("lib/python*/site-packages/vllm/vllm-rs"))
    return VllmRs(job.folder, binary).command(job.load, job.url, job.folder)


def read_vllm(folder: Path) -> Reported:
    result = json.loads((folder / "result.json").read_text())

    def spread(name: str) -> Spread:
        return Spread(*(result[f"{which}_{name}_ms"] for which in ("mean", "median", "p99")))

    return Reported(spread("ttft"), spread("itl"), result["completed"], result["failed"])


# ---- guidellm ----


def guidellm_command(job: Job) -> Command:
    load = job.load
    backend = {"kind": "openai_http", "target": job.url, "model": "sim", "request_format": "/v1/completions"}
    closed = {"kind": "concurrent", "streams": [load.streams]}
    options = {
        "backend": backend | {"timeout": job.stall_s},
        "tokenizer": {"kind": "huggingface_auto", "model": str(job.tokenizer)},
        "data": {"kind": "synthetic_text", "prompt_tokens": INPUT_TOKENS, "output_tokens": load.tokens},
        "data-loader": {"kind": "pytorch", "samples": load.requests},
        "constraint": {"kind": "max_requests", "count": load.requests},
        "profile": closed if load.streams else {"kind": "constant", "rate": [load.rate]},
        "output": {"kind": "json", "path": str(job.folder / "result.json")},
    }
    words = [word for name, value in options.items() for word in (f"--{name}", json.dumps(value))]
    return [job.program("guidellm"), "run", *words, "--disable-console"]


def read_guidellm(folder: Path) -> Reported:
    metrics = json.loads((folder / "result.json").read_text())["benchmarks"][0]["metrics"]

    def spread(name: str) -> Spread:
        found = metrics[name]["successful"]
        return Spread(found["mean"], found["percentiles"]["p50"], found["percentiles"]["p99"])

    totals = metrics["request_totals"]
    ttft, itl = spread("time_to_first_token_ms"), spread("inter_token_latency_ms")
    return Reported(ttft, itl, totals["successful"], totals["errored"])


# ---- aiperf ----


def aiperf_command(job: Job) -> Command:
    load = job.load
    words = f"profile -m sim --url {job.url} --endpoint-type completions --streaming --isl {INPUT_TOKENS} --osl {load.tokens}"
    words += f" --request-count {load.requests} --ui none --use-legacy-max-tokens --no-server-metrics --no-gpu-telemetry"
    words += f" --workers-max 1 --record-processors 1 --request-timeout-seconds {job.stall_s + 5}"
    words += (
        f" --concurrency {load.streams}"
        if load.streams
        else f" --request-rate {load.rate} --arrival-pattern constant"
    )
    return [
        job.program("aiperf"),
        *words.split(),
        "--tokenizer",
        job.tokenizer,
        "--artifact-dir",
        job.folder / "out",
    ]


def read_aiperf(folder: Path) -> Reported:
    found = json.loads(next((folder / "out").rglob("profile_export_aiperf.json")).read_text())

    def spread(name: str) -> Spread:
        return Spread(*(found[name][which] for which in ("avg", "p50", "p99")))

    failed = round((found.get("error_request_count") or {"avg": 0})["avg"])
    ttft, itl = spread("time_to_first_token"), spread("inter_chunk_latency")
    return Reported(ttft, itl, round(found["request_count"]["avg"]), failed)


# ---- inference-perf ----


def inference_perf_command(job: Job) -> Command:
    (job.folder / "config.yml").write_text(json.dumps(_inference_perf_config(job)))  # JSON is YAML
    return [job.program("inference-perf"), "-c", job.folder / "config.yml"]


def _inference_perf_config(job: Job) -> dict[str, Any]:
    load = job.load
    stage = {"num_requests": load.requests, "concurrency_level": load.streams}
    if load.rate:
        stage = {"rate": load.rate, "duration": load.requests // load.rate}
    return {
        "load": {
            "type": "concurrent" if load.streams else "constant",
            "stages": [stage],
            "interval": 0,
            "num_workers": 1,
            "worker_max_concurrency": 1200,
            "request_timeout": job.stall_s,
        },
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": "sim", "base_url": job.url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(job.tokenizer)},
        "data": {
            "type": "random",
            "input_distribution": _always(INPUT_TOKENS, load.requests),
            "output_distribution": _always(load.tokens, load.requests),
        },
        "report": {"request_lifecycle": {"per_stage": False, "use_server_output_tokens": True}},
        "storage": {"local_storage": {"path": str(job.folder / "out")}},
    }


def _always(tokens: int, times: int) -> dict[str, int]:
    return {"min": tokens, "max": tokens, "mean": tokens, "std_dev": 0, "total_count": times}


def read_inference_perf(folder: Path) -> Reported:
    found = json.loads((folder / "out" / "summary_lifecycle_metrics.json").read_text())
    latency = found["successes"]["latency"]

    def spread(name: str) -> Spread:
        return Spread(*(latency[name][which] * 1e3 for which in ("mean", "median", "p99")))

    ttft, itl = spread("time_to_first_token"), spread("inter_token_latency")
    return Reported(ttft, itl, found["successes"]["count"], found["failures"]["count"])


# ---- locust ----


def locust_command(job: Job) -> Command:
    users = str(job.load.streams or 200)
    words = f"--headless --users {users} --spawn-rate {users} --only-summary --loglevel WARNING"
    return [job.program("locust"), "-f", PROGRAMS / "locust_streams.py", *words.split(), "--host", job.url]


def locust_variables(job: Job) -> dict[str, str]:
    prompt = " ".join(f"w{i}" for i in range(INPUT_TOKENS))
    body = {
        "model": "sim",
        "prompt": prompt,
        "max_tokens": job.load.tokens,
        "stream": True,
        "ignore_eos": True,
    }
    load = {"requests": job.load.requests, "rate": job.load.rate, "body": body, "timeout_s": job.stall_s}
    return {"LOAD": json.dumps(load | {"result": str(job.folder / "result.json")})}


def read_locust(folder: Path) -> Reported:
    found = json.loads((folder / "result.json").read_text())

    ttft, itl = (_spread_of(found[name]) for name in ("ttft_ms", "itl_ms"))
    return Reported(ttft, itl, found["completed"], found["failed"])


def _spread_of(values: ArrayLike) -> Spread:
    array = np.asarray(values, dtype=float)
    return Spread(float(array.mean()), *map(float, np.percentile(array, [50, 99])))


# ---- ours ----


def ours_command(job: Job) -> Command:
    return [*Ours().command(job.load, job.url, job.folder), "--no-trim", "--stall-timeout", str(job.stall_s)]


def read_ours(folder: Path) -> Reported:
    summary = vllmperf.open_run(folder / "run.vllmperf", trim=False).summary

    def spread(name: str) -> Spread:
        found = summary["metrics"][name]
        return Spread(*((found or {}).get(which) for which in ("mean", "p50", "p99")))

    outcomes = dict(summary["requests"]["outcomes"])
    completed = outcomes.pop("completed", 0)
    return Reported(spread("ttft_ms"), spread("itl_ms"), completed, sum(outcomes.values()))


# ---- the floor ----


def floor_command(job: Job) -> Command:
    (job.folder / "tokens").write_text(str(job.load.tokens))
    return Bare(job.folder).command(job.load, job.url, job.folder)


def read_floor(folder: Path) -> Reported:
    columns = 1 + int((folder / "tokens").read_text())
    stamps = np.fromfile(folder / "stamps", dtype=np.int64).reshape(-1, columns)
    is_whole = (stamps > 0).all(axis=1)
    ms = stamps[is_whole] / 1e6
    ttft, itl = (_spread_of(times) for times in (ms[:, 1] - ms[:, 0], np.diff(ms[:, 1:], axis=1).reshape(-1)))
    return Reported(ttft, itl, int(is_whole.sum()), int((~is_whole).sum()))


VLLM_ALONE = ("vllm==0.33.0",)
VLLM_PACKAGES = (
    *("aiohttp", "numpy", "pillow", "psutil", "pybase64", "pyyaml", "pyzmq", "regex", "tqdm", "urllib3"),
    "transformers>=5.16.1,<5.21",
)
"""What its client imports; the whole of vLLM needs 200 more, among them torch."""
GUIDELLM_PACKAGES = (
    *(
        "click~=8.4.0",
        "culsans~=0.10.0",
        "datasets>=5.0.1",
        "eval_type_backport",
        "faker",
        "ftfy",
        "httpx[http2]<1",
    ),
    *("jinja2", "loguru", "more-itertools", "msgpack", "msgspec", "numpy", "orjson", "protobuf", "pydantic"),
    *("pydantic-settings", "pyyaml", "rich", "sanic", "tabulate", "transformers", "uvloop", "websockets"),
)
"""What it depends on, except torch."""

TOOLS = (
    Tool(
        FLOOR,
        "–",
        floor_command,
        read_floor,
        environment="",
        settings="an epoll loop in C that reads and stamps and does nothing else: what the kernel alone costs here",
    ),
    Tool(
        "vllmperf",
        vllmperf.__version__,
        ours_command,
        read_ours,
        environment="",
        settings="`--no-trim`, because the others leave no warm-up out; the run file is kept",
    ),
    Tool(
        "vllm-rs",
        "0.33.0",
        vllm_rs_command,
        read_vllm,
        VLLM_ALONE,
        VLLM_PACKAGES,
        environment="vllm",
        settings="the compiled client in vLLM's wheel; `--prompt-token-ids`",
    ),
    Tool(
        "vllm bench serve",
        "0.33.0",
        vllm_command,
        read_vllm,
        VLLM_ALONE,
        VLLM_PACKAGES,
        environment="vllm",
        settings="started without torch, which it imports and does not need (that spares seconds of each start)",
    ),
    Tool(
        "guidellm",
        "0.8.1",
        guidellm_command,
        read_guidellm,
        ("guidellm==0.8.1",),
        GUIDELLM_PACKAGES,
        copied={"torch_for_guidellm.py": "torch.py"},
        variables=lambda _job: {"USE_TORCH": "0", "GUIDELLM__MAX_WORKER_PROCESSES": "1"},
        settings=f"{ONE_CORE} instead of ten; prompts made before the start; orjson, msgspec and uvloop installed; its loader of "
        "data is ours, without torch",
    ),
    Tool(
        "aiperf",
        "0.13.0",
        aiperf_command,
        read_aiperf,
        packages=("aiperf==0.13.0",),
        settings=f"{ONE_CORE} and one for records; no display; no server metrics",
    ),
    Tool(
        "inference-perf",
        "0.7.0",
        inference_perf_command,
        read_inference_perf,
        packages=("inference-perf==0.7.0",),
        settings=f"{ONE_CORE} of up to 1,200 requests; tokens as the server counts them",
    ),
    Tool(
        "locust",
        "2.47.0",
        locust_command,
        read_locust,
        packages=("locust==2.47.0",),
        variables=locust_variables,
        settings="its fastest client (FastHttpUser) with a user of ours that reads streams, since it has none",
    ),
)


def variables_of(tool: Tool, job: Job) -> dict[str, str]:
    """The environment of its process."""
    usual = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
    }
    hidden = () if tool.environment == "" else ("PYTHONPATH",)
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return inherited | usual | tool.variables(job)


def has_run(tool: Tool, code: int | None) -> bool:
    """vllmperf ends with 1 when it does not trust its own figures; locust when requests failed."""
    return code in ((0, 1) if tool.name in ("vllmperf", "locust") else (0,))
