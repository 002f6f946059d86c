"""What a server says in the body of an error: its message, whole, out of the usual JSON shapes and HTML pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

SAYING = ("title", "error", "errors", "reason", "message", "msg", "errorMessage", "error_message", "error_msg", "detail",
          "details", "description", "error_description", "cause")  # fmt: skip
"""Keys whose values say what is wrong, the broad ones first."""

BESIDE = ("param", "code")
"""Keys beside a message that may say what it leaves out: the first that it does not hold already."""

CUT_MESSAGE = re.compile(r'"(?:message|msg|detail|error)"\s*:\s*"((?:[^"\\]|\\.)*)')
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
NOT_TEXT = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def said(body: str) -> str:
    """The message of an error body; the body itself where it has no shape that we know. Blanks are made one."""
    text = body.removeprefix("\ufeff").strip()
    if text.startswith("<"):
        return _one_line(_of_page(text)) or _one_line(text)
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    message = _of_json(text[start:]) if start >= 0 else ""
    return _one_line(text[:start] + message if message else text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _of_page(text: str) -> str:
    """The words of an HTML page, its title first, without what repeats it."""
    import html

    found = TITLE.search(text)
    title = html.unescape(found[1]).strip() if found else ""
    pieces = html.unescape(NOT_TEXT.sub("\n", TITLE.sub(" ", text))).splitlines()
    words = " ".join(piece for piece in map(str.strip, pieces) if piece and not _repeats(piece, title))
    return ": ".join(filter(None, (title, words)))


def _repeats(piece: str, title: str) -> bool:
    return piece == title or (" " in piece and piece in title)


def _of_json(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        cut = CUT_MESSAGE.search(text)  # the end is missing, or it was no JSON after all
        return _unescaped(cut[1]) if cut else ""
    except RecursionError:
        return ""
    return _message(value)


def _unescaped(inside: str) -> str:
    try:
        return str(json.loads(f'"{inside}"'))
    except ValueError:
        return inside


def _message(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_message, value)))
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("loc"), list) and isinstance(value.get("msg"), str):  # FastAPI
        return f"{'.'.join(map(str, value['loc']))}: {value['msg']}"
    message = _joined(_message(value.get(key)) for key in SAYING)
    more = next(
        (value[key] for key in BESIDE if isinstance(value.get(key), str) and not value[key].isdigit()), ""
    )
    return f"{message} ({more})" if message and more and more not in message else message


def _joined(messages: Iterable[str]) -> str:
    """Those that say something new."""
    kept: list[str] = []
    for message in messages:
        if message and not any(message in other for other in kept):
            kept = [*(other for other in kept if other not in message), message]
    return ": ".join(kept)
