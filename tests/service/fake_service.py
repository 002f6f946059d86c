"""The service's HTTP as the page sees it, in any state that a test wants: a queue that is full, hostile names, a run of hours."""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from vllmperf.service import pages

NOW = datetime.now(UTC)
HEADLINE = {
    "completed": 1000,
    "failed": 0,
    "requests_per_s": 11.9,
    "output_tokens_per_s": 1523.4,
    "ttft_ms_p50": 51.2,
    "ttft_ms_p99": 70.4,
    "itl_ms_p50": 10.1,
    "itl_ms_p99": 14.9,
}
PLAN = {
    "base_url": "http://127.0.0.1:8000",
    "model": "meta-llama/Llama-3.1-405B-Instruct-FP8",
    "request_rate": 12.0,
    "num_prompts": 500_000,
    "dataset_name": "sonnet",
    "input_len": 512,
    "output_len": 128,
}


def setting(kind: str, default: object, about: str, part: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "default": default, "description": about, "title": part, **more}


def payload(profile: str) -> dict[str, Any]:
    known = {
        "host": setting("string", "127.0.0.1", "of the server", ""),
        "port": setting("integer", 8000, "of the server", ""),
        "model": setting("string", None, "as the server names it", ""),
        "num_prompts": setting("integer", 1000, "requests in all", ""),
    }
    own = {"request_id_prefix": setting("string", None, "", "")} if profile == "vllm-2026" else {}
    return {"type": "object", "properties": {**known, **own, "profile": {"enum": [profile]}}}


SCHEMA = {
    "plan": {
        "type": "object",
        "properties": {
            "base_url": setting("string", None, "address of the server", "target"),
            "model": setting("string", None, "as the server names it", "target"),
            "request_rate": setting("number", "inf", "requests per second", "load"),
            "max_concurrency": setting("integer", None, "in flight at most", "load"),
            "num_prompts": setting("integer", 1000, "requests in all", "load"),
            "dataset_name": setting("string", "random", "the prompts", "workload", enum=["random", "sonnet"]),
            "ignore_eos": setting("boolean", False, "answers of full length", "workload"),
            "extra_body": setting("object", {}, "a JSON merge patch", "workload"),
            "stall_timeout": setting("number", 30.0, "without an event, in s", "limits"),
            "api_key": setting("string", None, "bearer token", "target", writeOnly=True),
        },
    },
    "start_load_profile": "vllm-0.6",
    "start_load": {profile: payload(profile) for profile in ("vllm-0.6", "vllm-2026")},
    "examples": {
        "runs": {
            "a sweep": {"kind": "sweep", "sweep": {"axes": {"max_concurrency": [1, 16]}}},
            "a fit": {"kind": "fit", "fit": {"budget": 300}},
            "a search": {"kind": "capacity", "capacity": {"ttft": 500}},
        }
    },
}
HOSTILE_REPORT = (
    '<!doctype html><html><body style="margin:24px"><div class="vllmperf"><style>body{display:none}</style>'
    '<div class="v trusted" onclick="alert(1)"><b>Trusted</b>: no reason to doubt the figures</div>'
    '<table><thead><tr><th>Latency, ms</th><th class="n">p50</th><th class="n">p99</th></tr></thead><tbody>'
    '<tr><td>TTFT</td><td class="n">51.2</td><td class="n">70.4</td></tr></tbody></table>'
    '<svg viewBox="0 0 360 180" width="360" height="180" role="img"><polyline points="40,152 346,26" fill="none" '
    'stroke="#3b82c4" stroke-width="2"/></svg><script>document.title = "owned"</script>'
    '<img src="http://elsewhere.invalid/x.png" onerror="alert(2)"><a href="javascript:alert(3)">click</a></div></body></html>'
)


REPORT = (
    '<!doctype html><html><body style="margin:24px"><div class="vllmperf"><style>.n{text-align:right}</style>'
    '<div class="v trusted"><b>Trusted</b>: no reason to doubt the figures</div><table><thead><tr><th>Latency, ms</th>'
    '<th class="n">p50</th><th class="n">p99</th></tr></thead><tbody><tr><td>TTFT</td><td class="n">51.2</td>'
    '<td class="n">70.4</td></tr></tbody></table></div></body></html>'
)


