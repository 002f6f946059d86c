"""When requests leave: whole schedules as int64 ns after the start, computed before the run."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError
from vllmperf.plan import Plan

TRACE_COLUMNS = ("arrival_s", "timestamp", "time", "arrival")


def offsets_ns(plan: Plan, n: int) -> NDArray[np.int64] | None:
    """The times of n requests in ns after the start, or None in a closed loop (as fast as slots become free)."""
    if plan.arrival == "trace":
        return read_trace(Path(plan.arrival_file or ""), n)
    if not math.isfinite(plan.request_rate):
        return None
    if plan.arrival == "constant" or math.isinf(plan.burstiness):
        return constant_ns(plan.request_rate, n)
    shape = 1.0 if plan.arrival == "poisson" else plan.burstiness
    return gamma_ns(plan.request_rate, n, shape, plan.seed)


def constant_ns(rate: float, n: int) -> NDArray[np.int64]:
    """Request i at i / rate, the first at once."""
    return np.rint(np.arange(n, dtype=np.float64) * (1e9 / rate)).astype(np.int64)


def gamma_ns(rate: float, n: int, shape: float, seed: int) -> NDArray[np.int64]:
    """Gaps of a gamma distribution with mean 1/rate; shape 1 is a Poisson process, below 1 comes in bursts.

    As `vllm bench serve` draws them since July 2025 (vllm/benchmarks/serve.py, get_request): NumPy's legacy
    generator, gaps scaled so that the last request leaves at n/rate exactly, the first after a gap of its own.
    """
    generator = np.random.RandomState(seed % 2**32)
    times_s = np.cumsum(generator.gamma(shape=shape, scale=1.0 / (rate * shape), size=n))
    if n and times_s[-1] > 0:
        times_s *= n / rate / times_s[-1]
    return np.rint(times_s * 1e9).astype(np.int64)


def read_trace(path: Path, n: int | None) -> NDArray[np.int64]:
    """The first n times of a file: seconds, one a line, or the column arrival_s (timestamp, time) of a CSV or JSONL."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--arrival-file {path}: cannot be read ({error})") from None
    times_s = _trace_seconds(path, text)
    if n is not None and len(times_s) < n:
        raise UsageError(f"--arrival-file {path} has {len(times_s)} times for {n} requests: lower --num-prompts")
    times_ns = np.rint(np.asarray(times_s[:n], dtype=np.float64) * 1e9).astype(np.int64)
    return np.sort(times_ns - (times_ns.min() if len(times_ns) else 0))


def trace_length(path: Path) -> int:
    """How many times the file holds."""
    return len(read_trace(path, None))


def _trace_seconds(path: Path, text: str) -> list[float]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UsageError(f"--arrival-file {path} is empty")
    header = [] if _is_number(lines[0][1]) or lines[0][1].lstrip().startswith("{") else next(csv.reader([lines[0][1]]))
    column = next((header.index(name) for name in TRACE_COLUMNS if name in header), None)
    if header and column is None:
        raise UsageError(f"--arrival-file {path} line 1: no column {' or '.join(TRACE_COLUMNS)}")
    return [_trace_time(path, number, line, column) for number, line in lines[1 if header else 0 :]]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _trace_time(path: Path, number: int, line: str, column: int | None) -> float:
    try:
        if line.lstrip().startswith("{"):
            row = json.loads(line)
            value = float(next(row[name] for name in TRACE_COLUMNS if name in row))
        elif column is not None:
            value = float(next(csv.reader(io.StringIO(line)))[column])
        else:
            value = float(line)
    except (ValueError, StopIteration, IndexError, TypeError):
        raise UsageError(f"--arrival-file {path} line {number}: {line.strip()[:60]!r} has no time in seconds") from None
    if not math.isfinite(value):
        raise UsageError(f"--arrival-file {path} line {number}: {value} is no time")
    return value
