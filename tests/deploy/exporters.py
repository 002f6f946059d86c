"""Exporters for tests that speak like others: NVIDIA's DCGM exporter, kube-state-metrics, a vLLM of V0.

Names, labels and units are those of their documentation; the values move with time, so that rates are not 0.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Page = Callable[[float], str]
"""Text by the seconds since the exporter began."""


@contextmanager
def exporter(page: Page) -> Iterator[str]:
    """Serve a page at any path; gives host:port."""
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(time.monotonic() - began).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}\n"


def family(name: str, kind: str, *samples: tuple[Mapping[str, str], float]) -> str:
    return f"# TYPE {name} {kind}\n" + "".join(line(name, labels, value) for labels, value in samples)


def histogram(
    name: str, labels: Mapping[str, str], bounds: tuple[float, ...], count: float, mean: float
) -> str:
    """So many samples around a mean: half of them below it."""
    text = f"# TYPE {name} histogram\n"
    for bound in bounds:
        text += line(
            f"{name}_bucket", {**labels, "le": str(bound)}, math.floor(count * bound / (bound + mean))
        )
    text += line(f"{name}_bucket", {**labels, "le": "+Inf"}, math.floor(count))
    return text + line(f"{name}_sum", labels, count * mean) + line(f"{name}_count", labels, math.floor(count))


# ---- DCGM ----


def dcgm(seconds: float) -> str:
    """Two GPUs, the fields of the exporter's default list; energy in mJ."""
    watts = 600 + 50 * math.sin(seconds / 5)
    values = {
        "DCGM_FI_DEV_SM_CLOCK": ("gauge", 1755.0),
        "DCGM_FI_DEV_MEM_CLOCK": ("gauge", 2619.0),
        "DCGM_FI_DEV_GPU_TEMP": ("gauge", 61.0),
        "DCGM_FI_DEV_POWER_USAGE": ("gauge", watts),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("counter", 1e9 + 600e3 * seconds),
        "DCGM_FI_DEV_GPU_UTIL": ("gauge", 97.0),
        "DCGM_FI_DEV_MEM_COPY_UTIL": ("gauge", 40.0),
        "DCGM_FI_DEV_FB_FREE": ("gauge", 8000.0),
        "DCGM_FI_DEV_FB_USED": ("gauge", 73000.0),
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("gauge", 0.98),
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("gauge", 0.42),
        "DCGM_FI_PROF_DRAM_ACTIVE": ("gauge", 0.55),
    }
    gpus = [
        {
            "gpu": str(n),
            "UUID": f"GPU-{n}",
            "device": f"nvidia{n}",
            "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": "node-1",
        }
        for n in (0, 1)
    ]
    return "".join(
        family(name, kind, *((gpu, value) for gpu in gpus)) for name, (kind, value) in values.items()
    )


# ---- kube-state-metrics ----


def kube_state_metrics(began: float) -> Page:
    """Two pods that became ready before; one container restarted. began: s since 1970 at which they were created."""

    def page(seconds: float) -> str:
        text = ""
        for n in (0, 1):
            pod = {"namespace": "llm", "pod": f"vllm-{n}", "uid": f"uid-{n}"}
            server = {**pod, "container": "vllm"}
            moments = {
                "kube_pod_created": began,
                "kube_pod_start_time": began + 1,
                "kube_pod_status_scheduled_time": began + 1,
                "kube_pod_status_initialized_time": began + 3 + n,
                "kube_pod_status_container_ready_time": began + 80 + n,
                "kube_pod_status_ready_time": began + 80 + n,
            }
            text += "".join(line(name, pod, at) for name, at in moments.items())
            text += line("kube_pod_container_state_started", server, began + 20 + n)
            text += line("kube_pod_container_status_restarts_total", server, n * (seconds > 5))
            for condition in ("true", "false", "unknown"):
                text += line(
                    "kube_pod_status_ready", {**pod, "condition": condition}, float(condition == "true")
                )
        return text

    return page


# ---- vLLM V0 ----

LENGTHS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
GAP_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
LONG_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)


def vllm_v0(seconds: float) -> str:
    """As vLLM 0.6 to 0.8 with the V0 engine: no label `engine`, older names of KV cache, prefix cache and gaps."""
    of = {"model_name": "old"}
    requests = 10 * seconds
    gauges = {
        "num_requests_running": 12.0,
        "num_requests_waiting": 3.0,
        "num_requests_swapped": 1.0,
        "gpu_cache_usage_perc": 0.4,
        "cpu_cache_usage_perc": 0.0,
        "gpu_prefix_cache_hit_rate": 0.25,
        "cpu_prefix_cache_hit_rate": -1.0,
    }
    counters = {
        "num_preemptions_total": seconds / 10,
        "prompt_tokens_total": 100 * requests,
        "generation_tokens_total": 50 * requests,
    }
    histograms = {
        "iteration_tokens_total": (LENGTHS, 50 * requests, 40),
        "time_to_first_token_seconds": (TTFT_S, requests, 0.05),
        "time_per_output_token_seconds": (GAP_S, 49 * requests, 0.02),
        "e2e_request_latency_seconds": (LONG_S, requests, 1.2),
        "request_queue_time_seconds": (LONG_S, requests, 0.2),
        "request_inference_time_seconds": (LONG_S, requests, 1.0),
        "request_prefill_time_seconds": (LONG_S, requests, 0.05),
        "request_decode_time_seconds": (LONG_S, requests, 1.0),
        "request_prompt_tokens": (LENGTHS, requests, 100),
        "request_generation_tokens": (LENGTHS, requests, 50),
        "request_params_n": (LENGTHS, requests, 1),
    }
    text = "".join(family(f"vllm:{name}", "gauge", (of, value)) for name, value in gauges.items())
    text += "".join(family(f"vllm:{name}", "counter", (of, value)) for name, value in counters.items())
    finished = [
        ({**of, "finished_reason": reason}, share * requests)
        for reason, share in (("stop", 0.9), ("length", 0.1))
    ]
    text += family("vllm:request_success_total", "counter", *finished)
    return text + "".join(
        histogram(f"vllm:{name}", of, bounds, count, mean)
        for name, (bounds, count, mean) in histograms.items()
    )
