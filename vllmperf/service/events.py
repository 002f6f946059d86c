"""Who listens to runs: server-sent events for browsers and curl."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from vllmperf.service.jobs import Job

MOST_BEHIND = 1000
"""A listener that is so many events behind is let go."""
TICK_S = 1.0
KEEP_ALIVE_S = 15.0

Event = tuple[str, str, Mapping[str, Any]]
"""Run, kind ("run" or "interval"), data."""


class Feed:
    """Hands events to all who listen. Of the event loop: nobody else may call."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Event | None]] = set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Queue[Event | None]]:
        """A queue that gets what happens from now on; None: nothing comes any more."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def tell(self, event: Event) -> None:
        for queue in tuple(self._listeners):
            if queue.qsize() >= MOST_BEHIND:
                self._let_go(queue)
            else:
                queue.put_nowait(event)

    def close(self) -> None:
        """Nothing comes any more."""
        for queue in tuple(self._listeners):
            self._let_go(queue)

    def _let_go(self, queue: asyncio.Queue[Event | None]) -> None:
        self._listeners.discard(queue)
        queue.put_nowait(None)


async def of_run(feed: Feed, job: Job) -> AsyncIterator[str]:
    """The events of one run until it has ended."""
    with feed.listening() as queue:
        yield _text("run", job.view())
        async for run_id, kind, data in _events(
            queue, lambda: (job.id, "run", job.view()) if job.is_active else None
        ):
            if not run_id:
                yield KEEP_ALIVE
            elif run_id == job.id:
                yield _text(kind, data)
            if job.has_ended and queue.empty():
                return


async def of_all(feed: Feed) -> AsyncIterator[str]:
    """The events of all runs, as long as somebody listens. An interval says of which run it is."""
    with feed.listening() as queue:
        yield KEEP_ALIVE
        async for run_id, kind, data in _events(queue, lambda: None):
            yield _text(kind, {"id": run_id, **data}) if run_id else KEEP_ALIVE


KEEP_ALIVE = ": \n\n"


async def _events(
    queue: asyncio.Queue[Event | None], tick: Callable[[], Event | None]
) -> AsyncIterator[Event]:
    """What the queue gets; after TICK_S without anything what `tick` gives, now and then an event without a run."""
    silent_s = 0.0
    while True:
        try:
            event = await asyncio.wait_for(queue.get(), TICK_S)
        except TimeoutError:
            silent_s += TICK_S
            event = tick()
            if event is None and silent_s < KEEP_ALIVE_S:
                continue
            event = event or ("", "", {})
        if event is None:
            return
        silent_s = 0.0
        yield event


def _text(kind: str, data: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
