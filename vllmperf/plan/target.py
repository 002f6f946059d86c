"""The server: where it is, or the settings of a simulated one; how it is asked, and nothing secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urlsplit

from vllmperf.errors import SettingError
from vllmperf.plan import checks, spread
from vllmperf.plan.checks import setting
from vllmperf.plan.credentials import is_secret
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part

BACKENDS = {
    "openai": "/v1/completions",
    "vllm": "/v1/completions",
    "openai-chat": "/v1/chat/completions",
}
"""Kind of request and the path that goes with it when none is given."""
VERSION = "/v1"
"""Of the OpenAI API: some give it with the base URL, and others with the path."""
AN_ADDRESS = "http://HOST:PORT or https://HOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Part):
    """Either base_url or simulator is given.

    other_urls: of further servers, which get requests in turn with base_url. weights: how many each gets in its turn; empty:
    one.
    headers: sent with every request; secret ones are Credentials. cacert: PEM file of trusted certificates.
    """

    base_url: str | None = setting(None, checks.text)
    simulator: Mapping[str, object] | None = setting(None, checks.json_object)
    model: str | None = setting(None, checks.text)
    backend: str = setting("openai", checks.one_of(*BACKENDS))
    endpoint: str | None = setting(None, checks.text)
    headers: Mapping[str, str] = setting(JsonObject(), checks.header_fields)
    other_urls: tuple[str, ...] = setting((), spread.urls)
    weights: tuple[int, ...] = setting((), spread.weights)
    insecure: bool = setting(False, checks.flag)
    cacert: str | None = setting(None, checks.path)

    def check(self) -> None:
        if (self.base_url is None) == (self.simulator is None):
            raise SettingError("give either {base_url} or {simulator}: a run has one server")
        if self.base_url is not None:
            _check_base_url(self.base_url)
        for url in self.other_urls:
            _check_base_url(url)
        if self.other_urls and self.base_url is None:
            raise SettingError(
                "several targets are servers: give {base_url} more than once, without {simulator}"
            )
        if self.weights and len(self.weights) != 1 + len(self.other_urls):
            raise SettingError("{base_url}: give each target a weight, or none")
        _check_endpoint(self)
        if secret := next(filter(is_secret, self.headers), None):
            raise SettingError(
                "{headers} must not hold a secret ({name}): give it to Credentials", name=secret
            )

    @property
    def is_chat(self) -> bool:
        return self.backend == "openai-chat"

    @property
    def root(self) -> str:
        """The base URL without a slash and without the API's version at its end."""
        return (self.base_url or "").rstrip("/").removesuffix(VERSION)

    @property
    def url(self) -> str:
        """Where the requests go. A version at the end of base_url is not doubled. Of a simulator: the path alone."""
        path = self.endpoint or BACKENDS[self.backend]
        is_twice = path.startswith(VERSION + "/")
        return (self.root if is_twice else (self.base_url or "").rstrip("/")) + path

    def at(self, base_url: str) -> Target:
        """The same, at this address alone: that of a simulator which runs now, or of one of several."""
        return replace(self, base_url=base_url, other_urls=(), weights=(), simulator=None)

    @property
    def each(self) -> list[Target]:
        """One for each server."""
        return [self.at(url) for url in (self.base_url, *self.other_urls) if url is not None] or [self]

    @property
    def all_weights(self) -> tuple[int, ...]:
        return self.weights or (1,) * (1 + len(self.other_urls))


def _check_base_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        if "=" in parts.netloc:
            raise checks.refused("base_url", spread.A_TARGET, base_url)
        parts.port  # noqa: B018 raises for a port that is no number
    except ValueError as error:
        raise SettingError(f"{{base_url}} is no URL ({{error}}): give {AN_ADDRESS}", error=error) from None
    if parts.username or parts.password:
        raise SettingError(
            "{base_url} must not hold a user name or password: give {api_key} or {headers} instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise checks.refused("base_url", AN_ADDRESS, base_url)
    _check_sendable("base_url", base_url, parts)


def _check_endpoint(target: Target) -> None:
    path = target.endpoint
    if path is None:
        return
    if not path.startswith("/"):
        raise checks.refused("endpoint", "a path that begins with /", path)
    if path.endswith("/chat/completions") != target.is_chat and path.endswith("completions"):
        raise SettingError(
            "{endpoint} {path} is not one of {backend} {kind}: change one of them",
            path=path,
            kind=target.backend,
        )
    _check_sendable("endpoint", path, urlsplit(path))


def _check_sendable(name: str, address: str, parts: SplitResult) -> None:
    if not checks.is_plain(address) or " " in address or parts.query or parts.fragment:
        raise SettingError(
            "{" + name + "} must be plain ASCII without blanks, ? and #; write others as %XX (got {given})",
            given=checks.shown(address),
        )
