"""What the GPUs draw, for the worker's `power` lines: asked in a thread of its own, told with the turns of the session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from vllmperf.errors import VllmperfError

EVERY_S = 5.0

Readings = Sequence[tuple[str, str, float]]
"""GPU, "power_w", "limit_w" or "energy_j", value (vllmperf/scrape/power.py)."""


class PowerWatch:
    """start() asks every EVERY_S until the process ends. tdp_w: limit of a GPU where the source does not give it."""

    def __init__(self, ask: Callable[[], Readings], tdp_w: float | None = None) -> None:
        self._ask, self._tdp_w = ask, tdp_w
        self._first_j: dict[str, float] = {}
        self._integrated_j, self._asked_at = 0.0, 0.0
        self._line: dict[str, Any] | None = None

    def start(self) -> None:
        threading.Thread(target=self._watch, name="power", daemon=True).start()

    def line(self) -> dict[str, Any] | None:
        """What was read last, once."""
        line, self._line = self._line, None
        return line

    def _watch(self) -> None:
        while True:
            # An exporter that is away for a while leaves a hole, no more.
            with suppress(VllmperfError, OSError, ValueError):
                self._line = self.taken(self._ask(), time.monotonic()) or self._line
            time.sleep(EVERY_S)

    def taken(self, readings: Readings, now_s: float) -> dict[str, Any] | None:
        """The line of these readings. Energy is of the GPUs' own counters, or the integral of their power."""
        by = {
            name: {gpu: value for gpu, what, value in readings if what == name}
            for name in ("power_w", "limit_w", "energy_j")
        }
        watts = by["power_w"]
        if not watts:
            return None
        whole = sum(watts.values())
        self._integrated_j += whole * (now_s - self._asked_at) if self._asked_at else 0.0
        self._asked_at = now_s
        counted = sum(
            joules - self._first_j.setdefault(gpu, joules) for gpu, joules in by["energy_j"].items()
        )
        line = {
            "event": "power",
            "watts": whole,
            "energy_joules": counted if by["energy_j"] else self._integrated_j,
        }
        limits = [by["limit_w"].get(gpu, self._tdp_w) for gpu in watts]
        known = [limit for limit in limits if limit is not None]
        return {**line, "limit_watts": sum(known)} if len(known) == len(watts) else line
