"""What proves to a server who asks. It goes beside the plan, and is never written anywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.json_object import JsonObject

SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "cookie", "proxy-authorization")
SECRET_WORDS = ("token", "secret", "password", "api-key", "apikey", "credential")
"""A header with one of these in its name is taken for a secret too."""
SECRETS = ("api_key", "api_key_file")
"""Settings that are never written anywhere."""


def usual_key() -> str | None:
    """The bearer token where none is given."""
    return os.environ.get("OPENAI_API_KEY") or None


def is_secret(header: str) -> bool:
    """Whether the value of a header of this name must not be written anywhere."""
    name = header.lower()
    return name in SECRET_HEADERS or any(word in name for word in SECRET_WORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A bearer token, and headers that are secret."""

    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default=JsonObject(), repr=False)

    def __post_init__(self) -> None:
        key = self.api_key
        if key is not None and not (isinstance(key, str) and checks.is_plain(key)):
            raise SettingError("{api_key} holds what no header can carry: check it, or OPENAI_API_KEY")
        object.__setattr__(self, "headers", checks.header_fields("headers", self.headers))

    @classmethod
    def taken_from(cls, given: dict[str, Any], usual: str | None) -> Credentials:
        """Takes what is secret out of these settings. usual: the API key where none is given. Raises UsageError."""
        headers = checks.header_fields("headers", given.pop("headers", None) or {})
        plain, secret = cls.apart(headers)
        if plain:
            given["headers"] = plain
        file, key = given.pop("api_key_file", None), given.pop("api_key", None)
        return cls(api_key=_key_in(file) if file else key or usual, headers=secret)

    @staticmethod
    def apart(headers: Mapping[str, str]) -> tuple[JsonObject, JsonObject]:
        """Headers that a plan may hold, and those that are secret."""
        plain = {name: value for name, value in headers.items() if not is_secret(name)}
        secret = {name: value for name, value in headers.items() if is_secret(name)}
        return JsonObject(plain), JsonObject(secret)

    @property
    def authorized(self) -> bool:
        """Whether requests carry a key."""
        return bool(self.api_key) or any(name.lower() == "authorization" for name in self.headers)

    @property
    def secrets(self) -> list[str]:
        """Texts that must not be written anywhere."""
        hidden = [str(value) for value in self.headers.values()]
        # "Bearer abc": a server may echo the last word alone
        words = [value.split()[-1] for value in hidden if value.strip()]
        return [*([self.api_key] if self.api_key else []), *hidden, *words]


def _key_in(path: str | Path) -> str:
    try:
        key = text_file.read(path).strip()
    except (OSError, text_file.NoTextError) as error:
        raise SettingError("{api_key_file} {path} cannot be read: {error}", path=path, error=error) from None
    if not key:
        raise SettingError("{api_key_file} {path} is empty", path=path)
    return key
