"""Results on their way to a bucket: what a run has left, under the names that people look for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vllmperf.bucket import journal
from vllmperf.bucket import layout as layouts
from vllmperf.bucket.outbox import Outbox, outboxes
from vllmperf.bucket.place import Place
from vllmperf.bucket.uploader import Uploader
from vllmperf.errors import UsageError
from vllmperf.record.plans import described
from vllmperf.record.reader import header
from vllmperf.service.jobs import Job
from vllmperf.service.request import STRESS
from vllmperf.service.store import OURS, REPORT, RESULT, RUN, Store

CLOSE_S = 5.0
STATES = {journal.WAITING: "pending", journal.UPLOADED: "done", journal.LOST: "failed"}
"""What GET /runs/{id} and the page call them."""
SEVERAL = ("sweep", "search")
"""Folders of runs that have several."""


class Uploads:
    """place: where results go, filed as `layout` says; None: they stay where they are. log: takes a line. Its functions wait for
    the disk."""

    def __init__(
        self, store: Store, place: Place | None, log: Callable[[str], None], layout: str = layouts.FLAT
    ) -> None:
        self._store, self._place, self._layout = store, place, layout
        self._quiet: dict[Path, int] = {}
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
        for name, called in self._names(job, folder):
            if (folder / name).is_file():
                outbox.add(folder / name, self._place / called)
        self._uploader.wake()

    def of(self, job: Job) -> list[dict[str, Any]]:
        """What was to be sent of a run, and what became of it."""
        uploads = Outbox(self._store.folder_of(job)).uploads
        return [{**one.to_dict(), "state": STATES.get(one.state, one.state)} for one in uploads]

    def is_safe(self, job: Job) -> bool:
        """Whether nothing of a run is lost with its folder: the bucket has all of it, or there is none."""
        folder = self._store.folder_of(job)
        boxes = [Outbox(folder), *_rolling(folder)]
        if any(box.waiting for box in boxes):
            return False
        if self._place is None:
            return True
        there = {one.path for one in boxes[0].uploads if one.state == journal.UPLOADED}
        return all(name in there for name, _ in self._names(job, folder) if (folder / name).is_file())

    def pending(self) -> tuple[int, int]:
        """Files that wait, and their bytes."""
        if self._place is None:
            return 0, 0
        waiting = [box.folder / one.path for box in self._outboxes() for one in box.waiting]
        return len(waiting), sum(map(_size, waiting))

    def _outboxes(self) -> list[Outbox]:
        """Of all runs, and those in which stress runs put what they have so far; without those that have nothing to do."""
        rolling = [box for folder in self._store.runs.glob("*") for box in _rolling(folder)]
        return [outbox for outbox in [*outboxes(self._store.runs), *rolling] if self._has_work(outbox)]

    def _has_work(self, outbox: Outbox) -> bool:
        """A journal is read again when it was written anew: a service of months has thousands."""
        try:
            written_at = (outbox.folder / journal.NAME).stat().st_mtime_ns
        except OSError:
            return False
        if self._quiet.get(outbox.folder) == written_at:
            return False
        if outbox.waiting:
            return True
        self._quiet[outbox.folder] = written_at
        return False

    def _names(self, job: Job, folder: Path) -> list[tuple[str, str]]:
        """Files of a run, and what they are called in the bucket: vLLM's name for its result, ours beside it; several runs have a
        folder. A stress run has one there from its first minute on."""
        vllm_json = _vllm_json(folder)
        if job.kind == STRESS and self._layout == layouts.FLAT:
            return [(name, f"{job.id}/{name}") for name in (RESULT, RUN, REPORT, vllm_json) if name]
        result = vllm_json or job.result or RESULT
        called = f"{job.id}.json" if result == RESULT else result
        stem = called.removesuffix(".json")
        below = layouts.folder(self._layout, _facts(job, folder), stem)
        several = (
            path.relative_to(folder) for name in SEVERAL for path in sorted((folder / name).rglob("*"))
        )
        names = [(result, called), (RUN, f"{stem}.vllmperf"), (REPORT, f"{stem}.html")]
        names += [(str(path), str(path)) for path in several if path.suffix != ".part"]
        return [(name, layouts.named(Path(called), below, stem)) for name, called in names]


def _rolling(folder: Path) -> list[Outbox]:
    """In which a stress run puts what it has so far."""
    return [Outbox(path) for path in folder.glob(".*.outbox")]


def _vllm_json(folder: Path) -> str | None:
    """The result under the name that vLLM's script gives."""
    names = sorted(path.name for path in folder.glob("*.json") if path.name not in (*OURS, RESULT))
    return next((name for name in names if not name.endswith((".pytorch.json", ".rolling.json"))), None)


def _facts(job: Job, folder: Path) -> layouts.Facts:
    """Of the run file, which knows a model that nobody named, too."""
    label = {"label": job.label} if job.label else {}
    known: dict[str, Any] = {"model": job.model}
    with suppress(UsageError):
        known = described(header(folder / RUN).meta)
    return layouts.Facts.of({**described({"plan": job.request}), **known, **label})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
