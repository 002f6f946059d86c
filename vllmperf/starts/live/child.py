"""A server as a child process: its output line by line with stamps, and its end whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from vllmperf.errors import SettingError, UsageError
from vllmperf.starts.axis import Axis

READ_BYTES = 1 << 16
POLL_S = 0.02
CAUGHT_UP_LOOKS = 4
"""In a row: the reader may have taken the last bytes and not yet said so."""
STOP_S = 30.0
CATCH_UP_S = 2.0


def words_of(command: str | Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Variables in front ("HF_HUB_OFFLINE=1 vllm serve …") and the words of a command; no shell is involved."""
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise SettingError(
            "{command} {given!r} cannot be split into words: {error}", given=command, error=error
        ) from None
    variables = {}
    while words and "=" in words[0] and words[0].partition("=")[0].isidentifier():
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    if not words:
        raise SettingError('{command} holds no program; give one such as "vllm serve MODEL --port 8000"')
    return variables, words


class Child:
    """The started process, in a process group of its own; stdout and stderr share one pipe, so order is kept."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], axis: Axis) -> None:
        self._axis = axis
        self._lock = threading.Lock()
        self._lines: list[tuple[int, bytes]] = []
        self._waits = threading.Event()  # the reader, for more
        self.started_ns = axis.now_ns()
        try:
            self._process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"cannot run {words[0]!r}: {error.strerror or error}") from None
        self._reader = threading.Thread(target=self._read, name="vllmperf-child-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode if self._process.returncode is not None else self._peek()

    def lines(self) -> list[tuple[int, bytes]]:
        """What came since the last call: (stamp, line without its end)."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def end(self, stop_s: float = STOP_S) -> None:
        """SIGTERM to its group, SIGKILL to what is left of it after stop_s; then everything it printed is read."""
        if self._process.returncode is not None:
            return
        if self._peek() is None:
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + stop_s
            while self._peek() is None and time.monotonic() < deadline:
                time.sleep(POLL_S)
        # The leader is not reaped yet, so the group's number still belongs to it.
        self._signal(signal.SIGKILL)
        self._process.wait()
        self.drain()
        if not self._reader.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()

    def drain(self, wait_s: float = 2.0) -> None:
        """Wait until the pipe is read to its end (a grandchild may hold it open)."""
        self._reader.join(wait_s)

    def catch_up(self) -> None:
        """Wait until what it has printed so far is read: the reader may be late on a busy machine."""
        assert self._process.stdout is not None
        deadline, quiet = time.monotonic() + CATCH_UP_S, 0
        while quiet < CAUGHT_UP_LOOKS and self._reader.is_alive() and time.monotonic() < deadline:
            size = struct.pack("i", 0)
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._process.stdout, termios.FIONREAD, size))
            quiet = quiet + 1 if not waiting and self._waits.is_set() else 0
            time.sleep(POLL_S / CAUGHT_UP_LOOKS)

    def _peek(self) -> int | None:
        """The exit code without reaping."""
        state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if state is None:
            return None
        return state.si_status if state.si_code == os.CLD_EXITED else -state.si_status

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _read(self) -> None:
        rest = b""
        for stamp, block in self._blocks():
            *whole, rest = (rest + block).split(b"\n")
            with self._lock:
                self._lines.extend((stamp, line) for line in whole)
        if rest:
            with self._lock:
                self._lines.append((self._axis.now_ns(), rest))

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        self._waits.set()
        while block := os.read(descriptor, READ_BYTES):
            self._waits.clear()
            yield self._axis.now_ns(), block
            self._waits.set()
