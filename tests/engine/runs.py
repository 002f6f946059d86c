"""Short runs and what the tests ask of them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from raw_server import RawServer

import vllmperf
from vllmperf import _engine
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.run import Run
from vllmperf.sim import Server

QUICK = {"ttft_ms": 2, "itl_ms": 1}
BODY = b'{"model": "sim", "prompt": [1, 2, 3], "max_tokens": 5, "stream": true}'
SHORT = {"input_len": 4, "output_len": 5, "keep_text": True, "server_metrics": False}


def bench(url: str | None = None, sim: dict[str, Any] | None = None, n: int = 6, **settings: Any) -> Run:
    """n short requests to url, else to the simulator."""
    simulator = {**QUICK, **(sim or {})} if url is None else None
    settings = {"concurrency": 6, **SHORT, **settings}
    if url is not None:
        settings.setdefault("model", "m")
    return vllmperf.bench(url, sim=simulator, num_prompts=n, **settings)


def outcomes(run: Run) -> dict[str, int]:
    return dict(run.summary["requests"]["outcomes"])


def errors(run: Run) -> list[str]:
    return [text or "" for text in run.recording.errors]


def config(base_url: str = "http://127.0.0.1:1", addresses: tuple[str, ...] = ("127.0.0.1",), **changes: Any):
    """A configuration for the engine itself."""
    plan = Plan.of(base_url=base_url, model="m", max_concurrency=4, num_prompts=4)
    return {**engine_config(Task(plan), list(addresses), schedule(plan)), **changes}


def config_of(server: RawServer | Server, **changes: Any):
    """The same for a server that runs."""
    addresses = {"url": server.url + "/v1/completions", "warm_url": server.url + "/health"}
    return config(**{**addresses, **changes})


def names(records: Any) -> list[str]:
    """How each request ended."""
    return [_engine.OUTCOMES[number] for number in records["outcome"]]


def feed(engine: _engine.Engine, n: int, body: bytes = b"{}", at_ns: Any = None) -> None:
    offsets = np.arange(n + 1, dtype=np.int64) * len(body)
    engine.feed(body * n, offsets.tobytes(), None if at_ns is None else np.asarray(at_ns, np.int64).tobytes())


def drain(engine: _engine.Engine) -> list[_engine.Batch]:
    batches = []
    while (batch := engine.drain(0.2)) is not None:
        batches.append(batch)
    return batches


def records_of(batches: list[_engine.Batch]) -> Any:
    return np.frombuffer(b"".join(b["records"] for b in batches), dtype=np.dtype(_engine.RECORD_DTYPE))


def run_engine(settings: dict[str, Any], n: int, body: bytes = b"{}", at_ns: Any = None) -> Any:
    """Records of n equal requests sent by the engine itself, and its counters at the end."""
    with contextlib.closing(_engine.Engine(settings)) as engine:
        feed(engine, n, body, at_ns)
        engine.feed_end()
        engine.start()
        records = records_of(drain(engine))
        return np.sort(records, order="index"), engine.counters()
