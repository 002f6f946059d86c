"""One run of one client: what it reports against what the server wrote down, and what it costs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clients import Load
from numpy.typing import NDArray
from rival_process import Ended, run
from rival_tools import HERE, Job, Reported, Spread, Tool, has_run, variables_of
from simulated import Array, Truth, client_core, rows, served, simulator, truth_of

from vllmperf.errors import VllmperfError

UNREADABLE = (OSError, LookupError, StopIteration, TypeError, ValueError, VllmperfError)
"""What comes of a result file that is not there or not whole."""
LIMIT_S = 150
LEAST_SHARE = 0.9
"""Of the requests must be answered and completed; a figure says how many failed."""
LOADS = (
    Load("1,000 streams", 2000, 100, 20, streams=1000),
    Load("64 streams", 64 * 4, 100, 20, streams=64),
    Load("100 requests/s of 10 tokens", 500, 10, 20, rate=100),
)
Server = Callable[[Load, Path], AbstractContextManager[str]]
"""Starts a server with the times of a load; it writes its truth to the file."""

# ---- servers ----


def simulated(load: Load, truth: Path) -> AbstractContextManager[str]:
    return simulator(truth, load.ttft_ms, load.itl_ms)


def plain(folder: Path) -> Server:
    """The server in plain_server.c, compiled into the folder."""
    binary = folder / "plain_server"
    source = HERE / "plain_server.c"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", binary, source], check=True)
    return lambda load, truth: served([binary, str(load.ttft_ms), str(load.itl_ms), truth])


# ---- a run ----


@dataclass(frozen=True)
class Failure:
    """A client that gave no result, and why."""

    reason: str


def measure(
    tool: Tool, environment: Path, load: Load, server: Server, folder: Path
) -> dict[str, float | None] | Failure:
    """The figures of one run, by the names in FIGURES."""
    folder.mkdir()
    with server(load, folder / "truth") as url:
        job = Job(load, url, folder, environment, 60)
        ended = run(tool.command(job), variables_of(tool, job), folder, LIMIT_S, [client_core()])
    found = _reported(tool, folder, ended)
    if isinstance(found, Failure):
        return found
    if found.completed < LEAST_SHARE * load.requests:
        return Failure(f"{found.completed} of {load.requests} requests completed, {found.failed} failed")
    truth = truth_of(folder / "truth", load.requests)
    return figures(found, truth, ended, load)


def _reported(tool: Tool, folder: Path, ended: Ended) -> Reported | Failure:
    if ended.code is None:
        return Failure(f"did not end within {LIMIT_S} s")
    last = ((folder / "log").read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
    if not has_run(tool, ended.code):
        return Failure(f"exit code {ended.code}: {last[:200]}")
    try:
        return tool.read(folder)
    except UNREADABLE as error:
        return Failure(f"left no result that can be read ({type(error).__name__}: {error}): {last[:200]}")


def figures(found: Reported, truth: Truth, ended: Ended, load: Load) -> dict[str, float | None]:
    use = ended.use(truth)
    us = 1e6 / truth.events
    late = lateness_ms(truth.arrivals_ns, load.rate)
    return {
        **_errors("TTFT", found.ttft, truth.ttft_ms),
        **_errors("ITL", found.itl, truth.itl_ms),
        "in flight": truth.in_flight,
        "failed": found.failed,
        "untrusted": float(bool(ended.code)),
        "run": use.run_s * us,
        "CPU": use.cpu_s * us,
        "before": use.before_s,
        "memory": use.peak_mb,
        "start": (truth.first_ns - ended.start_ns) / 1e9,
        "late p50": None if late is None else float(np.percentile(late, 50)),
        "late p99": None if late is None else float(np.percentile(late, 99)),
    }


def _errors(name: str, said: Spread, true_ms: Array) -> dict[str, float | None]:
    p50, p99 = np.percentile(true_ms, [50, 99])
    pairs = {"mean": (said.mean, true_ms.mean()), "p50": (said.p50, p50), "p99": (said.p99, p99)}
    return {f"{name} {which}": None if a is None else float(a - b) for which, (a, b) in pairs.items()}


def lateness_ms(arrivals_ns: NDArray[np.int64], rate: int | None) -> Array | None:
    """How long after its place in an even grid each request came; the most punctual one defines the grid."""
    if not rate:
        return None
    late: Array = (arrivals_ns - arrivals_ns[0]) / 1e6 - np.arange(len(arrivals_ns)) * 1e3 / rate
    return late - float(late.min())


# ---- faults ----

STALL_S, FAULT_LIMIT_S = 5, 60
FAULT_LOAD = Load("faults", 60, 20, 10, streams=8)
FAULTS = {
    "HTTP 500": "status@every=10",
    "connection closed": "close@every=10",
    "error in the stream": "stream_error@every=10",
    "stall": "stall@every=10",
}


def fault(tool: Tool, environment: Path, name: str, folder: Path) -> str:
    """How many of the requests that went wrong the client reports as failed, in words."""
    folder.mkdir()
    with simulator(folder / "truth", 50, 10, [FAULTS[name]]) as url:
        job = Job(FAULT_LOAD, url, folder, environment, STALL_S)
        ended = run(
            tool.command(job), variables_of(tool, job), folder, FAULT_LIMIT_S, sorted(os.sched_getaffinity(0))
        )
    hit = sum(bool(row["faults"]) for row in rows(folder / "truth"))
    try:
        failed = f"{tool.read(folder).failed} of {hit}"
    except UNREADABLE:
        failed = "no result" if ended.code is None else f"no result (exit code {ended.code})"
    return failed if ended.code is not None else f"never ended: {failed}"
