"""What the service says of itself: whether it is well, what it is doing, what it takes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from vllmperf.service import exposition
from vllmperf.service.docs_page import docs_page
from vllmperf.service.observed import service_state
from vllmperf.service.runs import queue_of
from vllmperf.service.schema import schema

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def get_health() -> Response:
    """200 as long as the service answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def get_readiness(request: Request) -> Response:
    """200 when it takes runs, 503 when it is stopping; what it is doing now and what comes next."""
    queue = queue_of(request)
    status = "stopping" if queue.is_closing else "ready"
    words = {
        "status": status,
        "now": queue.now_words(),
        "next": queue.next_words(),
        "queued": len(queue.waiting),
    }
    return JSONResponse(words, 503 if queue.is_closing else 200)


@router.get("/metrics")
async def get_metrics(request: Request) -> Response:
    """The series of the service and its runs, for Prometheus."""
    state = await service_state(queue_of(request))
    page, content_type = exposition.page(state, request.headers.get("Accept", ""))
    return Response(page, media_type=content_type)


@router.get("/schema")
async def get_schema(request: Request) -> Response:
    """JSON schemas of a plan's settings by name, and of the payload of /start-load for each profile."""
    return JSONResponse(schema(request.app.state.help_texts))


@router.get("/docs", include_in_schema=False)
async def get_docs(request: Request) -> Response:
    """What /openapi.json says, as a page without scripts."""
    return HTMLResponse(docs_page(request.app.openapi()))
