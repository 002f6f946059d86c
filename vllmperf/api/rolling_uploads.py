"""What a long run puts into a bucket while it goes: its intervals as JSON, and a copy of its run file now and then."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.metrics.rolling import Interval
from vllmperf.whole_file import write_whole

if TYPE_CHECKING:
    from vllmperf.bucket.place import Place
    from vllmperf.run import Run

COPY_S = 600.0
"""Between copies of the run file."""
LAST_S = 60.0
"""For what waits still when the run is over."""


class RollingUploads:
    """Takes each interval of a run. Enter it around the run; nothing that the bucket does reaches the run.

    record: the run file. place: where NAME.rolling.json and NAME.rolling.vllmperf go, each over its earlier state. copy_s:
    between copies of the run file. last_s: for what waits still at the end. What waits then stays in the folder .NAME.outbox
    beside the run file, and the next one of this run uploads it.
    """

    def __init__(
        self, record: Path, place: Place, copy_s: float = COPY_S, last_s: float | None = None
    ) -> None:
        from vllmperf.bucket.outbox import Outbox
        from vllmperf.bucket.uploader import Uploader

        self._record, self._place, self._copy_s = record, place, copy_s
        self._last_s = LAST_S if last_s is None else last_s
        self._clients = Clients()
        self.outbox = Outbox(record.parent / f".{record.stem}.outbox", self._clients)
        self.path = record.with_name(f"{record.stem}.rolling.json")
        self._intervals = _known(self.path)
        self._uploader = Uploader(lambda: [self.outbox], _teller())
        self._copied_at, self._state = time.monotonic(), "interrupted"

    def __enter__(self) -> RollingUploads:
        self._uploader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(self._state)
        self._copy()
        self._uploader.close()
        self.outbox.upload(within_s=self._last_s)
        self._clients.close()

    def __call__(self, interval: Interval) -> None:
        """At the end of each interval."""
        self._intervals.append(interval._asdict())
        self._write("running")
        if time.monotonic() - self._copied_at >= self._copy_s:
            self._copy()
        self._uploader.wake()

    def ended(self, run: Run) -> None:
        """The run is over: exactly what it did, of which an interval may be missing in which the client was killed."""
        self._intervals = run.summary["intervals"] or self._intervals
        self._state = run.recording.state

    def _write(self, state: str) -> None:
        done = sum(one["done"] for one in self._intervals)
        rolling = {"run": self._record.name, "state": state, "written_at": _utc(), "done": done}
        with suppress(UsageError, OSError):  # a full disk ends the run by its own file
            write_whole(self.path, json.dumps({**rolling, "intervals": self._intervals}))
            self._add(self.path)

    def _add(self, path: Path) -> None:
        with suppress(UsageError, OSError):
            self.outbox.add(path, self._place / path.name, replace=True)

    def _copy(self) -> None:
        self._copied_at = time.monotonic()
        with suppress(UsageError, OSError):
            self.outbox.add_snapshot(self._record, self._place / f"{self._record.stem}.rolling.vllmperf")


class Clients:
    """One client of each S3 server for the whole run: boto3 leaves megabytes behind with each new one."""

    def __init__(self) -> None:
        self._kept, self._open = dict[str | None, Any](), ExitStack()

    @contextmanager
    def __call__(self, endpoint: str | None) -> Iterator[Any]:
        from vllmperf.bucket.client import connected

        if endpoint not in self._kept:
            self._kept[endpoint] = self._open.enter_context(connected(endpoint))
        yield self._kept[endpoint]

    def close(self) -> None:
        self._kept.clear()
        self._open.close()


def _known(path: Path) -> list[dict[str, Any]]:
    """Of an earlier part of the run."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["intervals"])
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _teller() -> Callable[[str], None]:
    """Lines for people: what waits and why, and that it went after all; not each upload that went well."""
    has_trouble = False

    def tell(line: str) -> None:
        nonlocal has_trouble
        was_trouble, has_trouble = has_trouble, bool(line) and not line.startswith("uploaded")
        if line and (has_trouble or was_trouble):
            print(f"vllmperf: {line}", file=sys.stderr, flush=True)

    return tell
