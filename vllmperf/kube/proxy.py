"""HTTP to a pod through the API server, for /health and the first token where the pod cannot be reached otherwise.

The API server and the kubelet's network stand between: a time measured here is an upper bound, good to some ms.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.kube.errors import UnreachableError, error_of, status_object
from vllmperf.kube.stop import Stop
from vllmperf.kube.transport import Request, Transport, chunks, root_cause

MOST_KEPT = 1 << 20
Place = tuple[str, str, int | str]
"""Namespace, pod and port."""


@dataclass(frozen=True)
class PodAnswer:
    """What came back. `refused` is the API server's own reason when the pod did not answer at all (not listening yet,
    gone), and then `status` is 502 to 504 or 404."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    refused: str | None = None


class PodStream:
    """An answer whose body is read as it comes: iterate `pieces()`, then `close()` it (or use it as a context)."""

    def __init__(self, response: Any, stop: Stop | None):
        self.status: int = response.status
        self.headers: Mapping[str, str] = dict(response.headers)
        self._response, self._stop = response, stop or Stop()

    def pieces(self) -> Iterator[bytes]:
        """Bytes as they arrive. Raises UnreachableError when the connection breaks, ends quietly on `stop`."""
        from urllib3.exceptions import HTTPError

        try:
            with self._stop.interrupting(self._response):
                for data in chunks(self._response):
                    if self._stop.is_set():
                        return
                    yield data
        except (HTTPError, OSError) as error:
            if not self._stop.is_set():
                raise UnreachableError(f"the answer of the pod broke off: {root_cause(error)}") from None

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> PodStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pod_request(
    transport: Transport,
    place: Place,
    path: str,
    method: str = "GET",
    body: Any = None,
    timeout_s: float = 30.0,
    stop: Stop | None = None,
) -> PodAnswer:
    """One request to a pod's port, never repeated. `body` is JSON unless bytes.

    Statuses of the pod itself are results, not errors. Raises ForbiddenError when the right to the proxy is missing,
    UnauthorizedError, BadRequestError (the API server does not like the address), UnreachableError.
    """
    request = _request(place, path, method, body, timeout_s)
    with contextlib.closing(_open(transport, request, stop)) as response:
        data = response.read(MOST_KEPT)
        refused = _refusal(transport, response, data, request)
        return PodAnswer(response.status, dict(response.headers), data, refused)


def pod_stream(
    transport: Transport,
    place: Place,
    path: str,
    method: str = "POST",
    body: Any = None,
    timeout_s: float = 300.0,
    stop: Stop | None = None,
) -> PodStream:
    """The same with the body as a stream; `timeout_s` is the longest silence."""
    return PodStream(_open(transport, _request(place, path, method, body, timeout_s), stop), stop)


def _request(place: Place, path: str, method: str, body: Any, timeout_s: float) -> Request:
    namespace, pod, port = place
    path, _, query = path.partition("?")
    full = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path.lstrip('/')}"
    pairs = dict(pair.partition("=")[::2] for pair in query.split("&")) if query else {}
    return Request(method, full, pairs, body, read_limit_s=timeout_s)


def _open(transport: Transport, request: Request, stop: Stop | None) -> Any:
    from urllib3.exceptions import HTTPError

    try:
        return transport.send(request, stop)
    except HTTPError as error:
        raise UnreachableError(
            f"cannot {request.method} {request.path} on {transport.server}: {root_cause(error)}"
        ) from None


def _refusal(transport: Transport, response: Any, body: bytes, request: Request) -> str | None:
    """Why the API server answered in the pod's place; None when the pod did. Raises what asking again cannot mend."""
    if response.status < 400 or "json" not in response.headers.get("Content-Type", ""):
        return None
    status = status_object(body)
    if status is None:
        return None
    if response.status in (400, 401, 403):
        raise error_of(response.status, json.dumps(status).encode(), transport.asked(request))
    return str(status.get("message") or response.status)
