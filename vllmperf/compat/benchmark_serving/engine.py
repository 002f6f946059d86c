"""Drives our engine with bodies and times, and keeps each answer with all its events."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.load import limits
from vllmperf.load.interrupt import interruptible
from vllmperf.load.run import engine_config
from vllmperf.load.schedule import Schedule
from vllmperf.load.session import make_engine
from vllmperf.plan import Plan

DRAIN_S = 0.1
BYTES_AHEAD = 32 << 20
FEW = 512
LONGEST_S = 6 * 3600.0
"""The originals' only time-out."""
CONNECT_S = 130.0
"""About what Linux waits for an answer to a SYN."""


class Writer(Protocol):
    """Takes what is finished besides (vllmperf.record.writer.RunWriter)."""

    def append(self, batch: _engine.Batch) -> None: ...
    def finish(
        self, state: str, counters: Mapping[str, Any], histograms: Mapping[str, _engine.Histogram]
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. headers: as they are sent, in order. id_prefix: of x-request-id, None for none.

    keeps_connections: requests share them; else each opens its own.
    """

    plan: Plan
    url: str
    addresses: list[str]
    headers: Sequence[tuple[str, str]]
    is_raw: bool
    id_prefix: str | None = None
    keeps_connections: bool = True

    def without_ids(self) -> Target:
        return replace(self, id_prefix=None)


@dataclass(slots=True)
class Reply:
    """One finished request. record: fields of RECORD_DTYPE. events: EVENT_DTYPE. data: text, or bodies if raw."""

    record: Mapping[str, int]
    events: NDArray[np.void]
    text: str
    error: str
    last_words: str = ""


@dataclass(slots=True)
class Replies:
    """All of a run, in the order of the requests; None for one that was never finished."""

    replies: list[Reply | None]
    end_s: float = 0.0
    start_real_s: float = 0.0
    start_mono_s: float = 0.0
    interrupted: bool = False
    counters: dict[str, Any] = field(default_factory=dict)


Progress = Callable[[int], None]
"""Called with the number of finished requests."""


def run(
    target: Target,
    bodies: Sequence[bytes],
    times_ns: NDArray[np.int64] | None = None,
    max_concurrency: int | None = None,
    progress: Progress | None = None,
    writer: Writer | None = None,
) -> Replies:
    """Send all bodies (at their times, or as soon as there is a slot) and wait for the last answer."""
    n = len(bodies)
    at_once = n if times_ns is None else 0  # with times nobody knows
    limits.make_room(min(max_concurrency or at_once, n), max(len(target.addresses), 1))
    plan = replace(target.plan, max_concurrency=max_concurrency, num_prompts=n)
    found = Replies([None] * n)
    with contextlib.closing(make_engine(_config(plan, target, n, times_ns is not None))) as engine:
        feeder = _Feeder(engine, bodies, times_ns)
        feeder.feed()
        with interruptible(engine) as interrupts:
            try:
                engine.start()
            except OSError as error:
                raise UsageError(f"{error}; lower --max-concurrency") from None
            while (batch := engine.drain(DRAIN_S)) is not None:
                feeder.feed()
                _keep(found, batch, target.is_raw)
                if writer is not None:
                    writer.append(batch)
                if progress is not None:
                    progress(engine.counters()["done"])
        _end(found, engine, bool(interrupts), writer)
    return found


def _end(found: Replies, engine: _engine.Engine, interrupted: bool, writer: Writer | None) -> None:
    counters = engine.counters()
    found.interrupted, found.counters = interrupted, dict(counters)
    found.start_real_s, found.start_mono_s = counters["start_real_ns"] / 1e9, counters["start_mono_ns"] / 1e9
    if writer is not None:
        writer.finish("interrupted" if interrupted else "finished", found.counters, engine.histograms())


def _config(plan: Plan, target: Target, n: int, is_timed: bool) -> dict[str, Any]:
    # times without a rate (a trace, a ramp-up) may put any number in flight
    has_rate = is_timed and math.isfinite(plan.request_rate)
    when = Schedule(n, iter(()) if has_rate else None)
    config = engine_config(plan, target.addresses, when)
    return {
        **config,
        # one thread connects in the order of the requests, and so few it serves as well
        "threads": 1 if n <= FEW and not is_timed else config["threads"],
        "url": target.url,
        "headers": [f"{name}: {value}" if value else f"{name};" for name, value in target.headers],
        "request_id_prefix": target.id_prefix or "",
        "keep_text": True,
        "keep_events": True,
        "raw_bodies": target.is_raw,
        "follow_redirects": True,
        "fresh_connections": not target.keeps_connections,
        "no_request_ids": target.id_prefix is None,
        "uuid_request_ids": False,  # the original appends a plain number to whatever prefix
    }


class _Feeder:
    """Hands bodies over a few at a time."""

    def __init__(
        self, engine: _engine.Engine, bodies: Sequence[bytes], times_ns: NDArray[np.int64] | None
    ) -> None:
        self._engine, self._bodies, self._times_ns = engine, bodies, times_ns
        self._at = 0
        self._ended = False

    def feed(self) -> None:
        """All at once unless that is very much; the rest as the backlog shrinks."""
        while self._at < len(self._bodies):
            first, size = self._at, 0
            while self._at < len(self._bodies) and size < BYTES_AHEAD:
                size += len(self._bodies[self._at])
                self._at += 1
            self._hand_over(first)
        if not self._ended:
            self._engine.feed_end()
            self._ended = True

    def _hand_over(self, first: int) -> None:
        block = self._bodies[first : self._at]
        offsets = np.cumsum([0, *map(len, block)], dtype=np.int64)
        times = None if self._times_ns is None else self._times_ns[first : self._at].tobytes()
        self._engine.feed(b"".join(block), offsets.tobytes(), times)


# ---- what came back ----

NAMES = tuple(name for name, _ in _engine.RECORD_DTYPE)


def _keep(found: Replies, batch: _engine.Batch, is_raw: bool) -> None:
    records = np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
    events = np.frombuffer(batch["events"], dtype=np.dtype(_engine.EVENT_DTYPE))
    data = batch["bytes"]
    event = byte = 0
    for row in records.tolist():
        record = dict(zip(NAMES, row, strict=True))
        more, text_len, error_len = record["events"], record["text_len"], record["error_len"]
        text = data[byte : byte + text_len].decode("utf-8", "replace")
        error = data[byte + text_len : byte + text_len + error_len].decode("utf-8", "replace")
        reply = Reply(record, events[event : event + more], text, error)
        if not is_raw:
            reply.text, _, rest = text.partition("\0")
            reply.last_words = rest.rpartition("\0")[2]
        found.replies[record["index"]] = reply
        event += more
        byte += text_len + error_len
        if record["end_ns"] != _engine.NONE:
            found.end_s = max(found.end_s, record["end_ns"] / 1e9)
