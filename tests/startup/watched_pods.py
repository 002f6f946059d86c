"""Pods of the fake cluster that begin, log and become ready while somebody watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fake_api import FakeApi

import vllmperf as vp
from vllmperf.starts.result import Start

LOG = """\
INFO {} [__init__.py:239] Automatically detected platform cuda.
INFO {} [api_server.py:1034] vLLM API server version 0.8.5
INFO {} [core.py:58] Initializing a V1 LLM engine (v0.8.5) with config: model='tiny'
INFO {} [gpu_model_runner.py:1329] Starting to load model tiny...
INFO {} [loader.py:458] Loading weights took 0.10 seconds
INFO {} [core.py:159] init engine (profile, create kv cache, warmup model) took 0.30 seconds
INFO {} [api_server.py:1081] Starting vLLM API server on http://0.0.0.0:8000"""
UP = "INFO:     Application startup complete."
LABELS = {"app": "vllm"}
PULLED = 'Successfully pulled image "x" in 150ms (200ms including waiting). Image size: 4096 bytes.'


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def when_watched(api: FakeApi) -> None:
    """Waits until a client watches pods."""
    deadline = time.monotonic() + 60
    while not api.seen(r"GET /api/v1/namespaces/default/pods\?.*watch=1") and time.monotonic() < deadline:
        time.sleep(0.02)


def log(api: FakeApi, name: str, text: str) -> None:
    stamp = datetime.now(UTC).strftime("%m-%d %H:%M:%S")
    for line in text.splitlines():
        api.append_log(name, line.format(stamp))
        time.sleep(0.01)


def begin(api: FakeApi, name: str, **more: Any) -> None:
    """A pod is made, scheduled, pulled and started."""
    pod = api.add_pod(name, labels=LABELS, running=False, **more)
    api.set_condition(name, "PodScheduled")
    api.add_event(pod, "Pulled", PULLED)
    event = api.add_event(pod, "Pulled", PULLED)
    event["involvedObject"]["fieldPath"] = "spec.containers{vllm}"
    api.put("events", event)
    run(api, name)


def run(api: FakeApi, name: str, restarts: int = 0) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {
        "name": "vllm",
        "image": "x",
        "restartCount": restarts,
        "containerID": f"containerd://{name}-{restarts}",
    }
    status |= {"state": {"running": {"startedAt": now}}, "lastState": {}, "ready": False}
    api.set_status(name, phase="Running", podIP="127.0.0.1", containerStatuses=[status])


def become_ready(api: FakeApi, name: str) -> None:
    log(api, name, LOG)
    api.append_log(name, UP)
    time.sleep(0.05)
    api.set_condition(name, "Ready")


def parts_ns(start: Start) -> int:
    return sum(p.end_ns - p.start_ns for p in start.phases if p.critical and p.start_ns and p.end_ns)


def measure(config: str, **more: Any) -> vp.Starts:
    return vp.startup(config=config, **{"label": "app=vllm", "watch": True, "timeout": 120.0, **more})
