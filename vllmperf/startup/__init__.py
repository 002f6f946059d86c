"""Where a vLLM server's start time goes: `parse` a log, `watch` pods or a command."""

from vllmperf.startup.parse import LogParser, as_start, parse
from vllmperf.startup.schema import to_json

__all__ = ["LogParser", "as_start", "parse", "to_json"]
