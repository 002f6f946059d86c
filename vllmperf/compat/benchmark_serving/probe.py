"""Probes beside the load (0.33): one short request after the other, on a connection of their own."""

from __future__ import annotations

import http.client
import json
import threading
import time
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np

from vllmperf.compat.benchmark_serving.engine import Target
from vllmperf.load import ask
from vllmperf.load.encoding import GZIP_OR_ZLIB, KNOWN, decoded
from vllmperf.load.redirects import KEEPS_METHOD, PUBLIC, origin

TIMEOUT_S = 600.0
MOST_REDIRECTS = 10
PIECE = 1 << 16


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
        line = _Line(self._target)
        while not self._stop.is_set():
            try:
                self._latencies_s.append(self._probe(line))
            except (OSError, http.client.HTTPException, ValueError):
                self._failed += 1
                line.close()
            time.sleep(1 / self._rate)
        line.close()

    def _probe(self, line: _Line) -> float:
        """Seconds to the last token event, or to the end. ValueError when there was none."""
        start_s = time.perf_counter()
        answer = line.post(self._body)
        last_s = _last_token_s(answer) if self._is_stream else _end_s(answer)
        if answer.status != HTTPStatus.OK or last_s is None:
            raise ValueError("no token came")
        return last_s - start_s


class _Line:
    """A kept connection to where requests go, or to where the server sends them on (307, 308)."""

    def __init__(self, target: Target) -> None:
        self._target, self._url, self._headers = target, target.url, dict(target.headers)
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def post(self, body: bytes) -> http.client.HTTPResponse:
        answer = self._post(body)
        for _ in range(MOST_REDIRECTS):
            place = answer.getheader("Location")
            if answer.status not in KEEPS_METHOD or not place:
                break
            answer.read()
            self._go(urljoin(self._url, place))
            answer = self._post(body)
        return answer

    def _go(self, url: str) -> None:
        if origin(url) != origin(self._url):
            self.close()
            self._headers = {name: text for name, text in self._headers.items() if name.lower() in PUBLIC}
        self._url = url

    def _post(self, body: bytes) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = _connection(self._url, self._target)
        parts = urlsplit(self._url)
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._connection.request("POST", path, body, self._headers)
        return self._connection.getresponse()


def _last_token_s(answer: http.client.HTTPResponse) -> float | None:
    last_s: float | None = None
    for line in _lines(answer):
        if line.startswith(b"data:") and b'"choices":[{' in line.replace(b" ", b""):
            last_s = time.perf_counter()
    return last_s


def _lines(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of a body, as they come, compressed or not."""
    coding = (answer.getheader("Content-Encoding") or "identity").strip().lower()
    if coding == "identity":
        yield from answer
        return
    if coding not in KNOWN:
        raise ValueError(f"the answer is compressed with {coding}")
    inflate, rest = zlib.decompressobj(GZIP_OR_ZLIB), b""
    while piece := answer.read1(PIECE):
        *whole, rest = (rest + inflate.decompress(piece)).split(b"\n")
        yield from whole
    yield rest


def _end_s(answer: http.client.HTTPResponse) -> float:
    """ValueError when it is no JSON."""
    whole = answer.read()
    ended_s = time.perf_counter()
    json.loads(decoded(whole, answer.getheader("Content-Encoding")))
    return ended_s


def _connection(url: str, target: Target) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=ask.tls(target.plan))
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
