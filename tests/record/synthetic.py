"""Run files with known numbers, written through RunWriter without an engine."""

from __future__ import annotations  # Batch exists for the type checker only

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vllmperf import _engine
from vllmperf.record.writer import RunWriter

MS = 1_000_000
NONE = _engine.NONE
START_REAL_NS = 1_795_514_400_000_000_000  # 2026-11-24T10:00:00Z

PLAN: dict[str, Any] = {
    "url": "http://127.0.0.1:8000/v1/completions",
    "model": "Qwen/Qwen3-0.6B",
    "num_prompts": 4,
    "max_concurrency": 2,
    "request_rate": "inf",
}


@dataclass
class Request:
    """A finished request in ms: token chunks at `sent + ttft`, then one after each gap."""

    index: int = 0
    sent: float = 0.0
    ttft: float = 50.0
    gaps: Sequence[float] = (10.0, 10.0, 10.0)
    tokens: Sequence[int] = ()
    shared: Sequence[int] = ()
    outcome: str = "completed"
    text: str = ""
    error: str = ""
    stamps: Sequence[tuple[int, int]] = ()
    fields: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        first = self.sent + self.ttft
        last = first + sum(self.gaps)
        chunks = len(self.gaps) + 1
        values = {
            "index": self.index,
            "scheduled_ns": NONE,
            "sent_ns": _ns(self.sent),
            "connected_ns": NONE,
            "first_byte_ns": _ns(self.sent + 1),
            "first_token_ns": _ns(first),
            "first_text_ns": _ns(first),
            "last_token_ns": _ns(last),
            "end_ns": _ns(last + 1),
            "first_token_seen_ns": _ns(first),
            "last_token_seen_ns": _ns(last),
            "bytes_received": 100 * chunks,
            "bytes_sent": 200,
            "prompt_tokens": 16,
            "cached_tokens": NONE,
            **dict.fromkeys(("server_queue_ns", "server_prefill_ns", "server_decode_ns"), NONE),
            **dict.fromkeys(("draft_steps", "draft_tokens", "accepted_tokens"), NONE),
            "output_tokens": chunks,
            "usage_tokens": chunks,
            "output_bytes": 5 * chunks,
            "first_chunk_bytes": 5,
            "reads": chunks,
            "first_read_chunks": 1,
            "body_kind": _engine.BODY_KINDS.index("stream"),
            "tokens_source": _engine.TOKENS_SOURCES.index("usage"),
            "status": 200,
            "outcome": _engine.OUTCOMES.index(self.outcome),
            "finish_reason": _engine.FINISH_REASONS.index("length"),
            "events": chunks + 2,
            "chunks": chunks,
            "coalesced": 0,
            "choices": 1,
            "n_gaps": len(self.gaps),
            "n_chunk_stamps": len(self.stamps),
            "text_len": len(self.text.encode()),
            "error_len": len(self.error.encode()),
        }
        return values | self.fields


def _ns(ms: float) -> int:
    return round(ms * MS)


def failed(index: int, outcome: str, error: str, sent: float = 0.0, **fields: Any) -> Request:
    """A request that got no token and ended 5 ms after it was sent."""
    nothing = dict.fromkeys(
        ("first_byte_ns", "first_token_ns", "first_text_ns", "last_token_ns", "first_token_seen_ns",
         "last_token_seen_ns", "prompt_tokens", "output_tokens", "usage_tokens", "first_chunk_bytes"), NONE,
    )  # fmt: skip
    counts = dict.fromkeys(
        ("bytes_received", "output_bytes", "reads", "first_read_chunks", "body_kind", "tokens_source", "status", "finish_reason",
         "events", "chunks", "choices"), 0,
    )  # fmt: skip
    values = nothing | counts | {"end_ns": _ns(sent + 5)} | fields
    return Request(index, sent, gaps=(), outcome=outcome, error=error, fields=values)


def batch(requests: Sequence[Request]) -> _engine.Batch:
    """What Engine.drain() would give of these requests."""
    records = np.zeros(len(requests), dtype=_engine.RECORD_DTYPE)
    gaps: list[tuple[float, int, int]] = []
    text = b""
    for row, request in zip(records, requests, strict=True):
        for name, value in request.record().items():
            row[name] = value
        n = len(request.gaps)
        tokens, shared = request.tokens or (0,) * n, request.shared or (0,) * n
        gaps += [(gap * MS, t, s) for gap, t, s in zip(request.gaps, tokens, shared, strict=True)]
        text += request.text.encode() + request.error.encode()
    stamps = np.array([stamp for request in requests for stamp in request.stamps], dtype=np.int64)
    return {
        "records": records.tobytes(),
        "gaps": np.array(gaps, dtype=_engine.GAP_DTYPE).tobytes(),
        "stamps": stamps.tobytes(),
        "bytes": text,
    }


def histogram(*values_ms: float) -> _engine.Histogram:
    made = _engine.Histogram()
    made.add(np.array([value * MS for value in values_ms], dtype=np.float64))
    return made


def quiet_histograms() -> dict[str, _engine.Histogram]:
    """Those of a client that keeps up with ease."""
    return {
        "schedule_lag": histogram(*[0.02] * 99, 0.05),
        "client_lag": histogram(*[0.03] * 99, 0.08),
        "loop": histogram(*[0.01] * 99, 0.2),
    }


def write_run(
    path: Path,
    requests: Sequence[Request],
    plan: dict[str, Any] | None = None,
    state: str = "finished",
    counters: dict[str, Any] | None = None,
    histograms: dict[str, _engine.Histogram] | None = None,
    asked: tuple[int | None, int | None] = (None, None),
) -> Path:
    """A whole run file. asked: tokens of each prompt and answer."""
    writer = RunWriter(
        path,
        PLAN | (plan or {}),
        {"cpu": "test"},
        START_REAL_NS,
        asked=lambda indexes: [asked] * len(indexes),
    )
    if requests:
        writer.append(batch(requests))
    counted = {"connections_opened": 2, "silent_retries": 0, "cpu_s": 0.25} | (counters or {})
    writer.finish(state, counted, quiet_histograms() if histograms is None else histograms)
    return path


def steady(count: int, concurrency: int = 2, **fields: Any) -> list[Request]:
    """Requests of a closed loop that is always full: each takes 80 ms + 1 ms to its end."""
    return [Request(i, sent=(i // concurrency) * 81.0, fields=dict(fields)) for i in range(count)]
