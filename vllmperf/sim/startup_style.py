"""How a release of vLLM lays out its lines: header, process prefix, colour, progress bars, JSON.

Facts of vLLM 0.7.0 to 0.32: the bracket since 0.8.0, worker prefixes, process prefixes since 0.10.1 and their names,
prefixes on every line of both streams up to 0.27 (0.28: not on progress bars), colours even into a pipe from 0.10.1
to 0.16.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from vllmperf.starts.log.markers import version_key

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Process:
    """Who prints. `name` is "APIServer", "EngineCore_DP0", "Worker_TP1", …; "" prints without any prefix."""

    name: str
    pid: int
    rank: int | None = None  # of a worker, over all
    address: str | None = None


@dataclass(frozen=True)
class Line:
    """One message of the log, without its stamp: that is put before it when it is written."""

    at_ns: int  # after the start of the process
    process: Process
    text: str  # several lines with "\n" between them
    source: str | None = (
        None  # "core.py:77" of a vLLM message; None: as it is (progress bars, uvicorn, tracebacks)
    )
    level: str = "INFO"
    logger: str = "vllm"  # "vllm", "uvicorn", "flashinfer", "bar", "plain", "undecorated"

    @property
    def stream(self) -> str:
        return "stdout" if self.source else "stderr"


@dataclass(frozen=True)
class Style:
    """What a release does to lines."""

    version: str
    json: bool = False
    colour: bool | None = None  # None: what the release does when its output is a pipe

    def at_least(self, version: str) -> bool:
        return version_key(self.version) >= version_key(version)

    @property
    def names_processes(self) -> bool:
        return self.at_least("0.10.1")

    @property
    def engine_name(self) -> str:
        """Name of engine core number {} when its number is told."""
        return "EngineCore_DP{}" if self.at_least("0.10.2") else "EngineCore_{}"

    @property
    def numbers_lone_engines(self) -> bool:
        return not self.at_least("0.18.0")

    @property
    def all_ranks_speak(self) -> bool:
        return not self.at_least("0.11.1")

    def prefix(self, line: Line) -> str:
        process = line.process
        if not process.name or line.logger == "undecorated":
            return ""
        if not self.names_processes:
            return _worker_prefix(process)
        if line.source is None and self.at_least("0.28.0" if line.logger == "bar" else "0.29.0"):
            return ""
        return self._coloured(f"({process.name} pid={process.pid})") + " "

    def _coloured(self, text: str) -> str:
        on = self.colour
        if on is None:
            on = not self.at_least("0.17.0")
        if not on:
            return text
        return f"\x1b[{'0;36' if self.at_least('0.12.0') else '1;36'}m{text}\x1b[0;0m"

    def header(self, line: Line, stamp: datetime) -> str:
        source = line.source if not self.at_least("0.8.0") else f"[{line.source}"
        level, time = line.level, f"{stamp:%m-%d %H:%M:%S}"
        if self.colour and self.at_least("0.12.0"):
            shade = {"ERROR": 31, "WARNING": 33}.get(level, 32)
            return f"\x1b[{shade}m{level}\x1b[0m \x1b[90m{time}\x1b[0m \x1b[90m{source}]\x1b[0m "
        return f"{level} {time} {source}] "

    def render(self, line: Line, wall_ns: int, zone: tzinfo | None = UTC) -> list[bytes]:
        """The physical lines of a message, each with its line end; stamps are wall_ns in that zone (None: here)."""
        prefix, stamp = self.prefix(line), datetime.fromtimestamp(wall_ns // NS_PER_S, zone)
        if line.source is None:
            millis = wall_ns // 1_000_000 % 1000
            texts = [_foreign(line, part, stamp, millis) for part in line.text.split("\n")]
        elif self.json:
            texts = [_json(line, stamp, wall_ns)]
        else:
            header = self.header(line, stamp)
            texts = "\r\n".join(header + part for part in line.text.split("\n")).split("\n")
        return [f"{prefix}{text}\n".encode() for text in texts]


def _worker_prefix(process: Process) -> str:
    if process.rank is None:
        return ""
    if process.name == "VllmWorker":
        return f"(VllmWorker rank={process.rank} pid={process.pid}) "
    return f"({process.name} pid={process.pid}) " if process.rank else ""


def _foreign(line: Line, text: str, stamp: datetime, millis: int) -> str:
    if line.logger == "uvicorn":
        return f"{line.level}:     {text}"
    if line.logger == "flashinfer":
        return f"{stamp:%Y-%m-%d %H:%M:%S},{millis:03d} - {line.level} - autotuner.py:256 - flashinfer.jit: {text}"
    return text


def _json(line: Line, stamp: datetime, wall_ns: int) -> str:
    """As python-json-logger writes it with these names in its format."""
    file, _, number = (line.source or "").partition(":")
    fields = {
        "asctime": f"{stamp:%Y-%m-%d %H:%M:%S},{wall_ns // 1_000_000 % 1000:03d}",
        "levelname": line.level,
        "filename": file,
        "lineno": int(number or 0),
        "message": line.text,
    }
    return json.dumps(fields, ensure_ascii=False)


def place(file: str) -> str:
    """A file with a line number that is always the same."""
    return f"{file}:{zlib.crc32(file.encode()) % 900 + 100}"
