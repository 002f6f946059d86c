"""Cleans a line: terminal colours however they were spelled, carriage returns, stray bytes."""

from __future__ import annotations

import re

_ESCAPE = r"(?:\x1b|\x9b|\^\[|\\x1[bB]|\\u001[bB]|\\033|\\e|←|␛|#033|�)"
_LINK = r"\x1b\][^\x07\x1b]*+(?:\x07|\x1b\\)?"
_COLOUR = re.compile(rf"{_ESCAPE}\[[0-9;?]*+[A-Za-z]|\[\d{{1,3}}(?:;\d{{1,3}})*m|\x1b[()][A-Z0-9]|{_LINK}")
_MAY_HAVE_COLOUR = re.compile(r"[\x1b\x9b←␛�]|(?:\^\[|1[bB]|033|\\e)\[|\[\d{1,3}[;m]")


def decode(raw: bytes) -> str:
    """Bytes of one line as text; what is no UTF-8 is replaced, NUL bytes and the byte order mark are dropped. Text copied from
    a page may have hard blanks."""
    text = raw.decode("utf-8", "replace")
    if "\0" in text:
        text = text.replace("\0", "")
    if "\u00a0" in text:
        text = text.replace("\u00a0", " ")
    return text.lstrip("\ufeff")


def plain(text: str) -> str:
    """A line without colours. ESC may be the byte or spelled (`^[`, `←[`, `\\x1b[`, `\\u001b[`), or be lost."""
    if "[" in text and _MAY_HAVE_COLOUR.search(text):
        return _COLOUR.sub("", text)
    return text


def pieces(text: str) -> list[str]:
    """What was printed over each other in one line: a progress bar returns to the line's start again and again."""
    if text.endswith("^M"):
        text = text[:-2]
    if "\r" not in text:
        return [text]
    return [piece for piece in text.split("\r") if piece] or [""]
