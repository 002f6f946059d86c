"""The ASGI middleware of the service: it lets requests in or says why not."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from vllmperf.service.errors import RefusedError
from vllmperf.service.guard.settings import TOKEN, Guard

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Probes have no token; what the API looks like is no secret."""
READS = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""Of every answer that has none of its own: a report or a file of a run is text that others wrote, and runs no script."""
DRAINED_BYTES, DRAIN_S = 32 << 20, 3.0
"""Of a body that is refused: read and thrown away, so that who sends it gets to read the answer."""


def install(app: Any, guard: Guard, public: Collection[str] = ()) -> None:
    """Put the middleware around an application of Starlette. public: further paths that need no token."""
    app.add_middleware(AccessMiddleware, guard=guard, public=public)


class AccessMiddleware:
    """See install()."""

    def __init__(self, app: App, guard: Guard, public: Collection[str] = ()) -> None:
        self._app, self._guard = app, guard
        self._open = OPEN | frozenset(public)
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._take(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
            if scope["method"] not in READS:
                receive = _again(await self._body(scope, receive), receive)
            elif scope["method"] == "HEAD" and not scope["path"].endswith("/events"):
                scope = {**scope, "method": "GET"}  # uvicorn leaves the body out
            await self._pass(scope, receive, send)
        except RefusedError as error:
            if scope["method"] not in READS:
                await _drain(receive)
            await _refuse(error, send)
        except _GoneError:
            pass

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/events"):
            await self._app(scope, receive, send)
            return
        most = self._guard.limits.streams
        if self._streams >= most:
            raise RefusedError(503, f"{most} listen to events already: come again later", retry_after_s=5)
        self._streams += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._streams -= 1

    # ---- who asks ----

    def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._guard.token:
            if scope["path"] not in self._open:
                _check_token(self._guard.token, headers.get(b"authorization", b""))
        else:  # of this machine alone: but a page of anybody's may ask through this machine's browser
            _check_host(headers.get(b"host", b"").decode("latin-1"))
            _check_site(headers, is_read=scope["method"] in READS)
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise RefusedError(400, f"Content-Type must be application/json (got {kind[:80] or 'none'})")

    # ---- how much ----

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """All of it. Raises RefusedError when it is too long or comes too slowly."""
        limits, body = self._guard.limits, bytearray()
        declared = next(
            (value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0"
        )
        too_long = RefusedError(413, f"the body is longer than {limits.body_bytes} bytes")
        if len(declared) > 18 or int(declared) > limits.body_bytes:
            raise too_long
        try:
            async with asyncio.timeout(limits.body_s):
                async for piece in _pieces(receive):
                    body += piece
                    if len(body) > limits.body_bytes:
                        raise too_long
        except TimeoutError:
            raise RefusedError(408, f"the body took longer than {limits.body_s:g} s") from None
        return bytes(body)


class _GoneError(Exception):
    """Who asked has gone."""


async def _pieces(receive: Receive) -> Any:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, and after it what else comes: that the client has gone."""
    told = False

    async def give() -> MutableMapping[str, Any]:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


async def _drain(receive: Receive) -> None:
    n = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            async for piece in _pieces(receive):
                n += len(piece)
                if n > DRAINED_BYTES:
                    return
    except (TimeoutError, _GoneError):
        pass


# ---- checks ----


def _check_token(token: str, given: bytes) -> None:
    scheme, _, sent = given.partition(b" ")
    # hashes are of one length: the time of the comparison does not tell the token's
    ours, theirs = (hashlib.sha256(one).digest() for one in (token.encode(), sent.strip()))
    if hmac.compare_digest(ours, theirs) and scheme.lower() == b"bearer":
        return
    told = "is wrong" if given else "is missing"
    raise RefusedError(401, f"the token {told}: send Authorization: Bearer with the service's {TOKEN}")


def _check_host(host: str) -> None:
    """A name that leads here by somebody else's DNS makes a browser take his page for ours."""
    name = urlsplit(f"//{host}").hostname if _is_sound(host) else None
    if not host or name == "localhost" or (name and _is_loopback(name)):
        return
    raise RefusedError(
        403,
        f"Host {host[:80]!r} is not this machine: ask localhost or 127.0.0.1, or give the service a {TOKEN}",
    )


def _check_site(headers: dict[bytes, bytes], *, is_read: bool) -> None:
    """A page of somebody else must not start or end runs. It may link here; to read it could not, but to let us work."""
    if not is_read:
        _check_origin(headers)
    elif headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and (
        headers.get(b"sec-fetch-mode") != b"navigate"
    ):
        raise RefusedError(403, "a page of another site must not ask here: open the address itself")


def _check_origin(headers: dict[bytes, bytes]) -> None:
    origin, host = headers.get(b"origin"), headers.get(b"host", b"")
    site = headers.get(b"sec-fetch-site", b"same-origin")
    is_own = origin is None or origin.partition(b"://")[2].lower() == host.lower()
    if not is_own or site not in (b"same-origin", b"none"):
        shown = (origin or site).decode("latin-1")[:80]
        raise RefusedError(403, f"a page of {shown} must not start or end runs here")


def _is_sound(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").port != 0
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# ---- answers ----


async def _refuse(error: RefusedError, send: Send) -> None:
    body = json.dumps(error.body()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the request is not read
        *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            known = {name.lower() for name, _ in own}
            message["headers"] = own + [pair for pair in HEADERS.items() if pair[0] not in known]
        await send(message)

    return sent
