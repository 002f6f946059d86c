"""The data folder: a folder for each run, and a lock that keeps a second service away."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vllmperf.bucket.journal import NAME as JOURNAL
from vllmperf.errors import UsageError
from vllmperf.service.jobs import Job
from vllmperf.service.rows import INTERVALS, Rows, rows_of
from vllmperf.whole_file import write_whole

RUNS, LOCK = "runs", ".vllmperf-service.lock"
JOB, STATE, LOG = "job.json", "state.json", "log.txt"
RUN, RESULT, REPORT = "run.vllmperf", "result.json", "report.html"
SPENT, GONE = ".vllmperf-service.specs", ".removed-"
WORKER_LOCK, END = "worker.lock", "end.json"
OURS = (JOB, STATE, INTERVALS, WORKER_LOCK, END, JOURNAL)
"""Files of a run that are not its result."""
MOST_FILES = 500


class Store:
    """The runs on disk. Its functions wait for the disk: the event loop must not call them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / RUNS

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this service alone. Raises UsageError when another one has it, or it cannot be written."""
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"--data {self.folder}: {error.strerror}; give a folder that can be written"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise UsageError(
                    f"--data {self.folder}: another vllmperf serve works there (process {lock.read().strip() or '?'}); "
                    "give this one a folder of its own"
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def folder_of(self, job: Job) -> Path:
        return self.runs / job.id

    def add(self, job: Job) -> None:
        """Write a new job down, its state first: a folder with job.json is whole."""
        folder = self.folder_of(job)
        folder.mkdir()
        self.save(job.id, job.state())
        write_whole(folder / JOB, json.dumps(job.asked_for(), indent=1) + "\n")

    def save(self, run_id: str, state: Mapping[str, Any]) -> None:
        write_whole(self.runs / run_id / STATE, json.dumps(state) + "\n")

    def load(self) -> list[Job]:
        """All jobs, oldest first. What is no job is left alone."""
        for rest in self.runs.glob(f"{GONE}*"):  # of a service that was killed while it removed one
            shutil.rmtree(rest, ignore_errors=True)
        found = []
        for path in self.runs.glob(f"*/{JOB}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                state = json.loads((path.parent / STATE).read_text(encoding="utf-8"))
                job = Job.saved(json.loads(path.read_text(encoding="utf-8")), state)
                if job.id == path.parent.name:
                    found.append(job)
        return sorted(found, key=lambda job: (job.created_at, job.id))

    def remove(self, job: Job) -> None:
        """All that a run has left, at once as far as load() sees. Of one of a values file its key stays known."""
        if job.is_of_specs:
            with (self.folder / SPENT).open("a", encoding="utf-8") as file:
                file.write(f"{job.key}\n")
        gone = self.runs / f"{GONE}{job.id}"
        self.folder_of(job).rename(gone)
        shutil.rmtree(gone)

    def spent(self) -> set[str]:
        """Keys of runs of values files that were removed."""
        with contextlib.suppress(OSError):
            return set((self.folder / SPENT).read_text(encoding="utf-8").splitlines())
        return set()

    def intervals(self, job: Job) -> Rows:
        """The rows of a run that this service has not seen, or not from its start on."""
        return Rows(rows_of(self.folder_of(job)))

    def has_worker(self, job: Job) -> bool:
        """Whether a worker is at the run."""
        with (self.folder_of(job) / WORKER_LOCK).open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def last_words(self, job: Job) -> dict[str, Any] | None:
        """How the last worker of a run ended; None when it was killed."""
        try:
            found = json.loads((self.folder_of(job) / END).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def files(self, job: Job) -> list[dict[str, Any]]:
        """What a run has left, by name."""
        folder = self.folder_of(job)
        found = []
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if (
                path.is_file()
                and not path.is_symlink()
                and name not in OURS
                and not any(part.startswith(".") for part in name.split("/"))
            ):
                url = f"/runs/{job.id}/files/{name}"
                found.append({"name": name, "bytes": path.stat().st_size, "url": url})
        return found[:MOST_FILES]

    def file(self, job: Job, name: str) -> Path | None:
        """The path of a file of files(); None for others."""
        known = any(each["name"] == name for each in self.files(job))
        return self.folder_of(job) / name if known else None


def new_id() -> str:
    """Like 20261201-101500-3f9a."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
