"""Requests to the API server: credentials, retries, and errors that say what to do."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from vllmperf.errors import TargetError
from vllmperf.kube.errors import ApiError, Asked, UnreachableError, error_of
from vllmperf.kube.kubeconfig import Context
from vllmperf.kube.login import Login, impersonation
from vllmperf.kube.rights import right_of
from vllmperf.kube.stop import Stop
from vllmperf.kube.ways import is_proxy_s
from vllmperf.target import innermost, text_of

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 30.0
PATIENCE_S = 6.0
"""How long a call is repeated when the server fails or cannot be reached."""
FIRST_PATIENCE_S = 1.5
"""The same for a server that has not answered yet at all: more likely the wrong one than one that restarts."""
LONG_PATIENCE_S = 120.0
"""That of watches and followed logs, which outlive an API server's restart."""
MOST_OF_AN_ERROR = 100_000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


@dataclass(frozen=True)
class Request:
    """One call. `body` is JSON unless it is bytes; `read_limit_s` is the longest silence."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    read_limit_s: float = READ_LIMIT_S

    def target(self) -> str:
        return quote(self.path, safe="/:@!$&'()*+,;=~") + (f"?{urlencode(self.query)}" if self.query else "")

    def payload(self) -> bytes | None:
        raw = self.body is None or isinstance(self.body, bytes)
        return self.body if raw else json.dumps(self.body).encode()


class Transport:
    """May be used from several threads. `close()` it: it keeps connections."""

    def __init__(self, context: Context):
        self.context = context
        self.server = str(context.cluster["server"]).rstrip("/")
        self.login = Login(context)
        self._extra = impersonation(context.user)
        self._answered = False

    @property
    def proxy(self) -> str | None:
        """The proxy that requests go through, once there was one."""
        return self.login.proxy

    def close(self) -> None:
        self.login.close()

    def call(self, request: Request, stop: Stop | None = None, patience_s: float = PATIENCE_S) -> Any:
        """The JSON of the answer. Raises ApiError or UnreachableError, after repeating what may pass."""
        for trial in self._trials(request, stop, patience_s):
            with trial, contextlib.closing(self._accepted(request, stop, trial)) as response:
                body = response.read()
                response.release_conn()
                return _decoded(body, self.asked(request))
        raise AssertionError("trials end with an error")

    def open(self, request: Request, stop: Stop | None = None, patience_s: float = PATIENCE_S) -> Any:
        """An urllib3 response of status 2xx whose body is still to be read, and closed by the caller."""
        for trial in self._trials(request, stop, patience_s):
            with trial:
                return self._accepted(request, stop, trial)
        raise AssertionError("trials end with an error")

    def _accepted(self, request: Request, stop: Stop | None, trial: _Trial) -> Any:
        response = self.send(request, stop)
        self._answered = True
        if response.status < 300:
            return response
        with contextlib.closing(response):
            trial.wait_s = _retry_after(response)
            raise error_of(response.status, response.read(MOST_OF_AN_ERROR), self.asked(request))

    def send(self, request: Request, stop: Stop | None = None) -> Any:
        """One attempt, whatever its status; credentials are renewed once after a 401. Raises urllib3's errors."""
        response = self._once(request, stop)
        if response.status == 401 and self.login.renew():
            response.drain_conn()
            response.release_conn()
            response = self._once(request, stop)
        return response

    def asked(self, request: Request) -> Asked:
        """What messages about a request say."""
        watching = "watch" in request.query
        right, namespace = right_of(request.method, request.path, watching) or (None, None)
        where = f" in namespace {namespace!r}" if namespace else ""
        text = f"{right}{where}" if right else None
        return Asked(self.server, request.method, request.path, text, namespace, self.proxy)

    def _trials(self, request: Request, stop: Stop | None, patience_s: float) -> Iterator[_Trial]:
        patience_s = patience_s if self._answered else min(patience_s, FIRST_PATIENCE_S)
        until, wait_s = time.monotonic() + patience_s, FIRST_WAIT_S
        while True:
            trial = _Trial(self, request)
            yield trial
            assert trial.failure is not None
            pause_s = trial.wait_s if trial.wait_s is not None else wait_s * random.uniform(0.7, 1.0)
            if not trial.may_pass or time.monotonic() + pause_s > until:
                raise trial.failure
            if (stop or Stop()).wait(pause_s):
                raise trial.failure
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _once(self, request: Request, stop: Stop | None) -> Any:
        import urllib3

        silence_s = stop.at_most(request.read_limit_s) if stop else request.read_limit_s
        return self.login.pool().request(
            request.method,
            self.server + request.target(),
            body=request.payload(),
            headers=self._headers(request),
            timeout=urllib3.Timeout(connect=CONNECT_LIMIT_S, read=silence_s),
            preload_content=False,
            retries=False,
            redirect=False,
        )

    def _headers(self, request: Request) -> Any:
        from urllib3 import HTTPHeaderDict

        from vllmperf.version import __version__

        headers = HTTPHeaderDict({"Accept": "application/json, */*"})
        headers["User-Agent"] = f"vllmperf/{__version__}"
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        for name, value in [*self._extra, *request.headers.items()]:
            headers.add(name, value)
        authorization = self.login.authorization()
        if authorization:
            headers["Authorization"] = authorization
        return headers


class _Trial:
    """One attempt: keeps its failure, and tells whether another may succeed."""

    def __init__(self, transport: Transport, request: Request):
        self._transport, self._request = transport, request
        self.failure: TargetError | None = None
        self.may_pass = False
        self.wait_s: float | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        from urllib3.exceptions import HTTPError

        if isinstance(error, ApiError):
            self.failure, self.may_pass = error, error.status == 429 or error.status >= 500
        elif isinstance(error, HTTPError):
            self.failure, self.may_pass = self._transport_failure(error)
        return self.failure is not None

    def _transport_failure(self, error: Exception) -> tuple[TargetError, bool]:
        from urllib3.exceptions import LocationValueError, SSLError

        server, cause = self._transport.server, root_cause(error)
        if isinstance(error, LocationValueError):
            return UnreachableError(f"{server} is not the address of an API server: {error}"), False
        if isinstance(error, SSLError):
            text = f"{server} cannot be trusted: {cause}; see certificate-authority in the kubeconfig"
            return UnreachableError(text), False
        proxy, context = self._transport.proxy, self._transport.context.name
        if proxy is not None and is_proxy_s(error):
            text = f"cannot reach the proxy {proxy} of the API server {server} (context {context!r}): {cause}"
            return UnreachableError(text), True
        way = f" through the proxy {proxy}" if proxy else ""
        return UnreachableError(
            f"cannot reach the API server {server}{way} (context {context!r}): {cause}"
        ), True


def chunks(response: Any) -> Iterator[bytes]:
    """The pieces of a body as they arrive. Raises urllib3's errors when the connection breaks before the end."""
    while data := response.read1(65536):
        yield data


def _decoded(body: bytes, asked: Asked) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        start = body[:80].decode(errors="replace")
        text = f"{asked.server} does not answer as an API server: {start!r} instead of JSON"
        raise ApiError(text) from None


def _retry_after(response: Any) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None


def root_cause(error: BaseException) -> str:
    """The innermost reason, such as "Connection refused", without the objects that urllib3 prints around it."""
    return text_of(innermost(error))
