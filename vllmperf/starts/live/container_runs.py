"""The log of one run of a container, while it comes; and the start that an earlier run makes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from vllmperf.errors import TargetError
from vllmperf.starts.live.join import Seen, imports, log_phases, tail
from vllmperf.starts.live.logfile import LogFile
from vllmperf.starts.live.pod_status import Ran
from vllmperf.starts.result import Failure, Start, StartupLog
from vllmperf.starts.waterfall import fill

if TYPE_CHECKING:
    from vllmperf.kube import LogLine, Note
    from vllmperf.starts.log.parse import LogParser

LAST_LINES = 20


class Lines(Protocol):
    """vllmperf.kube.LogStream."""

    notes: list[Note]

    def __iter__(self) -> Iterator[LogLine]: ...


class ContainerRun:
    """One run. `read` may go on in a thread of its own while others ask for the log so far."""

    def __init__(self, restarts: int, file: LogFile, is_previous: bool = False) -> None:
        from vllmperf.starts.log.parse import LogParser

        self.restarts, self.file, self.is_previous = restarts, file, is_previous
        self.notes: list[str] = []
        self.has_ended = False
        self._lock = threading.Lock()
        self._parser: LogParser = LogParser()
        self._recent: deque[bytes] = deque(maxlen=LAST_LINES * 2)
        self._count = 0

    def read(self, lines: Lines) -> None:
        """To the end. A log that cannot be read, or not to its end, is a note."""
        try:
            with self.file:
                for line in lines:
                    self._take(line)
        except TargetError as error:
            which = "log of the try before" if self.is_previous else "log"
            self.notes.append(f"the {which} cannot be read{' any further' if self._count else ''}: {error}")
        finally:
            self.notes += [note.text for note in lines.notes]
            self.has_ended = True

    def _take(self, line: LogLine) -> None:
        with self._lock:
            self._parser.feed(line.text, line.stamp_ns)
            self._recent.append(line.text)
            self._count += 1
        self.file.write(line.stamp_ns, line.text)

    def log(self) -> StartupLog | None:
        """What it tells so far, None before its first line."""
        with self._lock:
            return self._parser.result().main if self._count else None

    def last_lines(self) -> tuple[str, ...]:
        with self._lock:
            return tail(self._recent, LAST_LINES)


def earlier_start(pod: str, one: ContainerRun, ran: Ran | None) -> Start:
    """An earlier try: from its container's start to its end."""
    log = one.log()
    origin = ran.start_ns if ran else log.first_log_ns if log else None
    end = ran.end_ns if ran and ran.end_ns is not None else log.last_log_ns if log else None
    if log is not None and log.last_log_ns is not None and end is not None:
        end = max(end, log.last_log_ns)  # the container's end is a whole second
    phases = [*imports(origin, log, Seen(), 1.0), *log_phases(log)]
    ended = f"ended with exit code {ran.exit_code} ({ran.reason})" if ran and ran.end_ns else "ended"
    failure = (
        log.failure if log is not None and log.failure else Failure(None, None, f"the container {ended}")
    )
    if ran is not None and failure.reason is None and ran.reason not in (None, "Error"):
        failure = Failure(failure.phase, failure.line, failure.text, ran.reason)
    return Start(
        name=f"{pod} try {one.restarts + 1}",
        origin="container start",
        end="ready",
        origin_ns=origin,
        end_ns=end,
        phases=fill(phases, origin, end),
        reached=False,
        failure=failure,
        log=log,
        log_path=one.file.path,
        evidence=one.last_lines(),
        notes=tuple(one.notes),
    )
