"""The page at /: its files as they are in page/, its scripts joined to one, with strict headers and an ETag."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from vllmperf.report.html import STYLE

FOLDER = Path(__file__).parent / "page"
SCRIPTS = (
    "format",
    "dom",
    "wire",
    "state",
    "health",
    "chart",
    "card",
    "runs",
    "run",
    "compare",
    "form",
    "main",
)
"""In this order they are app.js: one module, and one request. The last one starts the page."""

PATHS = ("/", "/app.css", "/report.css", "/app.js", "/favicon.svg")
"""They hold nothing of a run, and the page itself asks for the token: they are served without one."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types report"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
    "Cache-Control": "no-cache",  # asks each time, and gets 304 until vllmperf changes
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    zipped: bytes
    etag: str
    media_type: str

    @classmethod
    def of(cls, content: bytes, kind: str) -> Asset:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, gzip.compress(content, 9, mtime=0), etag, f"{kind}; charset=utf-8")


@cache
def asset(path: str) -> Asset:
    """What stands at one of PATHS."""
    if path == "/app.js":
        parts = [(FOLDER / f"{name}.js").read_bytes() for name in SCRIPTS]
        return Asset.of(b"\n".join(parts), "text/javascript")
    if path == "/report.css":  # a report within the page looks as it does by itself
        return Asset.of(STYLE.encode(), "text/css")
    name = "index.html" if path == "/" else path.removeprefix("/")
    kind = {".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}[Path(name).suffix]
    return Asset.of((FOLDER / name).read_bytes(), kind)


def answer(request: Request) -> Response:
    found = asset(request.url.path.removeprefix(request.scope.get("root_path", "")) or "/")
    headers = {**HEADERS, "ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(found.content, headers=headers, media_type=found.media_type)
    return Response(
        found.zipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type
    )


for place in PATHS:
    router.add_api_route(place, answer, methods=["GET", "HEAD"])
