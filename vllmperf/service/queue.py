"""The queue: which runs wait, which are carried out, and what becomes of them when they end or the service does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from vllmperf.bucket.place import Place
from vllmperf.errors import VllmperfError
from vllmperf.exit_codes import FAILED as ENDED_BADLY
from vllmperf.exit_codes import INTERRUPTED as ENDED_EARLY
from vllmperf.exit_codes import OK
from vllmperf.service.errors import RefusedError
from vllmperf.service.events import Feed
from vllmperf.service.guard.cell import cell_of
from vllmperf.service.guard.settings import Guard
from vllmperf.service.jobs import CANCELLED, FAILED, FINISHED, INTERRUPTED, QUEUED, RUNNING, WAITING, Job, now
from vllmperf.service.keeping import Keep
from vllmperf.service.process import Process
from vllmperf.service.request import BEGIN_AGAIN, LOST, START_LOAD, STRESS, Request, lacks_secret
from vllmperf.service.store import Store, new_id
from vllmperf.service.uploads import Uploads

RETRY_S = 30
"""When to come again, where nobody knows how long the present run will take."""
MOST_RETRY_S = 3600
MOST_STARTS_IN_VAIN = 3
"""A run that was resumed so often without one more request is not begun again: it may be what kills the service."""
NO_RESUME = (START_LOAD,)
"""Kinds whose client cannot go on with a run: they are marked as interrupted, with what came."""

LOOK_S = 0.5
SAVE_EVERY_S = 5.0
"""How old the figures of a run may be after the service was killed."""

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """queue_limit: runs that may wait. parallel: runs at once. ready_timeout_s: how long a target may take to answer.
    bucket: where results go when their run has ended, filed as `layout` says. keep: which runs are not removed."""

    data: Path
    queue_limit: int = 20
    parallel: int = 1
    ready_timeout_s: float = 3600.0
    guard: Guard | None = None
    bucket: Place | None = None
    layout: str = "flat"
    keep: Keep = field(default_factory=Keep)

    @property
    def whole_guard(self) -> Guard:
        """The guard, that of a service of this machine alone where none is given."""
        return self.guard or Guard(self.data)


class Queue:
    """All runs of the data folder. Of the event loop: nobody else may call.

    log: takes a line for people.
    """

    def __init__(self, settings: Settings, store: Store, log: Callable[[str], None] | None = None) -> None:
        self.settings, self.store, self.feed = settings, store, Feed()
        self.jobs: dict[str, Job] = {}
        self.spent: set[str] = set()
        self.is_closing = False
        self._log = log or _to_stderr
        self.uploads = Uploads(store, settings.bucket, self._log, settings.layout)
        self._waiting: list[Job] = []
        self._running: dict[str, Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: dict[str, asyncio.Event] = {}
        self._saved_at: dict[str, float] = {}
        self._disk = ThreadPoolExecutor(1, "vllmperf-disk")  # one thread: states are written in their order
        self._hard_work = ThreadPoolExecutor(1, "vllmperf-work")

    # ---- looking ----

    @property
    def waiting(self) -> list[Job]:
        return list(self._waiting)

    @property
    def active(self) -> list[Job]:
        return [self.jobs[run_id] for run_id in self._running]

    def newest_first(self, before: Job | None = None) -> list[Job]:
        """All runs, or those older than one of them."""
        found = sorted(self.jobs.values(), key=lambda job: (job.created_at, job.id), reverse=True)
        return found if before is None else found[found.index(before) + 1 :]

    async def on_disk(self, do: Callable[..., T], *args: Any) -> T:
        """Call a function that waits for the disk, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, do, *args)

    async def beside(self, do: Callable[..., T], *args: Any) -> T:
        """Call a function that computes for long, beside the event loop; one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._hard_work, do, *args)

    async def ended(self, job: Job) -> None:
        """Wait for the end of a run."""
        if not job.has_ended:
            await self._ends.setdefault(job.id, asyncio.Event()).wait()

    # ---- adding ----

    def known(self, key: str | None, digest: str) -> Job | None:
        """The run that this idempotency key has made. Raises RefusedError when it was made by another body."""
        before = next((job for job in self.jobs.values() if key and job.key == key), None)
        if before is not None and before.digest != digest:
            raise RefusedError(
                409, f"this Idempotency-Key was used for another request, run {before.id}: take a new one"
            )
        return before

    async def add(
        self, request: Request, key: str | None = None, digest: str = "", *, is_limited: bool = True
    ) -> Job:
        """Queue a run; it is on disk when this returns. is_limited: the queue may be full, which raises RefusedError."""
        if self.is_closing:
            raise RefusedError(
                503, "the service is stopping: send the run to the next one", retry_after_s=RETRY_S
            )
        if is_limited and len(self._waiting) >= self.settings.queue_limit:
            raise RefusedError(
                429,
                f"the queue is full ({self.settings.queue_limit} runs wait): come again later, or DELETE one",
                retry_after_s=self._retry_s(),
            )
        job = Job(
            self._new_id(),
            request.kind,
            request.content,
            now(),
            label=request.label,
            target=request.target,
            asked=request.asked,
            duration_s=request.duration_s,
            model=request.model,
            key=key,
            digest=digest,
            secrets=request.secrets,
        )
        self.jobs[job.id] = job
        self._waiting.append(job)  # before the first await: the limit holds for requests at the same time
        await self.on_disk(self.store.add, job)
        self._log(f"queued {job.what()}")
        self._tell(job)
        self._fill()
        return job

    async def supply(self, job: Job, secrets: Mapping[str, Any]) -> None:
        """The secrets of a run, from who sent it before: it goes on if it waits for them."""
        if not lacks_secret(job.request, job.secrets):
            return
        job.secrets = secrets
        if job.goes_on:
            self._wait_in_queue(job)
            await self._save(job)
            self._tell(job)
            self._fill()

    def _new_id(self) -> str:
        while (found := new_id()) in self.jobs:
            pass
        return found

    def _retry_s(self) -> int:
        left = [job.time_left_s for job in self.active if job.time_left_s]
        return min(MOST_RETRY_S, max(1, math.ceil(min(left)))) if left else RETRY_S

    async def cancel(self, job: Job) -> None:
        """Take a run out of the queue, or end it: the first time gently, the second time at once."""
        if job in self._waiting:
            self._waiting.remove(job)
            job.is_cancelled = True
            await self._end(job, CANCELLED, "taken out of the queue")
        elif job.id in self._running:
            job.is_cancelled = True
            job.note = "cancelled: what is in flight may end"
            self._running[job.id].interrupt()
            await self._save(job)
            self._tell(job)
        elif job.goes_on:
            job.resumes = False
            await self._end(job, CANCELLED, "it would have gone on")

    # ---- carrying out ----

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.settings.parallel and not self.is_closing:
            job = self._waiting.pop(0)
            self._running[job.id] = Process(self.store.folder, self.store.folder_of(job))
            task = asyncio.create_task(self._carried_out(job, self._running[job.id]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carried_out(self, job: Job, process: Process) -> None:
        """A run from its start to its end, whatever happens: the next one must not wait for it."""
        try:
            phase, note = await self._carry_out(job, process)
        except Exception as error:  # such as a disk that is full
            phase, note, job.resumes, job.error = FAILED, "", False, f"the service failed: {error}"
        del self._running[job.id]
        try:
            await self._end(job, phase, note)
        except VllmperfError as error:
            self._log(f"{job.id}: {error}")
        self._fill()

    async def _carry_out(self, job: Job, process: Process) -> tuple[str, str]:
        """Phase and note of the run at its end."""
        became = await self._of_predecessor(job) if job.starts else None
        if became is None and lacks_secret(job.request, job.secrets):
            job.resumes = True
            became = INTERRUPTED, f"waits: {LOST}"
        if became is None:
            job.started_at = job.started_at or now()
            job.phase, job.note, job.error, job.exit_code = RUNNING, "", None, None
            job.starts, job.resumes = job.starts + 1, job.kind not in NO_RESUME
            await self._save(job)
            self._log(f"{'resumed' if job.starts > 1 else 'started'} {job.what()}; next: {self.next_words()}")
            became = self._became(job, await self._code_of(job, process))
        return became

    async def _code_of(self, job: Job, process: Process) -> int:
        """Let a worker do it; gives its exit code."""
        said = {
            "secrets": job.secrets,
            "ready_timeout_s": self.settings.ready_timeout_s,
            "cell": cell_of(self.settings.whole_guard),
        }
        try:
            return await process.run(json.dumps(said), lambda event: self._take(job, event))
        except OSError as error:
            job.error = f"the worker could not be started: {error}"
            return ENDED_BADLY

    async def _of_predecessor(self, job: Job) -> tuple[str, str] | None:
        """What became of a run that a service before this one has begun; None: it goes on. Waits for its worker there."""
        job.phase, job.note = WAITING, "the worker of the service before this one is ending"
        self._tell(job)
        while await self.on_disk(self.store.has_worker, job):
            if self.is_closing:
                return INTERRUPTED, job.note
            await asyncio.sleep(LOOK_S)
        if job.kind not in BEGIN_AGAIN:
            job.intervals = await self.on_disk(self.store.intervals, job)
        end = await self.on_disk(self.store.last_words, job)
        if end is not None:
            job.take(end)
        is_resumed, job.resumes = job.resumes, False
        if job.is_cancelled:
            return CANCELLED, "cancelled; what came is kept"
        if end is not None and job.exit_code != ENDED_EARLY:
            return (FINISHED if job.exit_code == OK else FAILED), ""
        if not is_resumed:
            return INTERRUPTED, "the service ended during the run; what came is kept"
        if job.starts >= MOST_STARTS_IN_VAIN and not job.done:
            return INTERRUPTED, f"the service ended {job.starts} times before a request was done"
        return None

    def _take(self, job: Job, event: Mapping[str, Any]) -> None:
        before = job.phase, job.note
        job.take(event)
        if event.get("event") == "interval":
            self.feed.tell((job.id, "interval", job.intervals[-1]))
        if (job.phase, job.note) != before and job.note:
            self._log(f"{job.id}: {job.note}")
        if event.get("event") in ("interval", "phase"):
            self._tell(job)
        if time.monotonic() >= self._saved_at.get(job.id, 0.0) + SAVE_EVERY_S:
            self._saved_at[job.id] = time.monotonic()
            self._disk.submit(self.store.save, job.id, job.state())
            if job.kind == STRESS:
                self.uploads.wake()

    def _became(self, job: Job, code: int) -> tuple[str, str]:
        """Phase and note of a run whose worker has ended."""
        if job.is_cancelled:
            job.resumes = False
            return CANCELLED, "cancelled; what came is kept"
        is_early = code in (ENDED_EARLY, -signal.SIGINT)  # the latter before it could listen to signals
        if self.is_closing and (is_early or code == -signal.SIGKILL):
            return (
                INTERRUPTED,
                "goes on when the service starts again" if job.resumes else "the service was stopped",
            )
        if job.exit_code is None:
            job.resumes = False
            job.error = (
                job.error or f"the worker died ({_death(code)}); log.txt of the run has its last words"
            )
            return FAILED, ""
        job.resumes = False
        if is_early:
            return INTERRUPTED, "somebody interrupted the worker"
        return (FINISHED if code == OK else FAILED), ""

    async def _end(self, job: Job, phase: str, note: str) -> None:
        job.phase, job.note, job.ended_at, job.time_left_s = phase, note, now(), None
        if phase == FINISHED:
            job.progress = 1.0
        self._log(f"{phase} {job.what()}{f': {job.error}' if job.error else ''}")
        try:
            await self._save(job)
            if not job.resumes:
                await self.on_disk(self.uploads.add, job)
        finally:
            self._tell(job)
            if job.id in self._ends:
                self._ends.pop(job.id).set()

    async def _save(self, job: Job) -> None:
        await self.on_disk(self.store.save, job.id, job.state())

    def _tell(self, job: Job) -> None:
        self.feed.tell((job.id, "run", job.view()))

    # ---- the service's start and end ----

    async def load(self) -> None:
        """Take over what an earlier service has left: what it was at goes on first, then the queue."""
        jobs, self.spent = await self.on_disk(self.store.load), await self.on_disk(self.store.spent)
        self.jobs = {job.id: job for job in jobs}
        left = [job for job in jobs if not job.has_ended or job.goes_on]
        for job in sorted(left, key=lambda job: not job.starts):
            self._wait_in_queue(job)
            await self._save(job)
        if self._waiting:
            self._log(f"{len(self._waiting)} runs of the service before this one; next: {self.next_words()}")

    def _wait_in_queue(self, job: Job) -> None:
        job.phase, job.ended_at = QUEUED, None
        job.note = "goes on where it was interrupted" if job.starts else ""
        self._waiting.append(job)

    def start(self) -> None:
        """Begin with what waits."""
        self.uploads.start()
        self._fill()

    async def tidy(self) -> None:
        """Remove runs that need not be kept, once the bucket has what they left."""
        for job in self.settings.keep.surplus(self.newest_first()):
            if await self.on_disk(self.uploads.is_safe, job):
                await self.on_disk(self.store.remove, job)
                self.spent.add(job.key or "")
                del self.jobs[job.id]
                self._log(f"removed {job.what()}")

    async def close(self) -> None:
        """End what runs, gently, and keep the queue for the next service. It can be looked at on."""
        self.is_closing = True
        for process in self._running.values():
            process.interrupt()
        if self._running:
            self._log(f"stopping: {', '.join(job.what() for job in self.active)} may end what is in flight")
        for process in tuple(self._running.values()):
            process.limit_end()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.feed.close()

    async def shut_down(self) -> None:
        """After close(), when nobody asks any more."""
        await self.on_disk(self.uploads.close)
        self._disk.shutdown()
        self._hard_work.shutdown(wait=False, cancel_futures=True)

    def cut(self) -> None:
        """End what runs at once."""
        for process in self._running.values():
            process.interrupt()

    # ---- words ----

    def now_words(self) -> str:
        return "; ".join(f"{job.phase} {job.what()}{_said(job.note)}" for job in self.active) or "nothing"

    def next_words(self) -> str:
        return self._waiting[0].what() if self._waiting else "nothing"


def _said(note: str) -> str:
    return f": {note}" if note else ""


def _death(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _to_stderr(line: str) -> None:
    plain = "".join(letter if letter.isprintable() else " " for letter in line)  # a server may have said it
    print(f"{datetime.now():%H:%M:%S} {plain}", file=sys.stderr, flush=True)


def digest_of(path: str, body: Any) -> str:
    """Tells requests with the same idempotency key apart. A body is the same in whatever order its keys stand."""
    return hashlib.sha256(f"{path}\n{json.dumps(body, sort_keys=True)}".encode()).hexdigest()
