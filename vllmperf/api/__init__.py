"""What notebooks and the command line both call: make a run, read a run."""

from vllmperf.api.given import Lines
from vllmperf.api.machine import selftest
from vllmperf.api.models import capacity, emit, fit, size
from vllmperf.api.results import check, compare, reconcile
from vllmperf.api.runs import bench, bench_async, finish_run, make_repeats, make_run, repeat
from vllmperf.api.starts import parse_log, startup
from vllmperf.api.stress_runs import stress
from vllmperf.api.sweeps import sweep

__all__ = [
    "Lines",
    "bench",
    "bench_async",
    "capacity",
    "check",
    "compare",
    "emit",
    "finish_run",
    "fit",
    "make_repeats",
    "make_run",
    "parse_log",
    "reconcile",
    "repeat",
    "selftest",
    "size",
    "startup",
    "stress",
    "sweep",
]
