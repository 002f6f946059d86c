"""What a run has left: its result, report, run file, other files; and two runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from vllmperf import api
from vllmperf.service.errors import RefusedError
from vllmperf.service.jobs import Job
from vllmperf.service.runs import job_of, queue_of
from vllmperf.service.store import REPORT, RESULT, RUN

router = APIRouter(tags=["results"])
TYPES = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


@router.get("/runs/{run_id}/result")
async def get_result(request: Request, run_id: str) -> Response:
    """The figures: vLLM's JSON of /start-load, else the summary or what a sweep, fit or search has found."""
    job = job_of(request, run_id)
    return await _file(request, job, job.result or RESULT)


@router.get("/runs/{run_id}/report.html")
async def get_report(request: Request, run_id: str) -> Response:
    """The report as a page that loads nothing."""
    return await _file(request, job_of(request, run_id), REPORT)


@router.get("/runs/{run_id}/run")
async def get_run_file(request: Request, run_id: str) -> Response:
    """The run file: vllmperf report, compare, explain and check read it."""
    job = job_of(request, run_id)
    return await _file(request, job, RUN, f"{job.id}.vllmperf")


@router.get("/runs/{run_id}/files/{name:path}")
async def get_file(request: Request, run_id: str, name: str) -> Response:
    """A file that GET /runs/{run_id} lists."""
    return await _file(request, job_of(request, run_id), name)


async def _file(request: Request, job: Job, name: str, save_as: str | None = None) -> Response:
    queue = queue_of(request)
    path = await queue.on_disk(queue.store.file, job, name)
    if path is None:
        why = "it has not left one" if job.has_ended else f"it is {job.phase}: come again when it has ended"
        raise RefusedError(404, f"run {job.id} has no {name}: {why}")
    return FileResponse(path, media_type=TYPES.get(path.suffix, "application/octet-stream"), filename=save_as)


# ---- two runs ----


@router.get("/compare")
async def get_comparison(request: Request, a: str, b: str) -> Response:
    """The figures of two runs, and what of the change is beyond chance."""
    first, second = _run_files(request, a, b)
    return Response(await queue_of(request).beside(_compared, first, second), media_type="application/json")


@router.get("/compare.html")
async def get_comparison_page(request: Request, a: str, b: str) -> Response:
    """The same as a page that loads nothing."""
    first, second = _run_files(request, a, b)
    return HTMLResponse(await queue_of(request).beside(_comparison_page, first, second))


def _run_files(request: Request, *ids: str) -> list[Path]:
    queue = queue_of(request)
    return [queue.store.folder_of(job_of(request, run_id)) / RUN for run_id in ids]


def _compared(first: Path, second: Path) -> str:
    return json.dumps(api.compare(first, second).to_dict())


def _comparison_page(first: Path, second: Path) -> str:
    from vllmperf.report import compare, html

    return html.page(compare.fragment(api.compare(first, second)), "vllmperf: two runs")
