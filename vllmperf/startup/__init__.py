"""Where a vLLM server's start time goes: `parse` a log, `watch` pods or start a `command`.

>>> from vllmperf import startup
>>> startup.parse("server.log").main.phases
>>> startup.watch(label="app=vllm", watch=True)         # vllmperf.startup.watcher.measure
>>> startup.command("vllm serve MODEL", repeat=3)       # vllmperf.startup.launch.measure_command
"""

import importlib
from typing import TYPE_CHECKING, Any

from vllmperf.startup.parse import LogParser, as_start, parse
from vllmperf.startup.schema import to_json

if TYPE_CHECKING:
    from vllmperf.startup.launch import measure_command as command
    from vllmperf.startup.watcher import measure as watch

__all__ = ["LogParser", "as_start", "command", "parse", "to_json", "watch"]

_HOME = {
    "command": ("vllmperf.startup.launch", "measure_command"),
    "watch": ("vllmperf.startup.watcher", "measure"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vllmperf.startup' has no attribute {name!r}")
    module, function = _HOME[name]
    return getattr(importlib.import_module(module), function)


def __dir__() -> list[str]:
    return sorted(__all__)
