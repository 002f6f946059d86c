"""The HTTP client for everything that is not load: models, tokens, metrics, health, settings, probes.

    with Client("http://127.0.0.1:8000") as client:
        client.get("/metrics")                      # bytes, or AnswerError with one line that says what to do
        with client.ask("POST", "/v1/completions", body, timeout_s=300) as answer:
            for line in answer.lines(): ...         # as they arrive

Requests go straight to the server, as those of a run do: a proxy of the environment would be measured with it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from vllmperf import hints
from vllmperf.errors import TargetError, UsageError
from vllmperf.server_words import said

if TYPE_CHECKING:
    import ssl

    import urllib3

ANSWER_S = 30.0
MOST_BYTES = 64 << 20
"""Of an answer: more is no answer to such a question."""
MOST_WORDS_BYTES = 4096
"""Of an answer that is not what was asked for, as a part of an error."""
MOST_REDIRECTS = 10
PIECE = 1 << 16
PUBLIC = ("content-type", "accept", "user-agent", "connection")
"""Headers that say nothing of who asks: only they follow a redirect to another server."""


class AnswerError(TargetError):
    """No answer (status 0), or one that is a refusal.

    why: "404 Not Found" or "Connection refused"; words: what the server said beside it.
    """

    def __init__(self, message: str, why: str, status: int = 0, words: str = "") -> None:
        super().__init__(message)
        self.why, self.status, self.words = why, status, words


class CertificateError(AnswerError):
    """Nobody that we trust signed the server's certificate: asking again does not help."""


