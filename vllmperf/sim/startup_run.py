"""A simulated start in real time: the log grows as the phases pass, then the server is ready, sleeps and wakes up."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from vllmperf.errors import UsageError
from vllmperf.sim.startup_log import plan, style
from vllmperf.sim.startup_plan import Course
from vllmperf.sim.startup_script import StartupScript, parse_startup
from vllmperf.sim.startup_serving import end, fall_asleep, wake_up
from vllmperf.sim.startup_style import Line

LOOK_S = 0.01  # how often a running server is asked whether it was sent to sleep or woken up
KILLED = 137  # exit code of a process that the kernel killed


class Server(Protocol):
    """What starts: `vllmperf.sim.Server`."""

    def set_ready(self, ready: bool) -> None: ...
    def listen(self) -> None: ...

    @property
    def stats(self) -> dict[str, int]: ...


def prepare(
    server: Server, startup: StartupScript | str | None, log: str | BinaryIO | None, settings: dict[str, Any]
) -> tuple[StartupRun, dict[str, Any]]:
    """The start of a server, and its settings with what the script says of them."""
    script = parse_startup(startup) if isinstance(startup, str) else startup or StartupScript()
    if settings.get("port"):
        script = replace(script, http_port=settings["port"])
    told: dict[str, Any] = {
        "model": script.model,
        "version": script.release,
        "sleep_ms": script.sleep * 1000,
        "wake_ms": script.wake * 1000,
    }
    both = ", ".join(sorted(set(told) & set(settings)))
    if both:
        raise UsageError(f"simulator setting {both}: with a start-up its script alone says it")
    return StartupRun(server, script, log), {**told, **settings}


class StartupRun:
    """Plays a script for a server on a thread of its own."""

    def __init__(self, server: Server, script: StartupScript, log: str | BinaryIO | None) -> None:
        self.server, self.script, self.log = server, script, log
        self.exit_code: int | None = None
        self._style = style(script)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._out: BinaryIO | None = None

    def begin(self) -> None:
        self._out = self._open()
        self._ended.clear()
        self.exit_code = None
        self.server.set_ready(False)
        if self.script.port == "open":
            self.server.listen()
        self._thread = threading.Thread(target=self._run, name="vllmperf-sim-startup", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop writing; a server that was ready says that it ends."""
        self._ended.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None
            if self._out and isinstance(self.log, str) and self.log != "-":
                self._out.close()

    def _open(self) -> BinaryIO | None:
        if self.log is None or not isinstance(self.log, str):
            return self.log
        if self.log == "-":
            return sys.stdout.buffer
        try:
            return Path(self.log).open("wb")
        except OSError as error:
            raise UsageError(f"cannot write the start-up log {self.log}: {error.strerror}") from None

    # --- on the thread

    def _run(self) -> None:
        try:
            self._play()
        except OSError as error:  # nobody reads the log any more, or its disk is full
            print(f"vllmperf: error: start-up log: {error.strerror}", file=sys.stderr)
            self.exit_code = 1
        except UsageError as error:  # the port that opens late is taken by now
            print(f"vllmperf: error: {error}", file=sys.stderr)
            self.exit_code = 1

    def _play(self) -> None:
        course = plan(replace(self.script, cycles=(), requests=0))
        began = time.monotonic_ns()
        for line in course.lines:
            if not self._wait_until(began + line.at_ns):
                return
            self._write(line)
        if not self._wait_until(began + course.end_ns):
            return
        if course.ready_ns is None:
            self.exit_code = 1 if course.failed else KILLED
            return
        if self.script.port == "closed":
            self.server.listen()
        self.server.set_ready(True)
        self._serve()

    def _wait_until(self, due_ns: int) -> bool:
        """False when it was told to end before."""
        while (left := due_ns - time.monotonic_ns()) > 0:
            if self._ended.wait(left / 1e9):
                return False
        return not self._ended.is_set()

    def _serve(self) -> None:
        """Write of every /sleep and /wake_up when it ends, until all is told to end."""
        seen = {"sleeps": 0, "wakes": 0}
        while not self._ended.wait(LOOK_S):
            stats = self.server.stats
            for counter, say, takes in (
                ("sleeps", fall_asleep, self.script.sleep),
                ("wakes", wake_up, self.script.wake),
            ):
                if stats[counter] > seen[counter]:
                    seen[counter] = stats[counter]
                    if not self._wait_until(time.monotonic_ns() + round(takes * 1e9)):
                        break
                    self._say(partial(say, seconds=takes))
        self._say(end)

    def _say(self, what: Callable[[Course], None]) -> None:
        course = Course(self.script)
        what(course)
        for line in course.plan.lines:
            self._write(line)

    def _write(self, line: Line) -> None:
        if self._out is None:
            return
        physical: Iterable[bytes] = self._style.render(line, time.time_ns(), None)
        for data in physical:
            self._out.write(data)
        self._out.flush()
