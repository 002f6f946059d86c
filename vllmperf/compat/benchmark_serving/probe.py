"""Probes beside the load (0.33): one short request after the other, on a connection of their own."""

from __future__ import annotations

import http.client
import json
import threading
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vllmperf.compat.benchmark_serving.engine import Target
from vllmperf.load import ask

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
        connection = _connection(self._target)
        while not self._stop.is_set():
            try:
                self._latencies_s.append(self._probe(connection))
            except (OSError, http.client.HTTPException, ValueError):
                self._failed += 1
                connection.close()
            time.sleep(1 / self._rate)
        connection.close()

    def _probe(self, connection: http.client.HTTPConnection) -> float:
        """Seconds to the last token event, or to the end. ValueError when there was none."""
        parts = urlsplit(self._target.url)
        start_s = time.perf_counter()
        connection.request("POST", parts.path or "/", self._body, dict(self._target.headers))
        answer = connection.getresponse()
        last_s = _last_token_s(answer) if self._is_stream else _end_s(answer)
        if answer.status != HTTPStatus.OK or last_s is None:
            raise ValueError("no token came")
        return last_s - start_s


def _last_token_s(answer: http.client.HTTPResponse) -> float | None:
    last_s: float | None = None
    for line in answer:
        if line.startswith(b"data:") and b'"choices":[{' in line.replace(b" ", b""):
            last_s = time.perf_counter()
    return last_s


def _end_s(answer: http.client.HTTPResponse) -> float:
    """ValueError when it is no JSON."""
    whole = answer.read()
    ended_s = time.perf_counter()
    json.loads(whole)
    return ended_s


def _connection(target: Target) -> http.client.HTTPConnection:
    parts = urlsplit(target.url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=ask.tls(target.plan))
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
