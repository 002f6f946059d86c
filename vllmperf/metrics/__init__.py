"""Every metric once: definitions, percentiles, the summary of a run, the verdict. Never talks to a network."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllmperf.metrics.percentile import percentile
    from vllmperf.metrics.summary import summarize

__all__ = ["percentile", "summarize"]

_HOME = {"percentile": "vllmperf.metrics.percentile", "summarize": "vllmperf.metrics.summary"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vllmperf.metrics' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # over the submodule of the same name, which importing it has put here
    return value
