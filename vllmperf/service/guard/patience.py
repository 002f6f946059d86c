"""uvicorn's connection with an end to patience: who sends no whole head in time, or comes when there are too many, is cut."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from vllmperf.service.guard.settings import Limits

HEAD_BYTES = 32 << 10


def patient(limits: Limits) -> type[H11Protocol]:
    """A protocol for uvicorn.Config(http=…)."""

    class Patient(H11Protocol):
        _waits: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def _watch(self) -> None:
            """Between the first byte of a request and the end of its head. uvicorn itself ends what is idle after one."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._unwatch()
            elif self._waits is None:
                self._waits = self.loop.call_later(limits.head_s, self._give_up)

        def _unwatch(self) -> None:
            if self._waits is not None:
                self._waits.cancel()
                self._waits = None

        def _give_up(self) -> None:
            self._waits = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

    return Patient


def uvicorn_settings(limits: Limits) -> dict[str, Any]:
    """For uvicorn.Config."""
    return {
        "http": patient(limits),
        "ws": "none",
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "timeout_keep_alive": 5,
        "server_header": False,
        "proxy_headers": False,
        "backlog": 2048,
    }
