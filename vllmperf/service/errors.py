"""What a request to the service is answered when it cannot be done: one line, and the field that is wrong."""

from __future__ import annotations

import re
import string

from vllmperf.errors import SettingError, UsageError, VllmperfError
from vllmperf.plan.plan import PARTS

NAMES = r"(?:key|token(?!s|iz)|secret|password|credential|authorization|cookie)"
SECRET = re.compile(
    rf"({NAMES}[\w-]*(?:=|\\?[\"']\s*[:=]\s*\\?[\"'])(?:bearer\s+)?)[^\s&\"'\\]+",
    re.IGNORECASE,
)
"""In what an error says back of what came: a name that sounds like a secret, and the value after it."""


class RefusedError(Exception):
    """An answer that is no success. field: of the request, where one is to blame."""

    def __init__(
        self, status: int, message: str, field: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.retry_after_s = status, field, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Beside those that every answer has."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def body(self) -> dict[str, str | None]:
        line = "".join(letter if letter.isprintable() else " " for letter in str(self))
        return {"error": SECRET.sub(r"\1***", line), "field": self.field}


class FieldError(UsageError):
    """A value that makes no sense, and the field that holds it."""

    def __init__(self, message: str, field: str | None) -> None:
        super().__init__(message)
        self.field = field


def refusal(error: VllmperfError) -> RefusedError:
    """The answer to a request with a wrong value."""
    return RefusedError(400, " ".join(str(error).split()), field_of(error))


def field_of(error: VllmperfError) -> str | None:
    """The field that an error is about; None where it names none."""
    if isinstance(error, FieldError):
        return error.field
    if isinstance(error, SettingError):
        names = (name for _, name, _, _ in string.Formatter().parse(error.words) if name)
        own = next((name for name in names if name not in error.values), None)
        return own or (str(error.values["given"]) if "given" in error.values else None)
    found = re.search(rf"\b(?:{'|'.join(PARTS)})\.(\w+)", str(error))
    return found[1] if found else None
