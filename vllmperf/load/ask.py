"""Small questions to the server outside of the measurement: which model, is it ready."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from vllmperf.errors import TargetError
from vllmperf.plan import Plan

ANSWER_S = 30.0


def headers(plan: Plan) -> dict[str, str]:
    """What every request to this target carries."""
    fixed = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    key = {"Authorization": f"Bearer {plan.api_key}"} if plan.api_key else {}
    return {**fixed, **key, **plan.headers}


def _tls(plan: Plan) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=plan.cacert)
    if plan.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def get(plan: Plan, path: str) -> bytes:
    """The body of a GET. Raises TargetError with one line when there is none."""
    url = plan.base_url.rstrip("/") + path
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_tls(plan))
    )
    try:
        with opener.open(urllib.request.Request(url, headers=headers(plan)), timeout=ANSWER_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        raise TargetError(
            f"GET {url} was answered with {error.code} {error.reason}{_hint(error.code)}"
        ) from None
    except (OSError, ValueError) as error:
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
    """Ask for the models every second until the server answers. Raises the last TargetError after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            get(plan, "/v1/models")
            return
        except TargetError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)
