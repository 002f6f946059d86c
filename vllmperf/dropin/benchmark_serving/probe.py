"""Probes beside the load (0.33): one short request after the other, on a connection of their own."""

from __future__ import annotations

import json
import threading
import time
from http import HTTPStatus
from typing import Any

import numpy as np

from vllmperf.dropin.benchmark_serving.engine import Target
from vllmperf.target import Answer, AnswerError, Client

TIMEOUT_S = 600.0


class Prober:
    """Sends probes while the block runs, each 1/rate s after the one before has ended. rate 0: none.

    is_stream: a good answer is a stream with a token; else (pooling) it is one JSON object.
    """

    def __init__(self, target: Target, body: bytes, rate: float, *, is_stream: bool = True) -> None:
        self._target, self._body, self._rate, self._is_stream = target, body, rate, is_stream
        self._latencies_s: list[float] = []
        self._failed = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Prober:
        if self._rate > 0:
            self._thread = threading.Thread(target=self._loop, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def statistics(self) -> dict[str, Any] | None:
        """What the table and the file say; None without a probe that went well."""
        if not self._latencies_s:
            return None
        ms = np.asarray(self._latencies_s) * 1000
        return {
            "probe_completed": len(ms),
            "probe_failed": self._failed,
            "probe_median_e2el_ms": float(np.median(ms)),
            "probe_p99_e2el_ms": float(np.percentile(ms, 99)),
            "probe_max_e2el_ms": float(ms.max()),
        }

    def _loop(self) -> None:
        asked = self._target.task.plan.target
        with Client(
            self._target.url,
            headers=dict(self._target.headers),
            cacert=asked.cacert,
            insecure=asked.insecure,
            follow=True,
            keep_alive=True,
        ) as client:
            while not self._stop.is_set():
                try:
                    self._latencies_s.append(self._probe(client))
                except (AnswerError, ValueError):
                    self._failed += 1
                time.sleep(1 / self._rate)

    def _probe(self, client: Client) -> float:
        """Seconds to the last token event, or to the end. ValueError when there was none."""
        start_s = time.perf_counter()
        with client.ask("POST", "", self._body, TIMEOUT_S) as answer:
            last_s = _last_token_s(answer) if self._is_stream else _end_s(answer)
            if answer.status != HTTPStatus.OK or last_s is None:
                raise ValueError("no token came")
        return last_s - start_s


def _last_token_s(answer: Answer) -> float | None:
    last_s: float | None = None
    for line in answer.lines():
        if line.startswith(b"data:") and b'"choices":[{' in line.replace(b" ", b""):
            last_s = time.perf_counter()
    return last_s


def _end_s(answer: Answer) -> float:
    """ValueError when it is no JSON."""
    whole = answer.read()
    ended_s = time.perf_counter()
    json.loads(whole)
    return ended_s
