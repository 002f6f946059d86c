"""A server by a command: `vllm serve …`, `serve run …`, anything that a shell can run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllmperf.errors import SettingError, UsageError
from vllmperf.plan import Target, checks
from vllmperf.plan.checks import seconds, setting
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part
from vllmperf.sweeps.setups import processes
from vllmperf.sweeps.setups.server import SetupError
from vllmperf.sweeps.setups.values import filled
from vllmperf.target import is_listening

PORT = "{port}"
HOST = "127.0.0.1"
STOP_S = 30.0


def words(name: str, value: Any) -> str | tuple[str, ...]:
    """A command for the shell, or its words without one."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, Sequence) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise checks.refused(name, "a command, or a list of its words", value)


def texts(name: str, value: Any) -> JsonObject:
    """Texts by name; numbers become texts, as YAML has 0 for "0"."""
    found = checks.json_object(name, value)
    if any(isinstance(text, dict | list | bool) or text is None for text in found.values()):
        raise SettingError("{" + name + "} must hold texts by name")
    return JsonObject({key: str(text) for key, text in found.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Part):
    """env: variables beside those of this process. base_url: where it will answer; {port} in it, in the command and in env is a
    free port. stop_timeout: seconds from SIGTERM to SIGKILL."""

    command: str | tuple[str, ...] = setting("", words)
    env: Mapping[str, str] = setting(JsonObject(), texts)
    cwd: str | None = setting(None, checks.path)
    base_url: str | None = setting(None, checks.text)
    stop_timeout: float = setting(STOP_S, seconds(zero=True))

    def check(self) -> None:
        if self.base_url is None and PORT not in str((self.command, self.env)):
            raise SettingError(
                "{command} does not say where the server will listen: write {port} for a free port, or give {base_url}",
                port=PORT,
            )
        told = (self.base_url or "").replace(PORT, "1")
        if told and "{" not in told:  # else an axis has its value
            Target(base_url=told)

    def with_values(self, values: Mapping[str, Any]) -> Command:
        """With the values of axes for their names in braces."""
        found: Command = filled(self, values)
        return found

    def start(self, name: str, logs: Path) -> CommandServer:
        """Start it, with its output in logs/NAME_stdout.log and NAME_stderr.log. Raises SetupError, UsageError."""
        address = self.base_url or f"http://{HOST}:{PORT}"
        mine = filled(replace(self, base_url=address), {"port": str(free_port())})
        base_url = str(mine.base_url)
        if is_listening(base_url):
            raise SetupError(
                f"something listens on {base_url} already: end it, or write {PORT} for a free port"
            )
        return CommandServer(mine, base_url, name, logs)


class CommandServer:
    """The process, in a session of its own, and all that it starts."""

    def __init__(
        self, asked: Command, base_url: str, name: str, logs: Path, metrics_root: str | None = None
    ) -> None:
        self.metrics_roots: Sequence[str] = [metrics_root or base_url]
        self.base_url, self._stop_s = base_url, asked.stop_timeout
        self._family = processes.Family(processes.new_mark())
        logs.mkdir(parents=True, exist_ok=True)
        paths = [logs / f"{name}_{stream}.log" for stream in ("stdout", "stderr")]
        self._errors = paths[1]
        shell = isinstance(asked.command, str)
        with contextlib.ExitStack() as stack:
            out, errors = (stack.enter_context(path.open("ab")) for path in paths)
            try:
                self._process = subprocess.Popen(
                    asked.command if isinstance(asked.command, str) else list(asked.command),
                    shell=shell,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=errors,
                    cwd=asked.cwd,
                    env={**os.environ, **asked.env, processes.VARIABLE: self._family.mark},
                    start_new_session=True,
                )
            except OSError as error:
                raise UsageError(
                    f"cannot run {asked.command!r}: {error.filename or ''} {error.strerror or error}"
                ) from None

    @property
    def exit_code(self) -> int | None:
        """None as long as it runs."""
        return self._process.poll()

    def unready(self) -> None:
        pass

    def facts(self) -> dict[str, object]:
        return {"mark": self._family.mark, "pid": self._process.pid, "stop_timeout": self._stop_s}

    def ended(self) -> str | None:
        code = self._process.poll()
        if code is None:
            return None
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return f"ended with {how}{_last_line(self._errors)}; its output is in {self._errors.parent}"

    def stop(self) -> None:
        """SIGTERM to its group, then to what its end leaves, SIGKILL to what is left after stop_timeout."""
        deadline = time.monotonic() + self._stop_s
        self._family.pids()  # it knows their sessions before the first of them ends
        try:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(self._stop_s)
            if self._process.poll() is not None:
                self._family.end(max(deadline - time.monotonic(), 0.0))
        finally:
            self._family.kill()
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _last_line(path: Path) -> str:
    """': the last line that it wrote', "" where there is none."""
    with contextlib.suppress(OSError):
        lines = path.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        if lines:
            return f": {lines[-1].strip()[:200]}"
    return ""
