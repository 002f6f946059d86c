"""A client with all its processes: what they use, and their end when they find none themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from simulated import Truth, Use

LOOK_S = 0.05
GRACE_S = 5
"""From the interrupt to the kill."""


@dataclass(frozen=True)
class Ended:
    """code: None when the client did not end by itself. samples: (monotonic ns, CPU s so far)."""

    code: int | None
    start_ns: int
    took_s: float
    samples: list[tuple[int, float]]
    peak_mb: float

    def use(self, truth: Truth) -> Use:
        times, used = map(np.asarray, zip(*self.samples, strict=True))
        before, until = np.interp([truth.first_ns, truth.last_ns], times, used)
        return Use(float(before), float(until - before), float(used[-1] - until), self.peak_mb)


class Tree:
    """CPU and memory of a process and of those that it started, the ended ones included."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._cpu_s: dict[int, float] = {}
        self.samples: list[tuple[int, float]] = []
        self.peak_mb = 0.0

    def look(self) -> None:
        living = _descendants(self._root)
        for pid in living:
            self._cpu_s[pid] = max(_cpu_s(pid), self._cpu_s.get(pid, 0.0))
        self.samples.append((time.monotonic_ns(), sum(self._cpu_s.values())))
        self.peak_mb = max(self.peak_mb, sum(map(_peak_mb, living)))

    def close(self, cpu_s: float) -> None:
        """cpu_s: of the root and all that it waited for, as wait4(2) gives it."""
        self.samples.append((time.monotonic_ns(), max(cpu_s, self.samples[-1][1] if self.samples else 0.0)))


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    folder: Path,
    limit_s: float,
    cores: Sequence[int],
) -> Ended:
    """The command in this folder on these cores. After the limit it is interrupted, then killed."""
    start_ns = time.monotonic_ns()
    pinned = ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    tree = Tree(process.pid)
    left = [(start_ns + (limit_s + GRACE_S) * 1e9, signal.SIGKILL), (start_ns + limit_s * 1e9, signal.SIGINT)]
    try:
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            tree.look()
            if left and time.monotonic_ns() > left[-1][0]:
                os.killpg(process.pid, left.pop()[1])
            time.sleep(LOOK_S)
    finally:
        _end_group(process.pid)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    tree.close(ended[2].ru_utime + ended[2].ru_stime)
    took_s = (time.monotonic_ns() - start_ns) / 1e9
    return Ended(process.returncode if len(left) == 2 else None, start_ns, took_s, tree.samples, tree.peak_mb)


def _end_group(group: int) -> None:
    """Whatever of the client still lives: it would disturb the next one."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _descendants(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue  # the thread has just ended
    return found


def _cpu_s(pid: int) -> float:
    try:
        return time.clock_gettime(
            (~pid << 3) | 2
        )  # the CPU clock of a process, as clock_getcpuclockid(3) gives it
    except OSError:
        return 0.0  # it has just ended


def _peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
