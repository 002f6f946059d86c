"""A worker as the service sees it: started, told what it may not read in a file, listened to, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vllmperf.service.guard.settings import TOKEN
from vllmperf.service.store import LOG

MOST_LINE_BYTES = 1 << 20
STOP_S, CUT_S = 15.0, 3.0
"""What a worker has after the first and after the second SIGINT of a service that stops: Kubernetes gives 30 s to it all."""


class Process:
    """One worker. data: its working folder, which paths of requests are relative to."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._folder = data, folder
        self._process: asyncio.subprocess.Process | None = None
        self._is_interrupted = False
        self._limit: asyncio.Task[None] | None = None

    async def run(self, told: str, take: Callable[[Mapping[str, Any]], object]) -> int:
        """Start it, hand on its events, give its exit code. told: its first line of stdin. Raises OSError."""
        folder = self._folder.absolute()
        with (folder / LOG).open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "vllmperf.service.worker", str(folder),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=self._data,
                env=_environment(), start_new_session=True, limit=MOST_LINE_BYTES,
            )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(told.encode() + b"\n")
        if self._is_interrupted:  # before it was there
            self._kill(signal.SIGINT)
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        try:
            while line := await _line(process.stdout):
                with contextlib.suppress(ValueError):
                    take(json.loads(line))
            return await process.wait()
        finally:
            process.stdin.close()
            if self._limit is not None:
                self._limit.cancel()

    def interrupt(self) -> None:
        """Once: it sends no more and keeps what came. Twice: it cuts what is in flight."""
        self._is_interrupted = True
        self._kill(signal.SIGINT)

    def limit_end(self) -> None:
        """It was interrupted, and has STOP_S + CUT_S to be gone."""
        self._limit = asyncio.create_task(self._end_at_last())

    async def _end_at_last(self) -> None:
        await asyncio.sleep(STOP_S)
        self._kill(signal.SIGINT)
        await asyncio.sleep(CUT_S)
        self._kill(signal.SIGKILL)

    def _kill(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, b"" at the end; of one that is too long what is left of it, which is no event."""
    try:
        return await stream.readline()
    except ValueError:
        return b"\n"


def _environment() -> dict[str, str]:
    """The service's own without its token; this package is found from any working folder."""
    home = Path(__file__).parents[2]
    paths = [str(Path(one).absolute()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    if not home.name.endswith(
        "-packages"
    ):  # a checkout; site-packages before the standard library would hide parts of it
        paths.append(str(home))
    found = {name: value for name, value in os.environ.items() if name not in (TOKEN, "PYTHONPATH")}
    return {**found, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}), "PYTHONUNBUFFERED": "1"}
