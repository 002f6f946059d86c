"""How fast a vLLM server starts and serves, what it can carry, and how sure each number is.

>>> import vllmperf
>>> run = vllmperf.bench(url="http://127.0.0.1:8000", rate=10, num_prompts=200)
>>> run.summary["metrics"]["ttft_ms"]["p99"]

Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vllmperf import errors, metrics, sim, startup
    from vllmperf.api import bench, load
    from vllmperf.plan import Plan
    from vllmperf.run import Run, open_run

__all__ = ["Plan", "Run", "bench", "errors", "load", "metrics", "open_run", "sim", "startup"]

_HOME = {
    "bench": "vllmperf.api",
    "load": "vllmperf.load",
    "Plan": "vllmperf.plan",
    "Run": "vllmperf.run",
    "open_run": "vllmperf.run",
    "errors": "vllmperf.errors",
    "metrics": "vllmperf.metrics",
    "sim": "vllmperf.sim",
    "startup": "vllmperf.startup",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vllmperf' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    value = module if _HOME[name] == f"vllmperf.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
