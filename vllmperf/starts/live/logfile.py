"""Writes a log while it is read: each line behind its stamp, as `kubectl logs --timestamps` prints it, or bare."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from vllmperf.errors import UsageError
from vllmperf.starts.result import NS_PER_S


def stamp_text(stamp_ns: int) -> bytes:
    """RFC 3339 in UTC with nanoseconds."""
    seconds, rest = divmod(stamp_ns, NS_PER_S)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % rest


class LogFile:
    """A file in a folder that is made when needed; without a folder nothing is written."""

    def __init__(self, folder: Path | None, name: str, keeps_stamps: bool = True) -> None:
        self.path = None if folder is None else str(folder / name)
        self._folder, self._keeps_stamps = folder, keeps_stamps
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._folder is not None and self.path is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = Path(self.path).open("wb")
            except OSError as error:
                raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        return self

    def write(self, stamp_ns: int | None, line: bytes) -> None:
        if self._file is not None:
            stamp = stamp_text(stamp_ns) + b" " if stamp_ns is not None and self._keeps_stamps else b""
            self._file.write(stamp + line + b"\n")
            self._file.flush()  # for whoever follows it, and for what is left when this process is killed

    def rename(self, name: str) -> None:
        """Another name in the same folder; writing goes on."""
        if self._folder is None or self.path is None:
            return
        old, self.path = Path(self.path), str(self._folder / name)
        if self._file is not None or old.exists():
            old.replace(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
