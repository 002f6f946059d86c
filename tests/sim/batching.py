"""Loads for a batching server, and its truth file, for the tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wire import Reply, complete

from vllmperf.sim import Server

MS = 1_000_000
LAW = {
    "alpha_ms": 2.0,
    "beta_ms": 0.25,
    "gamma_ms": 0.5,
    "delta_ms": 0.01,
    "kv_ms": 0.001,
    "attention_ms": 1e-5,
}


@dataclass
class Truth:
    """The truth file of a batching server: lines of requests by number, lines of steps in order."""

    requests: list[dict[str, Any]]
    steps: list[dict[str, Any]]

    @property
    def by_end(self) -> dict[int, dict[str, Any]]:
        return {step["end_mono_ns"]: step for step in self.steps}


def read(path: Path) -> Truth:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    requests = sorted((row for row in rows if "step" not in row), key=lambda row: row["number"])
    return Truth(requests, [row for row in rows if "step" in row])


def at_once(calls: Sequence[Callable[[], Reply]]) -> list[Reply]:
    """What the calls give, all made at about the same time."""
    replies: list[Reply | None] = [None] * len(calls)

    def call(i: int) -> None:
        replies[i] = calls[i]()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in replies
    return [reply for reply in replies if reply is not None]


def serve(path: Path, bodies: Sequence[dict[str, Any]], **settings: Any) -> tuple[Truth, list[Reply]]:
    """Send the completions at once to a server with a known law; what it wrote down, and the replies."""
    with Server(**{**LAW, "mode": "batching", "truth": path, **settings}) as server:
        replies = at_once([lambda body=body: complete(server.port, **body) for body in bodies])
    return read(path), replies


def law_ns(step: dict[str, Any], **settings: Any) -> float:
    """What the documented law says of a step, in ns, without noise."""
    law = {**LAW, **settings}
    ms = law["alpha_ms"] + law["beta_ms"] * step["padded"] + law["kv_ms"] * step["decode_context"]
    if step["prefill_tokens"]:
        ms += law["gamma_ms"] + law["delta_ms"] * step["prefill_tokens"]
        ms += law["attention_ms"] * step["prefill_attention"]
    return ms * MS
