"""Every metric once: definitions, percentiles, the summary of a run, the verdict. Never talks to a network."""

from typing import TYPE_CHECKING, Any

# At once, not lazily: otherwise an import of the submodule would put the module in the function's place.
from vllmperf.metrics.percentiles import percentile

if TYPE_CHECKING:
    from vllmperf.metrics.summary import summarize

__all__ = ["percentile", "summarize"]


def __getattr__(name: str) -> Any:
    if name != "summarize":
        raise AttributeError(f"module 'vllmperf.metrics' has no attribute {name!r}")
    from vllmperf.metrics.summary import summarize

    return summarize
