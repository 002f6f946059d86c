"""The client: a server, how it is asked, and its answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from vllmperf import hints
from vllmperf.errors import SettingError
from vllmperf.plan import Credentials, Target
from vllmperf.target import trust
from vllmperf.target.answer import Answer, pieces_of, words_of
from vllmperf.target.errors import AnswerError, no_answer

if TYPE_CHECKING:
    import ssl

    import urllib3

ANSWER_S = 30.0
MOST_REDIRECTS = 10
PUBLIC = ("content-type", "accept", "user-agent", "connection")
"""Headers that say nothing of who asks: only they follow a redirect to another server."""


def headers_of(target: Target, credentials: Credentials) -> dict[str, str]:
    """What every request to this server carries."""
    return _headers({**credentials.headers, **target.headers}, credentials.api_key)


def _headers(own: Mapping[str, str], api_key: str | None) -> dict[str, str]:
    usual = {"Content-Type": "application/json", "User-Agent": "vllmperf"}
    if api_key:
        usual["Authorization"] = f"Bearer {api_key}"
    given = {name.lower() for name in own}
    return {**{name: value for name, value in usual.items() if name.lower() not in given}, **own}


def client_of(target: Target, credentials: Credentials, *, follow: bool = False) -> Client:
    """A client for a plan's server."""
    return Client(
        target.root,
        headers={**credentials.headers, **target.headers},
        api_key=credentials.api_key,
        cacert=target.cacert,
        insecure=target.insecure,
        follow=follow,
    )


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
                raise no_answer(url, error) from None
            with contextlib.closing(response):
                yield Answer(
                    response.status, pieces_of(response, url), response.reason or "", response.headers
                )

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
        words = "" if (words := words_of(answer)) == answer.reason else words
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

        trusted = trust.Trust(self._cacert) if self._cacert else trust.system()
        try:  # reading the system's certificates takes 40 ms
            context = ssl.create_default_context(cafile=trusted.file, capath=trusted.folder)
        except OSError as error:
            said = "{cacert} {path} holds" if self._cacert else "SSL_CERT_FILE: {path} holds"
            raise SettingError(
                said + " no certificates in PEM: {error}", path=trusted.file, error=error
            ) from None
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            disable_warnings(InsecureRequestWarning)  # it was asked for
        return context
