"""What the machine did to the client while a run went: cores given to others, clocks set, the whole machine asleep.

Nothing here is done by the engine's threads: a look costs a few reads of /proc, twice a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllmperf.loadgen.control_groups import Throttling

NS = 1e9
STEP_NS = 1_000_000
"""A wall clock that moved this far against the monotonic one was set. (A clock that is only slewed takes both along.)"""
READING_NS = 100_000
"""Two readings of one clock around one of the other, further apart than this, tell nothing: the thread lost its core."""
ASLEEP_NS = 100_000_000

Clock = Callable[[], int]


class Machine:
    """Made when a run begins; look() now and then, facts() at any time.

    root: where proc and sys are. real, mono, boot: clocks in ns.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        real: Clock = time.time_ns,
        mono: Clock = time.monotonic_ns,
        boot: Clock = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._root, self._real, self._mono, self._boot = root, real, mono, boot
        self._throttling = Throttling(root)
        self._cpu = _cpu_ticks(root)
        self._own_s = time.process_time()
        self._start_ns = mono()
        self._asleep_ns = boot() - mono()
        self._offset = self._wall_offset()
        self._steps_ns: list[int] = []
        self._waits: dict[str, tuple[int, int]] = {}
        self.look()

    def look(self) -> None:
        """Notice what must be seen while it happens: clock steps, and the waits of threads that may end before the run."""
        offset = self._wall_offset()
        if offset is not None:
            if self._offset is not None and abs(offset - self._offset) >= STEP_NS:
                self._steps_ns.append(offset - self._offset)
            self._offset = offset
        for thread, wait_ns in _waits(self._root).items():
            first, _ = self._waits.get(thread, (wait_ns, wait_ns))
            self._waits[thread] = (first, wait_ns)

    def _wall_offset(self) -> int | None:
        before = self._mono()
        real = self._real()
        after = self._mono()
        return real - (before + after) // 2 if after - before <= READING_NS else None

    def facts(self) -> dict[str, Any]:
        """Since the run began; None where the system does not say.

        busy_share, steal_share: of all cores' time, that somebody used, that another virtual machine had. others_cores: cores
        that other processes used. cpu_wait_s: time that threads of this process were ready to run and had no core, summed.
        """
        elapsed_s = max((self._mono() - self._start_ns) / NS, 1e-9)
        asleep_ns = self._boot() - self._mono() - self._asleep_ns
        waits = [last - first for first, last in self._waits.values()]
        return {
            "seconds": elapsed_s,
            **_shares(self._cpu, _cpu_ticks(self._root), (time.process_time() - self._own_s) / elapsed_s),
            **self._throttling.facts(),
            "quota_cores": self._throttling.quota_cores(),
            "cpu_wait_s": sum(waits) / NS if waits else None,
            "clock_steps": len(self._steps_ns),
            "largest_clock_step_ms": max(map(abs, self._steps_ns)) / 1e6 if self._steps_ns else None,
            "asleep_s": asleep_ns / NS if asleep_ns >= ASLEEP_NS else 0.0,
        }


def _cpu_ticks(root: Path) -> list[int]:
    """The first line of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal."""
    try:
        words = (root / "proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return []
    return [int(word) for word in words[1:9]] if words[:1] == ["cpu"] and len(words) >= 9 else []


def _shares(before: list[int], now: list[int], own_cores: float) -> dict[str, float | None]:
    ticks = [b - a for a, b in zip(before, now, strict=False)]
    total = sum(ticks)
    if len(ticks) < 8 or total <= 0:
        return dict.fromkeys(("busy_share", "steal_share", "others_cores"))
    idle, iowait, steal = ticks[3], ticks[4], ticks[7]
    busy = (total - idle - iowait - steal) / total
    return {
        "busy_share": busy,
        "steal_share": steal / total,
        "others_cores": max(busy * (os.cpu_count() or 1) - own_cores, 0.0),
    }


def _waits(root: Path) -> dict[str, int]:
    """ns that each thread of this process waited for a core, by its second figure in schedstat; {} where it is not kept."""
    found = {}
    try:
        for folder in (root / "proc/self/task").iterdir():
            words = (folder / "schedstat").read_text().split()
            if len(words) == 3:
                found[folder.name] = int(words[1])
    except (OSError, ValueError):
        pass  # a thread that has just ended, or a kernel without schedstat
    return found
