"""What an API server can answer instead of an object, each as one line that says what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from vllmperf.errors import TargetError


@dataclass(frozen=True)
class Asked:
    """A request, as far as messages about it need to know."""

    server: str
    method: str
    path: str
    right: str | None  # `list pods in namespace "default"`, from rights.right_of
    namespace: str | None
    proxy: str | None = None  # on the way, which may be what answers


class UnreachableError(TargetError):
    """No connection to the API server, or it broke and could not be made again in time."""


class ApiError(TargetError):
    """The API server refused. `status` is the HTTP status, `text` its own message."""

    def __init__(self, message: str, status: int = 0, text: str = "", details: dict[str, Any] | None = None):
        super().__init__(message)
        self.status, self.text, self.details = status, text, details or {}


class BadRequestError(ApiError):
    """400: for logs, also a container that has not started."""


class UnauthorizedError(ApiError):
    """401, after the credentials were renewed."""


class ForbiddenError(ApiError):
    """403: the message names the missing right."""


class NotFoundError(ApiError):
    """404."""


class ConflictError(ApiError):
    """409."""


class GoneError(ApiError):
    """410: the version or the page asked for is no longer kept."""


class TooManyRequestsError(ApiError):
    """429, longer than we were willing to wait."""


class LogsGoneError(TargetError):
    """The log of a container that is no longer kept by its node."""


_CLASSES: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: TooManyRequestsError,
}


def error_of(status: int, body: bytes, asked: Asked) -> ApiError:
    """The error for an answer that is not 2xx; `body` is a Status object or anything else."""
    details = status_object(body) or {}
    text = str(details.get("message") or "") or body[:200].decode(errors="replace").strip()
    return _CLASSES.get(status, ApiError)(_message(status, text, asked), status, text, details)


def status_object(body: bytes) -> dict[str, Any] | None:
    """The Status object in a body, or None when it is something else."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("kind") == "Status" else None


def _message(status: int, text: str, asked: Asked) -> str:
    what = asked.right or f"{asked.method} {asked.path}"
    if status == 401:
        return f"{asked.server} does not accept the credentials ({text or 'no reason given'}); log in again, or see --config"
    if status == 403:
        where = f" -n {asked.namespace}" if asked.namespace else ""
        return f"not allowed to {what} ({text}); `vllmperf kube check{where}` prints the RBAC to apply"
    if status == 404:
        return f"not there: {text or asked.path}"
    if status == 409:
        return f"cannot {what}, it changed meanwhile: {text}; try again"
    if status == 410:
        return f"too old to {what}: {text}"
    if status == 429:
        return f"{asked.server} is too busy to {what}: {text}; try again later"
    way = f" (asked through the proxy {asked.proxy})" if asked.proxy else ""
    if status == 407:
        return (
            f"the proxy {asked.proxy or 'on the way'} asks for a user and a password: put them into proxy-url"
        )
    if status >= 500:
        return f"{asked.server} failed to {what}: {status} {text}{way}"
    return f"{asked.server} refused to {what}: {status} {text}{way}"
