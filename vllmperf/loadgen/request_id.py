"""x-request-id: a UUID whose last 12 hex digits are the number of the request, or a prefix of one's own and the number."""

from __future__ import annotations

import re
import uuid

HEADER = "x-request-id"
PREFIX_LENGTH = 24
"""All of a UUID but the last 12 digits."""
UUID_PREFIX = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-")


def uuid_prefix() -> str:
    """The first 24 characters of a random UUID (version 4): no two runs share one."""
    return str(uuid.uuid4())[:PREFIX_LENGTH]


def is_uuid_prefix(prefix: str) -> bool:
    """Whether 12 hex digits make a UUID of it (RFC 9562, lower case)."""
    return UUID_PREFIX.fullmatch(prefix) is not None


def request_id(prefix: str, number: int) -> str:
    """The id that the engine sends with request `number`, from 0."""
    return f"{prefix}{number:012x}" if is_uuid_prefix(prefix) else f"{prefix}{number}"


def number_of(text: str, prefix: str) -> int:
    """The number in a request_id() of that prefix."""
    return int(text.removeprefix(prefix), 16 if is_uuid_prefix(prefix) else 10)
