"""A simulated vLLM server in this process: exact times, faults on demand, a file of what really happened.

>>> with vllmperf.sim.Server(ttft_ms=50, itl_ms=10) as s:
...     print(s.url)
"""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING, BinaryIO

from vllmperf import reach
from vllmperf.errors import UsageError
from vllmperf.sim.config import SETTINGS, checked, describe_faults, parse_settings

if TYPE_CHECKING:
    from vllmperf.sim.startup_script import StartupScript

__all__ = ["SETTINGS", "Server", "describe_faults", "parse_settings"]


class Server:
    """A simulated server, running between `start()` and `stop()` or inside a `with`.

    Its arguments are the settings of `vllmperf.sim.config.SETTINGS`; here `port` is any free one by default.
    With `startup` (a StartupScript, or its settings as text) it first goes through a start: it writes the log of one
    to `startup_log` (a path, "-" for stdout, a binary file) as the phases pass, and answers 503 until it is ready.
    Raises UsageError for a wrong setting, and when it cannot listen or write the truth file or the log.
    """

    def __init__(
        self,
        startup: StartupScript | str | None = None,
        startup_log: str | BinaryIO | None = None,
        **settings: object,
    ) -> None:
        import vllmperf._sim as _sim

        self._start = None
        if startup is not None or startup_log is not None:
            from vllmperf.sim.startup_run import prepare

            self._start, settings = prepare(self, startup, startup_log, settings)
        self.settings = checked({"port": 0, **settings})
        try:
            self._server = _sim.Server(self.settings)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def start(self) -> Server:
        """Listen, or begin the start-up. UsageError when it cannot listen or write the truth file."""
        # The thread must be gone, and the truth written, before the interpreter is.
        atexit.register(_stop, weakref.ref(self))
        if self._start:
            self._start.begin()
        else:
            self.listen()
        return self

    def listen(self) -> None:
        """Open the port; what `start` does, at once or (with `port=closed` of a start-up) when it is ready."""
        try:
            self._server.start()
        except OSError as error:
            raise UsageError(f"{error.strerror}; choose another port or path") from None
        reach.include(str(self.settings["host"]), self.port)

    def stop(self) -> None:
        """End it. What the truth file could not take raises OSError. Stopping again is no error."""
        if self._start:
            self._start.end()
        self._server.stop()

    def set_ready(self, ready: bool) -> None:
        """Answer requests, or (False) 503 to all of them."""
        self._server.set_ready(ready)

    @property
    def exit_code(self) -> int | None:
        """What a process that fails in its start-up exits with; None as long as it goes on."""
        return self._start.exit_code if self._start else None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Port that it listens on; 0 before start()."""
        return self._server.port

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end. UsageError before start()."""
        if not self.port:
            raise UsageError("the simulated server has no port yet: start() it, or use it in a with block")
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
