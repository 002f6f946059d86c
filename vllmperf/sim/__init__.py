"""A simulated vLLM server in this process: exact times, faults on demand, a file of what really happened.

>>> with vllmperf.sim.Server(ttft_ms=50, itl_ms=10) as s:
...     print(s.url)
"""

from __future__ import annotations

import atexit
import weakref
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.sim.config import SETTINGS, checked, describe_faults, parse_settings

__all__ = ["SETTINGS", "Server", "describe_faults", "parse_settings"]


class Server:
    """A simulated server, running between `start()` and `stop()` or inside a `with`.

    Its arguments are the settings of `vllmperf.sim.config.SETTINGS`; here `port` is any free one by default.
    Raises UsageError for a wrong setting, and when it cannot listen or write the truth file.
    """

    def __init__(self, **settings: Any) -> None:
        from vllmperf import _sim

        self.settings = checked({"port": 0, **settings})
        try:
            self._server = _sim.Server(self.settings)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def start(self) -> Server:
        try:
            self._server.start()
        except OSError as error:
            raise UsageError(f"{error.strerror}; choose another port or path") from None
        # The thread must be gone, and the truth written, before the interpreter is.
        atexit.register(_stop, weakref.ref(self))
        return self

    def stop(self) -> None:
        """End it. What the truth file could not take raises OSError. Stopping again is no error."""
        self._server.stop()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        host = self.settings["host"]
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def stats(self) -> dict[str, int]:
        """Counters since the start (`vllmperf._sim.Server.stats`)."""
        return self._server.stats()


def _stop(reference: weakref.ref[Server]) -> None:
    server = reference()
    if server is not None:
        server.stop()
