"""How fast a vLLM server starts and serves, what it can carry, and how sure each number is.

>>> import vllmperf as vp
>>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
...     run = vp.bench(server, max_concurrency=4, num_prompts=8, output_len=4)
>>> run.ttft.n
8
>>> run.ttft.p99 >= 5
True

Nothing heavy is imported before it is used.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from vllmperf import shown
from vllmperf.version import __version__ as __version__

if TYPE_CHECKING:
    from vllmperf import errors, metrics, sim
    from vllmperf.api import (
        bench,
        bench_async,
        capacity,
        check,
        compare,
        emit,
        fit,
        parse_log,
        reconcile,
        repeat,
        selftest,
        size,
        startup,
        stress,
        sweep,
    )
    from vllmperf.comparison.comparison import Comparison
    from vllmperf.metrics.percentiles import percentile
    from vllmperf.model.capacity import Capacity
    from vllmperf.model.parameters import Fit
    from vllmperf.model.sizing import Sizing
    from vllmperf.own_error import SelfTest
    from vllmperf.plan import Plan
    from vllmperf.repeats import Repeats
    from vllmperf.report.startup.starts import Starts
    from vllmperf.run import Run, open_run
    from vllmperf.starts.result import Start
    from vllmperf.sweeps.result import Sweep, open_sweep

__all__ = [
    "Capacity",
    "Comparison",
    "Fit",
    "Plan",
    "Repeats",
    "Run",
    "SelfTest",
    "Sizing",
    "Start",
    "Starts",
    "Sweep",
    "bench",
    "bench_async",
    "capacity",
    "check",
    "compare",
    "emit",
    "errors",
    "fit",
    "metrics",
    "open_run",
    "open_sweep",
    "parse_log",
    "percentile",
    "reconcile",
    "repeat",
    "selftest",
    "sim",
    "size",
    "startup",
    "stress",
    "sweep",
]

_HOME = {
    "Capacity": "vllmperf.model.capacity",
    "Comparison": "vllmperf.comparison.comparison",
    "Fit": "vllmperf.model.parameters",
    "Repeats": "vllmperf.repeats",
    "SelfTest": "vllmperf.own_error",
    "Sizing": "vllmperf.model.sizing",
    "Start": "vllmperf.starts.result",
    "Starts": "vllmperf.report.startup.starts",
    "Sweep": "vllmperf.sweeps.result",
    "bench": "vllmperf.api",
    "bench_async": "vllmperf.api",
    "capacity": "vllmperf.api",
    "check": "vllmperf.api",
    "compare": "vllmperf.api",
    "emit": "vllmperf.api",
    "fit": "vllmperf.api",
    "parse_log": "vllmperf.api",
    "percentile": "vllmperf.metrics.percentiles",
    "reconcile": "vllmperf.api",
    "repeat": "vllmperf.api",
    "selftest": "vllmperf.api",
    "size": "vllmperf.api",
    "startup": "vllmperf.api",
    "stress": "vllmperf.api",
    "sweep": "vllmperf.api",
    "Plan": "vllmperf.plan",
    "Run": "vllmperf.run",
    "open_run": "vllmperf.run",
    "open_sweep": "vllmperf.sweeps.result",
    "errors": "vllmperf.errors",
    "metrics": "vllmperf.metrics",
    "sim": "vllmperf.sim",
}


def _views() -> shown.Views:
    from vllmperf.report import views

    return views


shown.views = _views


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        words = f"module 'vllmperf' has no attribute {name!r}"
        raise AttributeError(words, name=name, obj=sys.modules[__name__])  # Python suggests the nearest name
    module = importlib.import_module(_HOME[name])
    value = module if _HOME[name] == f"vllmperf.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
