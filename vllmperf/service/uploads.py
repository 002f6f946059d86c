"""Results on their way to a bucket: what a run has left, under the names that people look for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllmperf.bucket.outbox import Outbox, outboxes
from vllmperf.bucket.place import Place
from vllmperf.bucket.uploader import Uploader
from vllmperf.service.jobs import Job
from vllmperf.service.request import STRESS
from vllmperf.service.store import REPORT, RESULT, RUN, Store

CLOSE_S = 5.0


class Uploads:
    """place: where results go; None: they stay where they are. Its functions wait for the disk. log: takes a line."""

    def __init__(self, store: Store, place: Place | None, log: Callable[[str], None]) -> None:
        self._store, self._place = store, place
        self._uploader = Uploader(self._outboxes, log) if place else None

    def start(self) -> None:
        """What an earlier service could not upload goes first."""
        if self._uploader:
            self._uploader.start()

    def close(self) -> None:
        """What is not uploaded waits for the next start."""
        if self._uploader:
            self._uploader.close(CLOSE_S)

    def wake(self) -> None:
        """A run that goes on may have left something: what its worker may not reach, the service sends."""
        if self._uploader:
            self._uploader.wake()

    def add(self, job: Job) -> None:
        """A run has ended: send what it has left."""
        if self._uploader is None or self._place is None:
            return
        folder = self._store.folder_of(job)
        outbox = Outbox(folder)
        for name, called in _names(job):
            if (folder / name).is_file():
                outbox.add(folder / name, self._place / called)
        self._uploader.wake()

    def of(self, job: Job) -> list[dict[str, Any]]:
        """What was to be sent of a run, and what became of it."""
        return [one.to_dict() for one in Outbox(self._store.folder_of(job)).uploads]

    def pending(self) -> tuple[int, int]:
        """Files that wait, and their bytes."""
        if self._place is None:
            return 0, 0
        waiting = [box.folder / one.path for box in self._outboxes() for one in box.waiting]
        return len(waiting), sum(map(_size, waiting))

    def _outboxes(self) -> list[Outbox]:
        """Of all runs, and those in which stress runs put what they have so far."""
        rolling = [Outbox(path) for path in self._store.runs.glob("*/.*.outbox")]
        return [*outboxes(self._store.runs), *rolling]


def _names(job: Job) -> list[tuple[str, str]]:
    """Files of a run, and what they are called in the bucket: vLLM's name for its result, ours beside it. A stress run has a
    folder there from its first minute on."""
    if job.kind == STRESS:
        return [(name, f"{job.id}/{name}") for name in (RESULT, RUN, REPORT)]
    result = job.result or RESULT
    called = f"{job.id}.json" if result == RESULT else result
    stem = called.removesuffix(".json")
    return [(result, called), (RUN, f"{stem}.vllmperf"), (REPORT, f"{stem}.html")]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
