"""What a server has counted so far, by its page of metrics; the difference of two pages is what it did between them."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from urllib.parse import urlsplit

from vllmperf.errors import VllmperfError
from vllmperf.plan import Credentials, Target
from vllmperf.scrape.names import own_name
from vllmperf.target import client_of, headers_of

SAMPLE = re.compile(r"^((?:ray_)?vllm[:_]\w+_(?:total|sum|count))(?:\{.*\})? (\S+)", re.MULTILINE)
"""A counter, or the sum or count of a histogram; a time may stand behind the value."""
NO_SUM = "_sum"
"""Of Ray: its sums of histograms add up the middles of buckets."""
PATIENCE_S = 2.0
"""A page that takes longer is left out: a run must not wait for it."""
MOST_BYTES = 16 << 20
LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)


def totals(text: str) -> dict[str, float]:
    """vLLM's counters, and sums and counts of its histograms, by name, each summed over its labels (engines, models, reasons).

    Raises ValueError when a value is no number.
    """
    found: dict[str, float] = {}
    for raw, value in SAMPLE.findall(text):
        name, is_ray = own_name(raw) or ("", False)
        if name and not (is_ray and name.endswith(NO_SUM)):
            found[name] = found.get(name, 0.0) + float(value)
    return found


def ask(target: Target, credentials: Credentials) -> dict[str, float] | None:
    """The totals of a server now; None when it has no such page, or none of vLLM's."""
    try:
        return totals(page(target.root + "/metrics", target, credentials)) or None
    except (VllmperfError, OSError, ValueError):
        return None


def ask_all(target: Target, credentials: Credentials) -> dict[str, float] | None:
    """The totals of all of its servers, added up; None when one of them has none."""
    pages = [ask(one, credentials) for one in target.each]
    known = [page for page in pages if page is not None]
    if len(known) < len(pages):
        return None
    names = dict.fromkeys(name for page in known for name in page)
    return {name: sum(page.get(name, 0.0) for page in known) for name in names}


def page(address: str, target: Target, credentials: Credentials) -> str:
    """The text of a page of metrics, asked for as the plan's server is. Raises VllmperfError, OSError, ValueError."""
    url = urlsplit(address)
    if url.scheme == "http":
        found = _get(url.hostname or "", url.port or 80, url.path, headers_of(target, credentials))
    else:
        there = replace(target, base_url=f"{url.scheme}://{url.netloc}", simulator=None)
        found = client_of(there, credentials).get(url.path, timeout_s=PATIENCE_S)
    return found.decode(errors="replace")


def _get(host: str, port: int, path: str, headers: dict[str, str]) -> bytes:
    """A plain page without the client of `target`: loading that would take longer than the start of a run."""
    lines = [
        f"GET {path} HTTP/1.0",
        f"Host: {host}:{port}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection((host, port), PATIENCE_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while not _is_whole(answer) and (piece := connection.recv(1 << 16)):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if head.split(b" ")[1:2] == [b"200"] else b""


def _is_whole(answer: bytes) -> bool:
    """In HTTP/1.0 the page ends with the connection; a server that keeps it open all the same tells the page's length."""
    head_bytes = answer.find(b"\r\n\r\n")
    length = LENGTH.search(answer, 0, head_bytes) if head_bytes >= 0 else None
    return len(answer) >= min(MOST_BYTES, head_bytes + 4 + int(length[1]) if length else MOST_BYTES)
