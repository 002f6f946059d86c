"""What a server has counted so far, by its page of metrics; the difference of two pages is what it did between them."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

from vllmperf.errors import VllmperfError
from vllmperf.plan import Credentials, Target
from vllmperf.target import client_of, headers_of

SAMPLE = re.compile(r"^vllm:(\w+_(?:total|sum|count))(?:\{.*\})? (\S+)", re.MULTILINE)
"""A counter, or the sum or count of a histogram; a time may stand behind the value."""
PATIENCE_S = 2.0
"""A page that takes longer is left out: a run must not wait for it."""
MOST_BYTES = 16 << 20


def totals(text: str) -> dict[str, float]:
    """vLLM's counters, and sums and counts of its histograms, by name, each summed over its labels (engines, models, reasons).

    Raises ValueError when a value is no number.
    """
    found: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def ask(target: Target, credentials: Credentials) -> dict[str, float] | None:
    """The totals of a server now; None when it has no such page, or none of vLLM's."""
    url = urlsplit(target.root)
    try:
        if url.scheme == "http":
            page = _get(
                url.hostname or "", url.port or 80, url.path + "/metrics", headers_of(target, credentials)
            )
        else:
            page = client_of(target, credentials).get("/metrics", timeout_s=PATIENCE_S)
        return totals(page.decode(errors="replace")) or None
    except (VllmperfError, OSError, ValueError):
        return None


def _get(host: str, port: int, path: str, headers: dict[str, str]) -> bytes:
    """A plain page without the client of `target`: loading that would take longer than the start of a run. In HTTP/1.0 the
    page ends with the connection."""
    lines = [
        f"GET {path} HTTP/1.0",
        f"Host: {host}:{port}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection((host, port), PATIENCE_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while (piece := connection.recv(1 << 16)) and len(answer) < MOST_BYTES:
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if head.split(b" ")[1:2] == [b"200"] else b""
