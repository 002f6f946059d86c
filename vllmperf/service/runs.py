"""Start, list, follow and cancel runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from vllmperf.exit_codes import TARGET, USAGE
from vllmperf.service import examples
from vllmperf.service.errors import RefusedError
from vllmperf.service.events import of_all, of_run
from vllmperf.service.guard.body import parsed
from vllmperf.service.guard.request import asked_for
from vllmperf.service.jobs import Job
from vllmperf.service.queue import Queue, digest_of
from vllmperf.service.request import Request as Asked
from vllmperf.service.request import request_of, start_load

router = APIRouter(tags=["runs"])
KEY = "Idempotency-Key"
MOST_KEY = 200


def queue_of(request: Request) -> Queue:
    queue: Queue = request.app.state.queue
    return queue


def job_of(request: Request, run_id: str) -> Job:
    """The run of a path. Raises RefusedError when there is none."""
    job = queue_of(request).jobs.get(run_id)
    if job is None:
        raise RefusedError(404, f"there is no run {run_id[:80]}: GET /runs lists them")
    return job


# ---- start ----


@router.post("/start-load", status_code=202, openapi_extra=examples.START_LOAD)
async def post_start_load(request: Request, wait: bool = False) -> Response:
    """Start vLLM's benchmark client with these flags. With ?wait=true the answer is the result, when the run ended."""
    body = await _json(request)
    job, is_new = await _queued(request, body, start_load)
    if not wait:
        return _answer(job, is_new)
    await queue_of(request).ended(job)
    return await _result(request, job)


@router.post("/runs", status_code=202, openapi_extra=examples.RUNS)
async def post_run(request: Request) -> Response:
    """Start a run: a plan, a sweep, a fit or a search for capacity."""
    body = await _json(request)
    return _answer(*await _queued(request, body, request_of))


async def _json(request: Request) -> Any:
    return parsed(await request.body(), queue_of(request).settings.whole_guard.limits)


async def _queued(request: Request, body: Any, read: Callable[[Any], Asked]) -> tuple[Job, bool]:
    """The run, and whether it is a new one."""
    queue, key = queue_of(request), request.headers.get(KEY)
    asked = await asyncio.to_thread(asked_for, body, read, queue.settings.whole_guard)
    if key is not None and not 0 < len(key) <= MOST_KEY:
        raise RefusedError(400, f"{KEY} must have 1 to {MOST_KEY} characters", KEY)
    digest = digest_of(request.url.path, [asked.kind, asked.label, asked.content])
    before = queue.known(key, digest)
    if before is None:
        return await queue.add(asked, key, digest), True
    await queue.supply(before, asked.secrets)
    return before, False


def _answer(job: Job, is_new: bool) -> Response:
    return JSONResponse(job.view(), 202 if is_new else 200, {"Location": f"/runs/{job.id}"})


async def _result(request: Request, job: Job) -> Response:
    """The result of a run that has ended, or why there is none."""
    queue = queue_of(request)
    path = await queue.on_disk(queue.store.file, job, job.result) if job.result else None
    headers = {"Location": f"/runs/{job.id}"}
    if path is not None:
        return FileResponse(path, media_type="application/json", headers=headers)
    status = {USAGE: 400, TARGET: 502}.get(job.exit_code or 0, 500)
    message = job.error or f"run {job.id} was {job.phase} before it had a result"
    return JSONResponse({"error": message, "field": None}, status, headers)


# ---- look ----


LIMIT = Query(ge=1, le=1000, description="So many runs at most, 1 to 1000.")
BEFORE = Query(description="A run: those older than it. `next` of an answer is that of the next page.")


@router.get("/runs", openapi_extra=examples.LIST)
async def get_runs(
    request: Request, limit: Annotated[int, LIMIT] = 100, before: Annotated[str | None, BEFORE] = None
) -> Response:
    """Runs, newest first, a page at a time; how many there are, which run now, and the queue."""
    queue = queue_of(request)
    if before is not None and before not in queue.jobs:
        raise RefusedError(
            400, f"before: there is no run {before[:80]}: begin with GET /runs again", "before"
        )
    found = queue.newest_first(None if before is None else queue.jobs[before])
    shown = found[:limit]
    page = {
        "runs": [job.view() for job in shown],
        "next": shown[-1].id if len(found) > limit else None,
        "total": len(queue.jobs),
        "active": [job.id for job in queue.active],
        "queue": [job.id for job in queue.waiting],
        "queue_limit": queue.settings.queue_limit,
    }
    return JSONResponse(page)


@router.get("/runs/{run_id}")
async def get_run(request: Request, run_id: str) -> Response:
    """One run: phase, progress, figures of its whole time (of long runs in longer rows the older they are), files."""
    job, queue = job_of(request, run_id), queue_of(request)
    rows = list(job.intervals or await queue.on_disk(queue.store.intervals, job))
    files = await queue.on_disk(queue.store.files, job)
    uploads = await queue.on_disk(queue.uploads.of, job)
    more = {"request": job.request, "intervals": rows, "files": files, "uploads": uploads}
    return JSONResponse({**job.view(), **more})


@router.get("/runs/{run_id}/events")
async def get_events(request: Request, run_id: str) -> Response:
    """Server-sent events of one run until it ends: `run` (as in GET /runs) and `interval`, a row each second."""
    return _stream(of_run(queue_of(request).feed, job_of(request, run_id)))


@router.get("/events")
async def get_all_events(request: Request) -> Response:
    """Server-sent events of all runs; `id` in the data says of which."""
    return _stream(of_all(queue_of(request).feed))


def _stream(events: Any) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


# ---- end ----


@router.delete("/runs/{run_id}")
async def delete_run(request: Request, run_id: str) -> Response:
    """Cancel a run. One in the queue leaves it; one that goes on sends no more and keeps what came; asked twice, it cuts what is
    in flight."""
    job = job_of(request, run_id)
    if job.has_ended and not job.goes_on:
        raise RefusedError(409, f"run {job.id} has ended ({job.phase}): there is nothing to cancel")
    await queue_of(request).cancel(job)
    return JSONResponse(job.view(), 202)
