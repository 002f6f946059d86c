"""Where a vLLM server's start time goes: `parse` a log, measure `pods` or start a `command`.

>>> from vllmperf import starts
>>> starts.parse("server.log").main.phases
>>> starts.pods(label="app=vllm", watch=True)         # vllmperf.starts.live.pods.measure
>>> starts.command("vllm serve MODEL", repeat=3)       # vllmperf.starts.live.launch.measure_command
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllmperf.starts.live.launch import measure_command as command
    from vllmperf.starts.live.pods import measure as pods
    from vllmperf.starts.log.parse import LogParser, as_start, parse
    from vllmperf.starts.log.schema import to_json

__all__ = ["LogParser", "as_start", "command", "parse", "pods", "to_json"]

_HOME = {
    "LogParser": ("log.parse", "LogParser"),
    "as_start": ("log.parse", "as_start"),
    "command": ("live.launch", "measure_command"),
    "parse": ("log.parse", "parse"),
    "to_json": ("log.schema", "to_json"),
    "pods": ("live.pods", "measure"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vllmperf.starts' has no attribute {name!r}")
    module, thing = _HOME[name]
    return getattr(importlib.import_module(f"vllmperf.starts.{module}"), thing)


def __dir__() -> list[str]:
    return sorted(__all__)
