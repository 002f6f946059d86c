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

from vllmperf import hints
from vllmperf.errors import TargetError, UsageError
from vllmperf.load.encoding import EncodingError, decoded
from vllmperf.load.headers import headers
from vllmperf.load.redirects import Redirects
from vllmperf.plan import Plan
from vllmperf.server_words import said

ANSWER_S = 30.0
MOST_WORDS_BYTES = 4096
"""Of an answer that is no list of models, as a part of an error."""


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


def _opener(plan: Plan, follow: bool) -> urllib.request.OpenerDirector:
    redirects = Redirects() if follow else NoRedirect()
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), redirects]
    if urlsplit(plan.base_url).scheme == "https":  # reading the system's certificates takes 40 ms
        handlers.append(urllib.request.HTTPSHandler(context=tls(plan)))
    return urllib.request.build_opener(*handlers)


def get(plan: Plan, path: str, *, follow: bool = False) -> bytes:
    """The body of a GET, decompressed. Raises TargetError with one line when there is none. follow: redirects."""
    url = plan.base_url.rstrip("/") + path
    try:
        with _opener(plan, follow).open(
            urllib.request.Request(url, headers=headers(plan)), timeout=ANSWER_S
        ) as answer:
            return decoded(answer.read(), answer.headers.get("Content-Encoding"))
    except urllib.error.HTTPError as error:
        with error:
            raise TargetError(_refusal(plan, url, error)) from None
    except EncodingError as error:
        raise TargetError(f"the answer of {url} cannot be read: {error}; give --model") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise TargetError(f"cannot reach {url}: {_why_unreachable(error)}") from None


def _refusal(plan: Plan, url: str, error: urllib.error.HTTPError) -> str:
    """Status, what the server said, and what to do."""
    words = words_of(error)
    place = error.headers.get("Location")
    if place and 300 <= error.code < 400:
        words = f"redirected to {place}"
    hint = hints.of_question(plan.to_dict(), url, error.code, words)
    return f"GET {url} was answered with {error.code} {error.reason}{f': {words}' if words else ''}; {hint}"


def words_of(error: urllib.error.HTTPError) -> str:
    """What the server said beside the reason of its status; "" for nothing."""
    try:
        body = decoded(error.read(MOST_WORDS_BYTES), error.headers.get("Content-Encoding"))
    except (OSError, http.client.HTTPException, EncodingError):
        return ""
    words = said(body.decode(errors="replace"))
    return "" if words == error.reason else words


def _why_unreachable(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{reason.verify_message}; {hints.of_tls('certificate')}"
    hint = (
        hints.of_tls(str(reason)) if isinstance(reason, ssl.SSLError) or "handshake" in str(reason) else None
    )
    return f"{reason}; {hint or 'is the server up and --base-url right?'}"


def first_model(plan: Plan) -> str:
    """The id of the first model that the server lists, as `vllm bench serve` takes it."""
    body = get(plan, "/v1/models")
    try:
        answer: Any = json.loads(body)
        return str(answer["data"][0]["id"])
    except (ValueError, KeyError, IndexError, TypeError):
        words = said(body[:MOST_WORDS_BYTES].decode(errors="replace"))
        raise TargetError(
            f"{plan.base_url}/v1/models names no model ({words or 'its answer is empty'}); give --model"
        ) from None


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
