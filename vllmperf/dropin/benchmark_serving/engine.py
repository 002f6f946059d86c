"""Sends bodies at their times, and hands on each answer with all its events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.feed import Feeder
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import Schedule
from vllmperf.loadgen.session import Session, Turn
from vllmperf.loadgen.subscribers import Watch, Writer, recorder
from vllmperf.loadgen.task import Task

DRAIN_S = 0.1
FEW = 512
LONGEST_S = 6 * 3600.0
"""The originals' only time-out."""
CONNECT_S = 130.0
"""About what Linux waits for an answer to a SYN."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. headers: as they are sent, in order. id_prefix: of x-request-id, None for none.

    keeps_connections: requests share them; else each opens its own.
    """

    task: Task
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


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. end_s: when the last answer did, since the start; start_mono_s: the start itself."""

    end_s: float
    start_mono_s: float
    interrupted: bool


def run(
    target: Target,
    bodies: Iterable[bytes],
    n: int,
    take: Callable[[Reply], object],
    times_ns: NDArray[np.int64] | None = None,
    max_concurrency: int | None = None,
    progress: Callable[[int], None] | None = None,
    writer: Writer | None = None,
    watch: Watch | None = None,
) -> Ended:
    """Send n bodies (at their times, or as soon as there is a slot) and wait for the last answer.

    take: called with each finished request, which is not kept here. progress: called with their number.
    """
    task = target.task.replace(max_concurrency=max_concurrency, num_prompts=n)
    when = Schedule(n, None if times_ns is None else iter([times_ns]))
    session = Session(_config(task, target, when), Feeder(map(Body, bodies), when, max_concurrency, DRAIN_S))
    reader = _Reader(target.is_raw, take)
    session.subscribe(reader)
    if writer is not None:
        session.subscribe(recorder(writer))
    if watch is not None:
        session.subscribe(watch(session, None))
    if progress is not None:
        session.subscribe(lambda turn: progress(turn.counters["done"]) if turn.state == "running" else None)
    state = session.run()
    return Ended(reader.end_s, reader.start_mono_s, state == "interrupted")


def _config(task: Task, target: Target, when: Schedule) -> dict[str, Any]:
    config = engine_config(task, target.addresses, when)
    # one thread connects in the order of the requests, and so few it serves as well
    is_few = when.n is not None and when.n <= FEW and when.times is None
    return {
        **config,
        "threads": 1 if is_few else config["threads"],
        "url": target.url,
        "headers": [f"{name}: {value}" if value else f"{name};" for name, value in target.headers],
        "request_id_prefix": target.id_prefix or "",
        "keep_text": True,
        "keep_events": True,
        "strict_events": True,
        "raw_bodies": target.is_raw,
        "follow_redirects": True,
        "fresh_connections": not target.keeps_connections,
        "no_request_ids": target.id_prefix is None,
        "uuid_request_ids": False,  # the original appends a plain number to whatever prefix
    }


# ---- what came back ----

NAMES = tuple(name for name, _ in _engine.RECORD_DTYPE)


class _Reader:
    """Hands on each reply of a batch, and remembers when the last one ended."""

    def __init__(self, is_raw: bool, take: Callable[[Reply], object]) -> None:
        self._is_raw, self._take = is_raw, take
        self.end_s = self.start_mono_s = 0.0

    def __call__(self, turn: Turn) -> None:
        self.start_mono_s = turn.counters["start_mono_ns"] / 1e9
        for reply in _replies(turn.batch, self._is_raw):
            if reply.record["end_ns"] != _engine.NONE:
                self.end_s = max(self.end_s, reply.record["end_ns"] / 1e9)
            self._take(reply)


def _replies(batch: _engine.Batch, is_raw: bool) -> Iterator[Reply]:
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
        yield reply
        event += more
        byte += text_len + error_len
