"""The GUIDELLM__… environment variables, with the defaults of guidellm 0.3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllmperf.errors import UsageError

PREFIX = "GUIDELLM__"
ROUTES = {"text_completions": "/v1/completions", "chat_completions": "/v1/chat/completions"}
SOURCES = ("request", "response", "local")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says. Names are those of the variables in small letters."""

    max_concurrency: int = 512
    request_timeout: float = 300
    default_sweep_number: int = 10
    preferred_route: str = "text_completions"
    preferred_prompt_tokens_source: str = "response"
    preferred_output_tokens_source: str = "response"
    openai__api_key: str | None = field(default=None, repr=False)
    openai__bearer_token: str | None = field(default=None, repr=False)
    openai__headers: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    openai__organization: str | None = None
    openai__project: str | None = None
    openai__base_url: str = "http://localhost:8000"
    openai__max_output_tokens: int = 16384
    openai__verify: bool = True

    @property
    def variables(self) -> dict[str, Any]:
        """As `guidellm config` prints them, secrets struck out."""
        hidden = ("openai__api_key", "openai__bearer_token", "openai__headers")
        shown = {name: "***" if name in hidden and value else value for name, value in vars(self).items()}
        return {PREFIX + name.upper(): "" if value in (None, {}) else value for name, value in shown.items()}


def settings(environment: Mapping[str, str]) -> Settings:
    """Read them; names may be in any letters. UsageError for a value that is none of its kind."""
    given = {name.upper(): value for name, value in environment.items() if name.upper().startswith(PREFIX)}
    found = {}
    for name, read in READERS.items():
        variable = PREFIX + name.upper()
        if given.get(variable):
            try:
                found[name] = read(given[variable])
            except ValueError as error:
                raise UsageError(f"{variable} is {given[variable]!r}: give {error}") from None
    return Settings(**found)


def _whole(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ValueError("a number of seconds above 0")
    return int(found) if found.is_integer() else found


def _flag(text: str) -> bool:
    known = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    if text.strip().lower() not in known:
        raise ValueError("true or false")
    return known[text.strip().lower()]


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return read


def _headers(text: str) -> dict[str, str | None]:
    found = json.loads(text) if text.lstrip().startswith("{") else None
    if not isinstance(found, dict):
        raise ValueError('headers as JSON, like {"x-team": "a"}')
    return found


READERS: dict[str, Callable[[str], Any]] = {
    "max_concurrency": _whole,
    "request_timeout": _seconds,
    "default_sweep_number": _whole,
    "preferred_route": _one_of(tuple(ROUTES)),
    "preferred_prompt_tokens_source": _one_of(SOURCES),
    "preferred_output_tokens_source": _one_of(SOURCES),
    "openai__api_key": str,
    "openai__bearer_token": str,
    "openai__headers": _headers,
    "openai__organization": str,
    "openai__project": str,
    "openai__base_url": str,
    "openai__max_output_tokens": _whole,
    "openai__verify": _flag,
}
