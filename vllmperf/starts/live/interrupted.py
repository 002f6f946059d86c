"""A Ctrl-C that keeps what was measured until then."""

from __future__ import annotations

from vllmperf.starts.result import Start


class Interrupted(KeyboardInterrupt):
    """`starts`: what was known when it came."""

    def __init__(self, starts: list[Start]) -> None:
        super().__init__()
        self.starts = starts
