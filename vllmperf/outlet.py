"""stdout and stderr that end no command: a closed, full or narrow one loses its own words, never a measurement.

A program takes part by running its command within `guarded` of vllmperf.cli, or within `outlets` here.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

PLAINER = "vllmperf.plainer"
"""Name of the error handler (as in open(errors=…)) that says what an encoding lacks in plainer signs."""

ASCII = str.maketrans({
    "–": "-", "−": "-", "…": "...", "±": "+/-", "≤": "<=", "≥": ">=", "×": "x", "µ": "u", "✔": "+", "✘": "x", "·": "-",
    "━": "=", "─": "-", "│": "|", "→": "->", "“": '"', "”": '"', "’": "'", "\N{REPLACEMENT CHARACTER}": "?",
})  # fmt: skip

GONE = (errno.EPIPE, errno.EBADF)
"""Nobody reads: the reader of a pipe went away, or there never was an stdout."""
UNWRITTEN = 1
"""Exit code when the output could not be written and nothing else went wrong."""


def plain_signs(text: str) -> str:
    """The text in ASCII: – becomes -, é becomes e, what has no plainer form becomes ?."""
    known = unicodedata.normalize("NFKD", text.translate(ASCII))
    kept = "".join(sign for sign in known if not unicodedata.combining(sign))
    return kept.encode("ascii", "replace").decode()


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain_signs(error.object[error.start : error.end]), error.end


codecs.register_error(PLAINER, _plainer)


class Outlet(io.RawIOBase):
    """A descriptor that takes everything; `failure` is the first error, after which words go nowhere."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """All of it, or nothing of it: there is no error."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.failure is None:
            left = left[self._some(left) :]
        return size

    def _some(self, data: memoryview) -> int:
        if self._descriptor is None:
            self.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
            return 0
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # somebody else made the pipe non-blocking: wait for its reader
            select.select([], [self._descriptor], [])
        except OSError as error:
            self.failure = error
        return 0

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def fileno(self) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation("this output is closed")
        return self._descriptor


class Outlets:
    """What became of stdout."""

    def __init__(self, out: TextIO | None, outlet: Outlet | None) -> None:
        self._out, self._outlet = out, outlet

    def told(self, code: int) -> int:
        """The exit code of a command that gave `code`, after one line on stderr where its output was lost."""
        if self._out is None or self._outlet is None:
            return code
        self._out.flush()
        failure = self._outlet.failure
        if failure is None:
            return code
        if failure.errno in GONE:
            print(
                "vllmperf: stdout was closed: the rest of its output is lost, nothing else", file=sys.stderr
            )
            return code
        reason = failure.strerror or failure
        print(
            f"vllmperf: error: stdout cannot be written ({reason}): the rest of its output is lost, nothing else",
            file=sys.stderr,
        )
        return code or UNWRITTEN


@contextmanager
def outlets() -> Iterator[Outlets]:
    """Put safe streams in the place of the process's own sys.stdout and sys.stderr; others are left alone."""
    _hold_standard_descriptors()
    before = sys.stdout, sys.stderr
    out, outlet = _safe(sys.stdout) if sys.stdout is sys.__stdout__ else (None, None)
    err, _ = _safe(sys.stderr) if sys.stderr is sys.__stderr__ else (None, None)
    sys.stdout, sys.stderr = out or sys.stdout, err or sys.stderr
    try:
        yield Outlets(out, outlet)
    finally:
        for stream in (out, err):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _safe(stream: TextIO | None) -> tuple[TextIO | None, Outlet | None]:
    """A safe stream to where this one goes; (None, None) for one that goes to no descriptor."""
    try:
        outlet = Outlet(None if stream is None else stream.fileno())
    except (OSError, ValueError):
        return None, None
    safe = io.TextIOWrapper(
        io.BufferedWriter(cast(io.RawIOBase, outlet)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=_errors(stream),
        line_buffering=getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False),
    )
    return safe, outlet


def _errors(stream: TextIO | None) -> str:
    """The handler that somebody chose by PYTHONIOENCODING; Python's own ones would raise."""
    chosen = getattr(stream, "errors", None)
    return chosen if chosen in ("replace", "ignore", "xmlcharrefreplace", "namereplace") else PLAINER


def _hold_standard_descriptors() -> None:
    """Where 0, 1 or 2 is closed, the next socket or file would become stdout, and take a child's words."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
