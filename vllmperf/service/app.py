"""The service as FastAPI sees it: routers, and what is the same for every answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vllmperf.errors import VllmperfError
from vllmperf.service import about, pages, results, runs
from vllmperf.service.errors import RefusedError, refusal
from vllmperf.service.guard.middleware import install
from vllmperf.service.queue import Queue
from vllmperf.service.specs import Spec, queue_specs
from vllmperf.version import __version__

TIDY_EVERY_S = 10.0
ABOUT = (
    "Runs of vllmperf over HTTP: POST /start-load takes the payload of the vllm-inference-benchmark chart (flags of "
    "benchmark_serving.py), POST /runs any plan, sweep, fit or search for capacity."
)


def create_app(
    queue: Queue, specs: list[Spec] | None = None, help_texts: dict[str, str] | None = None
) -> FastAPI:
    """The service. specs: runs that are queued at the start. help_texts: of the settings of a plan, by name."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await queue.load()
        await queue_specs(queue, specs or [])
        queue.start()
        tidier = asyncio.create_task(_keep_tidy(queue))
        yield
        tidier.cancel()
        await queue.close()
        await queue.shut_down()

    app = FastAPI(
        title="vllmperf serve",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.queue, app.state.help_texts = queue, help_texts or {}
    install(app, queue.settings.whole_guard, pages.PATHS)
    for router in (runs.router, results.router, about.router, pages.router):
        app.include_router(router)
    app.add_exception_handler(RefusedError, _refused)  # type: ignore[arg-type]
    app.add_exception_handler(VllmperfError, _wrong)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _no_route)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _unfit)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _broken)
    return app


async def _keep_tidy(queue: Queue) -> None:
    while True:
        with suppress(OSError):  # a disk that fails: the next time, perhaps
            await queue.tidy()
        await asyncio.sleep(TIDY_EVERY_S)


async def _refused(_: Request, error: RefusedError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, error.headers)


async def _wrong(_: Request, error: VllmperfError) -> JSONResponse:
    return await _refused(_, refusal(error))


async def _unfit(_: Request, error: RequestValidationError) -> JSONResponse:
    """A part of the address that FastAPI checks itself."""
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return JSONResponse({"error": f"{field}: {first['msg']}", "field": field}, 400)


async def _no_route(request: Request, error: HTTPException) -> JSONResponse:
    path = " ".join(request.url.path.split())
    known = {404: f"there is nothing at {path}: GET /docs lists what there is",
             405: f"{path} does not take {request.method}: GET /docs says what it takes"}  # fmt: skip
    message = known.get(error.status_code, str(error.detail))
    return JSONResponse({"error": message, "field": None}, error.status_code, error.headers)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    message = f"{request.method} {request.url.path} failed ({type(error).__name__}): the log of the service has more"
    return JSONResponse({"error": message, "field": None}, 500)
