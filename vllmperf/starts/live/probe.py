"""Asks a server from outside: is it healthy, which model, and when does the first token of a first request come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from vllmperf.errors import UsageError
from vllmperf.target import Answer, AnswerError, CertificateError, Client

PROMPT = "Hello"
TOKENS = 2
TOKEN_WAIT_S = 300.0


class Route(Protocol):
    """A way to a server: a Client, or the API server's proxy. Raises AnswerError when nothing answers."""

    name: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = 5.0
    ) -> AbstractContextManager[Answer]: ...


@dataclass(frozen=True)
class Access:
    """How a server is asked: bearer token, more headers, a PEM file to trust, or whether to trust any."""

    api_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cacert: str | None = None
    insecure: bool = False

    def client(self, url: str) -> Client:
        """A client for the URL. Raises UsageError when it is none."""
        return Client(
            full_url(url),
            headers=self.headers,
            api_key=self.api_key,
            cacert=self.cacert,
            insecure=self.insecure,
        )


def full_url(url: str) -> str:
    """With its scheme and port. Raises UsageError when it is no URL of a server."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no URL of a server; give one such as http://127.0.0.1:8000")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise UsageError(f"{url!r}: {error}") from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def status(route: Route, path: str = "/health", timeout_s: float = 5.0) -> int | None:
    """The HTTP status of a GET, or None when nothing answers. Raises CertificateError: waiting mends that not."""
    try:
        with route.ask("GET", path, timeout_s=timeout_s) as answer:
            answer.read()
            return answer.status
    except CertificateError:
        raise
    except AnswerError:
        return None


def first_model(route: Route) -> str | None:
    """The id of the first model that the server lists."""
    try:
        with route.ask("GET", "/v1/models", timeout_s=30.0) as answer:
            return str(json.loads(answer.read())["data"][0]["id"])
    except (AnswerError, ValueError, LookupError, TypeError):
        return None


@dataclass(frozen=True)
class FirstToken:
    """When the first request left and its first token came, on the caller's axis; `why_not` when none came."""

    sent_ns: int
    token_ns: int | None
    why_not: str | None = None


@dataclass(frozen=True)
class _Try:
    path: str
    body: Mapping[str, Any]


def first_token(
    route: Route, model: str, now_ns: Callable[[], int], wait_s: float = TOKEN_WAIT_S
) -> FirstToken:
    """Ask for a streamed completion of two tokens; where there is no such route, for a chat completion."""
    asked = {"model": model, "max_tokens": TOKENS, "stream": True, "temperature": 0}
    plain = _Try("/v1/completions", {**asked, "prompt": PROMPT})
    chat = _Try("/v1/chat/completions", {**asked, "messages": [{"role": "user", "content": PROMPT}]})
    sent_ns = now_ns()
    outcome = _ask(route, plain, now_ns, wait_s)
    if isinstance(outcome, str) and outcome.startswith("HTTP status 404"):
        sent_ns = now_ns()
        outcome = _ask(route, chat, now_ns, wait_s)
    if isinstance(outcome, int):
        return FirstToken(sent_ns, outcome)
    return FirstToken(sent_ns, None, outcome)


def _ask(route: Route, one: _Try, now_ns: Callable[[], int], wait_s: float) -> int | str:
    """The instant of the first token, or why there is none."""
    try:
        with route.ask("POST", one.path, json.dumps(one.body).encode(), timeout_s=wait_s) as answer:
            if answer.status != 200:
                said = answer.read(200).decode("utf-8", "replace")
                return f"HTTP status {answer.status}: {said}".rstrip(": ")
            deadline = time.monotonic() + wait_s
            for line in answer.lines():
                stamp = now_ns()
                if time.monotonic() > deadline:
                    break
                what = _token(line)
                if what is True:
                    return stamp
                if what:
                    return str(what)
    except AnswerError as error:
        return error.why
    return "the stream ended without a token"


def _token(line: bytes) -> bool | str:
    """Whether a line of the event stream carries a token; its message when it carries an error."""
    if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
        return False
    try:
        event = json.loads(line[5:])
        if error := event.get("error"):
            return str(error.get("message", error))
        choices = event.get("choices") or [{}]
    except (ValueError, AttributeError):
        return f"no JSON in the stream: {line[:80]!r}"
    choice = choices[0]
    if "delta" not in choice:
        return "text" in choice  # a token can have no text: half of a UTF-8 character
    delta = choice["delta"] or {}
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))
