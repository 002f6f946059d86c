"""The GUIDELLM__… environment variables, with the defaults of guidellm 0.3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllmperf.dropin.guidellm import dotenv
from vllmperf.dropin.guidellm.values import choice, json_object, seconds, shown, whole
from vllmperf.errors import UsageError

PREFIX = "GUIDELLM__"
ROUTES = {"text_completions": "/v1/completions", "chat_completions": "/v1/chat/completions"}
LIMITS = {"text_completions": "max_tokens", "chat_completions": "max_completion_tokens"}
"""The field of the longest answer, by route."""
OPENAI = PREFIX + "OPENAI"
HEADER = OPENAI + "__HEADERS__"
SOURCES = ("request", "response", "local")
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says. Names are those of the variables in small letters."""

    max_concurrency: int = 512
    request_timeout: float = 300
    request_follow_redirects: bool = True
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
    openai__max_output_key: Mapping[str, str] = field(default_factory=lambda: dict(LIMITS))
    openai__verify: bool = True

    @property
    def variables(self) -> dict[str, Any]:
        """As `guidellm config` prints them, secrets struck out."""
        hidden = ("openai__api_key", "openai__bearer_token", "openai__headers")
        shown = {name: "***" if name in hidden and value else value for name, value in vars(self).items()}
        return {PREFIX + name.upper(): "" if value in (None, {}) else value for name, value in shown.items()}

    def lines(self) -> list[str]:
        """The variables as lines of a file .env."""
        return [f"{name}={_written(value)}" for name, value in self.variables.items()]


def settings(environment: Mapping[str, str], usual: Mapping[str, Any] | None = None) -> Settings:
    """Read them; names may be in any letters. UsageError for a value that is none of its kind.

    usual: other defaults than those of 0.3.
    """
    given = _given(environment)
    found = dict(usual or {})
    for name, read in READERS.items():
        variable = PREFIX + name.upper()
        if given.get(variable):
            try:
                found[name] = read(given[variable])
            except ValueError as error:
                raise UsageError(f"{variable} is {shown(name, given[variable])}: give {error}") from None
    if own := _headers_by_name(environment):
        found["openai__headers"] = {**found.get("openai__headers", {}), **own}
    return Settings(**found)


def _written(value: Any) -> str:
    if value == "":
        return ""
    return json.dumps(value) if isinstance(value, dict) else f'"{value}"'


def variables(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment, and before it what a file .env in the folder says of guidellm's own variables."""
    names = {name.upper() for name in environment}
    found = dotenv.read(folder / ".env", environment)
    own = {name: text for name, text in found.items() if name.upper().startswith(PREFIX)}
    return {**{name: text for name, text in own.items() if name.upper() not in names}, **environment}


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours among the variables; an object in GUIDELLM__OPENAI stands for several."""
    given = {name.upper(): text for name, text in environment.items() if name.upper().startswith(PREFIX)}
    whole = given.pop(OPENAI, "")
    inner = _object(whole, OPENAI) if whole else {}
    texts = {
        f"{OPENAI}__{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in inner.items()
        if value is not None
    }
    return {**texts, **given}


def _headers_by_name(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name[len(HEADER) :].lower(): text
        for name, text in environment.items()
        if name.upper().startswith(HEADER)
    }


def _object(text: str, variable: str) -> dict[str, Any]:
    try:
        return json_object(text)
    except ValueError as error:
        raise UsageError(f"{variable} is {shown('openai', text)}: give {error}") from None


def _seconds(text: str) -> float:
    found = seconds(text)
    return int(found) if found.is_integer() else found


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in (*TRUE, *FALSE):
        raise ValueError("true or false")
    return word in TRUE


def _limits(text: str) -> dict[str, str]:
    found = json_object(text)
    if not set(found) <= set(LIMITS) or not all(isinstance(name, str) and name for name in found.values()):
        raise ValueError(f"an object of JSON with {' and '.join(LIMITS)}")
    return {**LIMITS, **found}


READERS: dict[str, Callable[[str], Any]] = {
    "max_concurrency": whole,
    "request_timeout": _seconds,
    "request_follow_redirects": _flag,
    "default_sweep_number": whole,
    "preferred_route": choice(*ROUTES),
    "preferred_prompt_tokens_source": choice(*SOURCES),
    "preferred_output_tokens_source": choice(*SOURCES),
    "openai__api_key": str,
    "openai__bearer_token": str,
    "openai__headers": json_object,
    "openai__organization": str,
    "openai__project": str,
    "openai__base_url": str,
    "openai__max_output_tokens": whole,
    "openai__max_output_key": _limits,
    "openai__verify": _flag,
}
