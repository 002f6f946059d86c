"""The simulated server in a process and on a core of its own, and what its truth file says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def server_core() -> int:
    """The core of the server and of the script itself."""
    return min(os.sched_getaffinity(0))


def client_core() -> int:
    """The core of the client alone."""
    return max(os.sched_getaffinity(0))


def on_core(core: int, command: Sequence[str | Path]) -> list[str]:
    return ["taskset", "-c", str(core), *map(str, command)]


@contextmanager
def served(command: Sequence[str | Path]) -> Iterator[str]:
    """A server that says where it is "listening on URL"; gives the URL. Its files are whole when the context is left."""
    with subprocess.Popen(on_core(server_core(), command), stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            yield line.split("listening on ", 1)[1].split()[0]
        finally:
            server.send_signal(signal.SIGTERM)


def simulator(
    truth: Path, ttft_ms: float, itl_ms: float, faults: Sequence[str] = ()
) -> AbstractContextManager[str]:
    """The simulated server; it writes down what it did in the file `truth`."""
    command = [sys.executable, "-m", "vllmperf", "sim", "--port", "0", "--truth", str(truth)]
    command += ["--ttft-ms", str(ttft_ms), "--itl-ms", str(itl_ms)]
    return served(command + [word for fault in faults for word in ("--fault", fault)])


def rows(truth: Path) -> Iterator[dict[str, Any]]:
    """The completions in a truth file that is still being written or done."""
    with truth.open() as file:
        for line in file:
            if line.endswith("\n") and (row := json.loads(line))["path"] == "/v1/completions":
                yield row


def arrived_ns(row: dict[str, Any]) -> int:
    """When the request's last byte reached the server's kernel, on CLOCK_MONOTONIC."""
    return int(row["arrived_real_ns"] - row["real_minus_mono_ns"])


@dataclass(frozen=True)
class Truth:
    """One run as the server saw it.

    TTFT: from the kernel's stamp of the request to the clock just before the first write. ITL: between writes.
    """

    ttft_ms: Array
    itl_ms: Array
    in_flight: float
    events: int
    arrivals_ns: NDArray[np.int64]
    last_ns: int

    @property
    def first_ns(self) -> int:
        return int(self.arrivals_ns[0])


def truth_of(path: Path, last: int = 0) -> Truth:
    """Of all requests, or only of so many that came last: some clients try the server first."""
    answered = [
        row for row in rows(path) if row["written_mono_ns"]
    ]  # else the client went away; the caller counts
    answered.sort(key=arrived_ns)
    ttft, itl, spans, events = [], [], [], 0
    for row in answered[-last:]:
        written = np.asarray(row["written_mono_ns"])
        begin = arrived_ns(row)
        ttft.append((written[0] - begin) / 1e6)
        itl.append(np.diff(written) / 1e6)
        spans.append((begin, row["end_mono_ns"]))
        events += len(written)
    begins, ends = np.asarray(spans).T
    held = float((ends - begins).sum() / (ends.max() - begins.min()))
    return Truth(np.asarray(ttft), np.concatenate(itl), held, events, begins, int(ends.max()))


# ---- a client's CPU and memory ----


@dataclass(frozen=True)
class Use:
    """What a whole process used: CPU in s until the server's first request, until its last byte, and to the
    end of the process; memory at its peak."""

    before_s: float
    run_s: float
    after_s: float
    peak_mb: float

    @property
    def cpu_s(self) -> float:
        return self.before_s + self.run_s + self.after_s


class Watched:
    """A process that is looked at 50 times a second: CPU so far of all its threads, peak of its memory."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.samples: list[tuple[int, float]] = []
        self.peak_mb = 0.0
        with log.open("w") as out:
            process = subprocess.Popen(on_core(client_core(), command), stdout=out, stderr=out)
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            self._look(process.pid)
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        self.exit_code = process.returncode
        self.cpu_s = ended[2].ru_utime + ended[2].ru_stime
        self.samples.append((time.monotonic_ns(), self.cpu_s))

    def _look(self, pid: int) -> None:
        try:
            clock = (~pid << 3) | 2  # the CPU clock of a process, as clock_getcpuclockid(3) gives it
            self.samples.append((time.monotonic_ns(), time.clock_gettime(clock)))
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return  # it has just ended
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.peak_mb = int(line.split()[1]) / 1024

    def use(self, truth: Truth) -> Use:
        times, used = map(np.asarray, zip(*self.samples, strict=True))
        before, until = np.interp([truth.first_ns, truth.last_ns], times, used)
        return Use(float(before), float(until - before), self.cpu_s - float(until), self.peak_mb)
