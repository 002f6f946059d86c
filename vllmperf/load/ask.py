"""Small questions to the server outside of the measurement: which model, is it ready."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from vllmperf.errors import TargetError, UsageError
from vllmperf.load.headers import headers
from vllmperf.plan import Plan

ANSWER_S = 30.0


def tls(plan: Plan) -> ssl.SSLContext:
    """How the target's certificate is checked. Raises UsageError for a bad --cacert."""
    try:
        context = ssl.create_default_context(cafile=plan.cacert)
    except OSError as error:
        raise UsageError(f"--cacert {plan.cacert} holds no certificates in PEM: {error}") from None
    if plan.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: urllib would send the API key on to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(plan: Plan) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), NoRedirect()]
    if urlsplit(plan.base_url).scheme == "https":  # reading the system's certificates takes 40 ms
        handlers.append(urllib.request.HTTPSHandler(context=tls(plan)))
    return urllib.request.build_opener(*handlers)


def get(plan: Plan, path: str) -> bytes:
    """The body of a GET. Raises TargetError with one line when there is none."""
    url = plan.base_url.rstrip("/") + path
    try:
        with _opener(plan).open(
            urllib.request.Request(url, headers=headers(plan)), timeout=ANSWER_S
        ) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        raise TargetError(
            f"GET {url} was answered with {error.code} {error.reason}{_hint(error.code)}"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise TargetError(f"cannot reach {url}: {reason}; is the server up and --base-url right?") from None


def _hint(status: int) -> str:
    return {401: "; give --api-key", 403: "; give --api-key", 404: "; give --model"}.get(status, "")


def first_model(plan: Plan) -> str:
    """The id of the first model that the server lists, as `vllm bench serve` takes it."""
    body = get(plan, "/v1/models")
    try:
        answer: Any = json.loads(body)
        return str(answer["data"][0]["id"])
    except (ValueError, KeyError, IndexError, TypeError):
        raise TargetError(f"{plan.base_url}/v1/models names no model; give --model") from None


def wait_ready(plan: Plan, timeout_s: float) -> None:
    """Ask for the models every second until there is an answer. After timeout_s: the last TargetError."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            get(plan, "/v1/models")
            return
        except TargetError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)