def at(minutes_ago: float) -> str:
    return (NOW - timedelta(minutes=minutes_ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run(identity: str, **given: Any) -> dict[str, Any]:
    """A finished benchmark, with what is given in its place."""
    return {
        "id": identity,
        "kind": "bench",
        "label": identity,
        "phase": "finished",
        "note": "",
        "created_at": at(60),
        "started_at": at(60),
        "ended_at": at(50),
        "progress": 1.0,
        "time_left_s": None,
        "asked": 1000,
        "done": 1000,
        "verdict": {"level": "trusted", "reasons": []},
        "headline": HEADLINE,
        "spark": [1500 + 60 * math.sin(i / 4) for i in range(60)],
        "error": None,
        "target": "http://127.0.0.1:8000",
        **given,
    }


def row(
    start_s: float, seconds: float = 1.0, chance: random.Random | None = None, **given: Any
) -> dict[str, Any]:
    """An interval like those of a server under 12 requests/s."""
    chance = chance or random.Random(start_s)
    done = round(12 * seconds)
    p50 = 51 + 4 * math.sin(start_s / 900) + chance.gauss(0, 2)
    itl = 10 + chance.gauss(0, 0.2)
    return {
        "start_s": start_s,
        "end_s": start_s + seconds,
        "done": done,
        "completed": done,
        "errors": 0,
        "requests_per_s": 12 + chance.gauss(0, 0.8),
        "output_tokens_per_s": 1523 + 40 * math.sin(start_s / 1200) + chance.gauss(0, 50),
        "ttft_ms_p50": p50,
        "ttft_ms_p99": p50 * 1.35 + abs(chance.gauss(0, 3)),
        "itl_ms_p50": itl,
        "itl_ms_p99": itl * 1.4 + abs(chance.gauss(0, 0.5)),
        "in_flight": round(16 + chance.gauss(0, 2)),
        "schedule_lag_ms_p99": 0.08 + abs(chance.gauss(0, 0.02)),
        "client_lag_ms_p99": 0.2 + abs(chance.gauss(0, 0.05)),
        **given,
    }


def rows(count: int, seconds: float = 1.0) -> list[dict[str, Any]]:
    return [row(i * seconds, seconds) for i in range(count)]


LIVE = run(
    "live", label="eleven hours", phase="running", ended_at=None, progress=0.62, time_left_s=15_120, asked=500_000,
    done=310_000, verdict=None, headline=None, started_at=at(410),
)  # fmt: skip
QUEUED = run(
    "next", phase="queued", started_at=None, ended_at=None, verdict=None, headline=None, done=0, spark=[]
)


class FakeService:
    """What it answers is what its attributes hold. posted and cancelled: what the page asked of it."""

    def __init__(self, token: str | None = None) -> None:
        self.token, self.queue_limit, self.schema = token, 16, SCHEMA
        self.report = REPORT
        self.runs: dict[str, dict[str, Any]] = {}
        self.details: dict[str, dict[str, Any]] = {}
        self.queue: list[str] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.posted: list[tuple[str, dict[str, Any], str | None]] = []
        self.cancelled: list[str] = []
        self.listeners: list[asyncio.Queue[str | None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.compared: dict[str, Any] = {}
        self.app = FastAPI(docs_url=None)
        self.app.include_router(pages.router)
        self._add_routes()

    def add(self, *runs: Mapping[str, Any], **detail: Any) -> None:
        """Newest first, as GET /runs has them. detail: of all of these."""
        for one in runs:
            self.runs[one["id"]] = dict(one)
            self.details[one["id"]] = {
                "request": {"plan": PLAN},
                "intervals": [],
                "files": [],
                "uploads": [],
                **detail,
            }

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Send an event to each page that listens."""
        if event == "run":
            self.runs[data["id"]] = dict(data)
        if event == "interval":
            self.details[data["id"]]["intervals"].append(dict(data))
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._send, f"event: {event}\ndata: {json.dumps(data)}\n\n")

    def _send(self, text: str | None) -> None:
        for each in self.listeners:
            each.put_nowait(text)

    def _add_routes(self) -> None:
        app = self.app

        @app.middleware("http")
        async def guard(request: Request, call_next: Any) -> Response:
            is_open = request.url.path in pages.PATHS or self.token is None
            if not is_open and request.headers.get("authorization") != f"Bearer {self.token}":
                return JSONResponse({"error": "a token is needed", "field": None}, 401)
            answer: Response = await call_next(request)
            return answer

        app.get("/runs")(self._listed)
        app.get("/schema")(lambda: self.schema)
        app.get("/compare")(lambda: self.compared)
        app.get("/runs/{identity}/report.html")(lambda: HTMLResponse(self.report))
        app.get("/events")(lambda: StreamingResponse(self._events(), media_type="text/event-stream"))
        app.get("/runs/{identity}")(self._one)
        app.delete("/runs/{identity}")(self._cancel)
        app.post("/{path:path}")(self._post)

    def _listed(self, limit: int = 100, before: str | None = None) -> dict[str, Any]:
        ids = list(self.runs)
        left = ids if before is None else ids[ids.index(before) + 1 :]
        shown = left[:limit]
        return {
            "runs": [self.runs[one] for one in shown],
            "next": shown[-1] if len(left) > limit else None,
            "total": len(ids),
            "queue": self.queue,
            "queue_limit": self.queue_limit,
        }

    def _one(self, identity: str) -> Response:
        if identity not in self.runs:
            return JSONResponse({"error": f"no run {identity}", "field": None}, 404)
        return JSONResponse({**self.runs[identity], **self.details[identity]})

    def _cancel(self, identity: str) -> dict[str, Any]:
        self.cancelled.append(identity)
        ended = {**self.runs[identity], "phase": "cancelled", "time_left_s": None, "ended_at": at(0)}
        self.queue = [one for one in self.queue if one != identity]
        self.tell("run", ended)
        return ended

    async def _post(self, path: str, request: Request) -> Response:
        body = await request.json()
        self.posted.append((path, body, request.headers.get("idempotency-key")))
        if self.refusal is not None:
            return JSONResponse(self.refusal[1], self.refusal[0])
        started = run(
            "started",
            label=body.get("label"),
            phase="waiting",
            ended_at=None,
            verdict=None,
            headline=None,
            spark=[],
        )
        self.add(started)
        return JSONResponse(started, 202)

    async def _events(self) -> AsyncIterator[str]:
        mine: asyncio.Queue[str | None] = asyncio.Queue()
        self.listeners.append(mine)
        try:
            yield ": here\n\n"
            while (text := await mine.get()) is not None:
                yield text
        finally:
            self.listeners.remove(mine)

    @contextmanager
    def served(self, port: int = 0) -> Iterator[str]:
        """Its address while it runs."""
        config = uvicorn.Config(
            self.app, host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        started = threading.Event()

        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            self.loop.call_soon(started.set)
            await server.serve()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        started.wait(60)
        while not server.started and thread.is_alive():
            threading.Event().wait(0.02)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self._send, None)
            server.should_exit = True
            thread.join(20)


def full(service: FakeService) -> FakeService:
    """A run, a queue, and a past."""
    service.add(LIVE, intervals=rows(300))
    service.add(QUEUED)
    service.queue = ["next"]
    files = [{"name": "report.html", "bytes": 2000, "url": "/runs/done/report.html"}]
    service.add(run("done"), files=files, intervals=rows(100))
    service.add(run("other", label="x" * 200), intervals=rows(100))
    service.add(run("broken", phase="failed", error="no answer within 30 min", verdict=None, headline=None))
    change = {
        "a": 70.4,
        "b": 98.2,
        "change": 0.39,
        "change_ci95": [0.2, 0.6],
        "p": 0.001,
        "beyond_chance": True,
    }
    service.compared = {"a": {}, "b": {}, "figures": {"p99_ttft_ms": change}, "paired": True}
    return service