class Where(Protocol):
    """What a plan says of its server."""

    @property
    def base_url(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def api_key(self) -> str | None: ...
    @property
    def cacert(self) -> str | None: ...
    @property
    def insecure(self) -> bool: ...


def headers_of(where: Where) -> dict[str, str]:
    """What every request to this server carries."""
    return _headers(where.headers, where.api_key)


def _headers(own: Mapping[str, str], api_key: str | None) -> dict[str, str]:
    usual = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    if api_key:
        usual["Authorization"] = f"Bearer {api_key}"
    given = {name.lower() for name in own}
    return {**{name: value for name, value in usual.items() if name.lower() not in given}, **own}


def client_of(where: Where, *, follow: bool = False) -> Client:
    """A client for a plan's server."""
    return Client(
        where.base_url,
        headers=where.headers,
        api_key=where.api_key,
        cacert=where.cacert,
        insecure=where.insecure,
        follow=follow,
    )


class Answer:
    """status, reason, headers, and the body, decompressed: whole, or as it comes. Raises AnswerError when it breaks off."""

    def __init__(
        self,
        status: int,
        pieces: Iterator[bytes],
        reason: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self._pieces = pieces

    def read(self, most: int | None = None) -> bytes:
        """The body; with `most`, no more than its beginning."""
        body = b""
        for piece in self._pieces:
            body += piece
            if most is not None and len(body) >= most:
                return body[:most]
            if len(body) > MOST_BYTES:
                raise AnswerError(
                    f"the answer is longer than {MOST_BYTES >> 20} MiB", "its answer has no end"
                )
        return body

    def lines(self) -> Iterator[bytes]:
        """Lines as they arrive, without their ends."""
        rest = b""
        for piece in self._pieces:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest


class Client:
    """A server and how it is asked; from several threads. Nothing is opened before the first question.

    cacert: a PEM file to trust instead of the system's; insecure: trust any. follow: redirects. keep_alive: keep
    connections for the next question, else each has its own. Close it, or use it as a context.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        api_key: str | None = None,
        cacert: str | None = None,
        insecure: bool = False,
        follow: bool = False,
        keep_alive: bool = False,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.name = self.base_url
        self._headers = _headers(headers, api_key) | ({} if keep_alive else {"Connection": "close"})
        self._cacert, self._insecure, self._follow = cacert, insecure, follow
        self._keep_alive = keep_alive
        self._kept: urllib3.PoolManager | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Load what the first question needs, so that it takes no time then. Raises UsageError for a bad --cacert."""
        self._new_pool()

    def close(self) -> None:
        """Close the connections that were kept. The client can be used on."""
        if self._kept is not None:
            self._kept.clear()

    def get(self, path: str, *, timeout_s: float = ANSWER_S) -> bytes:
        """The body of a GET. Raises AnswerError unless its status is 2xx."""
        return self._body("GET", path, None, timeout_s)

    def post(self, path: str, body: bytes, *, timeout_s: float = ANSWER_S) -> bytes:
        """The body of the answer to a POST. Raises AnswerError unless its status is 2xx."""
        return self._body("POST", path, body, timeout_s)

    @contextlib.contextmanager
    def ask(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = ANSWER_S
    ) -> Iterator[Answer]:
        """The answer, whatever its status; its body is read inside. timeout_s: to connect, and the longest silence.

        Raises AnswerError (CertificateError) when there is none, UsageError for a --cacert that is none.
        """
        from urllib3.exceptions import HTTPError

        url = self.base_url + path
        with self._pool() as pool:
            try:
                response = self._sent(pool, method, url, body, timeout_s)
            except (HTTPError, OSError, ValueError) as error:
                raise _no_answer(url, error) from None
            with contextlib.closing(response):
                yield Answer(response.status, _pieces(response, url), response.reason or "", response.headers)

    def _sent(
        self, pool: urllib3.PoolManager, method: str, url: str, body: bytes | None, timeout_s: float
    ) -> urllib3.BaseHTTPResponse:
        from urllib3 import Retry, Timeout

        # No repetition: the caller knows what a failure means. Redirects alone are counted.
        most = MOST_REDIRECTS if self._follow else 0
        private = [name for name in self._headers if name.lower() not in PUBLIC]
        return pool.request(
            method,
            url,
            body=body,
            headers=self._headers,
            timeout=Timeout(connect=timeout_s, read=timeout_s),
            preload_content=False,
            redirect=self._follow,
            retries=Retry(
                total=None,
                connect=0,
                read=0,
                other=0,
                status=0,
                redirect=most,
                raise_on_redirect=False,
                remove_headers_on_redirect=private,
            ),
        )

    def _body(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        with self.ask(method, path, body, timeout_s) as answer:
            if 200 <= answer.status < 300:
                return answer.read()
            raise self._refusal(method, self.base_url + path, answer)

    def _refusal(self, method: str, url: str, answer: Answer) -> AnswerError:
        """Status, what the server said, and what to do."""
        words = "" if (words := _words_of(answer)) == answer.reason else words
        place = answer.headers.get("Location")
        if place and 300 <= answer.status < 400:
            words = f"redirected to {place}"
        why = f"{answer.status} {answer.reason}".rstrip()
        plan = {"base_url": self.base_url, "authorized": self._is_authorized}
        hint = hints.of_question(plan, url, answer.status, words)
        message = f"{method} {url} was answered with {why}{f': {words}' if words else ''}; {hint}"
        return AnswerError(message, why, answer.status, words)

    @property
    def _is_authorized(self) -> bool:
        return any(name.lower() == "authorization" for name in self._headers)

    @contextlib.contextmanager
    def _pool(self) -> Iterator[urllib3.PoolManager]:
        """Where connections come from: the one that is kept, or one for this question."""
        if self._keep_alive:
            self._kept = self._kept or self._new_pool()
            yield self._kept
            return
        pool = self._new_pool()
        try:
            yield pool
        finally:
            pool.clear()

    def _new_pool(self) -> urllib3.PoolManager:
        from urllib3 import PoolManager

        is_tls = self.base_url.startswith("https:") or (self._follow and (self._cacert or self._insecure))
        return PoolManager(ssl_context=self._tls if is_tls else None)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        import ssl

        from urllib3 import disable_warnings
        from urllib3.exceptions import InsecureRequestWarning

        try:  # reading the system's certificates takes 40 ms
            context = ssl.create_default_context(cafile=self._cacert)
        except OSError as error:
            raise UsageError(f"--cacert {self._cacert} holds no certificates in PEM: {error}") from None
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            disable_warnings(InsecureRequestWarning)  # it was asked for
        return context


def _pieces(response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """A body as it arrives, decompressed."""
    from urllib3.exceptions import DecodeError, HTTPError

    coding = response.headers.get("Content-Encoding", "")
    for name in coding.lower().split(","):
        if name.strip() not in ("", "identity", *response.CONTENT_DECODERS):
            raise _unreadable(url, f"it is compressed with {name.strip()!r}, which vllmperf cannot read")
    try:
        while piece := response.read1(PIECE):
            yield piece
    except DecodeError:
        raise _unreadable(url, f"it says that it is compressed with {coding}, and is not") from None
    except (HTTPError, OSError) as error:
        raise _no_answer(url, error) from None


def _unreadable(url: str, why: str) -> AnswerError:
    return AnswerError(f"the answer of {url} cannot be read: {why}; {hints.GIVE_MODEL}", why)


def _words_of(answer: Answer) -> str:
    """What the server said beside its status; "" for nothing."""
    try:
        return said(answer.read(MOST_WORDS_BYTES).decode(errors="replace"))
    except AnswerError:
        return ""


def _no_answer(url: str, error: BaseException) -> AnswerError:
    import ssl

    reason = innermost(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        why = reason.verify_message
        return CertificateError(f"cannot reach {url}: {why}; {hints.of_tls('certificate')}", why)
    why = text_of(reason)
    is_tls = isinstance(reason, ssl.SSLError) or "handshake" in why
    hint = hints.of_tls(why) if is_tls else "is the server running, and is --base-url right?"
    return AnswerError(f"cannot reach {url}: {why}; {hint}", why)


def innermost(error: BaseException) -> BaseException:
    """The first cause, without what urllib3 wraps around it."""
    seen = {id(error)}
    while True:
        held = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((one for one in held if isinstance(one, BaseException)), None)
        if inner is None or id(inner) in seen:
            return error
        seen.add(id(inner))
        error = inner


def text_of(error: BaseException) -> str:
    """Such as "Connection refused", on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


# ---- questions ----


def models(client: Client) -> list[Mapping[str, Any]]:
    """The entries of /v1/models, at least one, each with an "id". Raises AnswerError."""
    body = client.get("/v1/models")
    try:
        listed = [entry for entry in json.loads(body)["data"] if "id" in entry]
        listed[0]["id"]
    except (ValueError, LookupError, TypeError):
        words = said(body[:MOST_WORDS_BYTES].decode(errors="replace")) or "its answer is empty"
        raise AnswerError(
            f"{client.base_url}/v1/models names no model ({words}); give --model", "it names no model"
        ) from None
    return listed


def first_model(client: Client) -> str:
    """The id of the first model that the server lists, as `vllm bench serve` takes it. Raises AnswerError."""
    return str(models(client)[0]["id"])


def wait_ready(client: Client, timeout_s: float) -> None:
    """Ask for the models every second until there is an answer. After timeout_s: the last AnswerError."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            client.get("/v1/models")
            return
        except CertificateError:
            raise
        except AnswerError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def is_listening(url: str) -> bool:
    """Whether something accepts connections there."""
    import socket

    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=1.0).close()
    except OSError:
        return False
    return True
