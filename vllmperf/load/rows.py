"""Data set files, read as streams; a bad row is named with its file, row and line."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from vllmperf import text_file
from vllmperf.errors import UsageError

PIECE = 1 << 20
BETWEEN = re.compile(r"[\s,\[\]]*")
"""What stands between the elements of a JSON list, or the rows of JSON lines."""
CUT_CHARS = 16
"""A JSON error so near to the end of what was read may be the cut itself (`fal`, `\\u12`)."""


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"--dataset-path {path}: {error.strerror or error}") from None


def _bad(path: Path, number: int, line: int, what: str) -> UsageError:
    return UsageError(f"{path} row {number}, line {line}: {what}")


def _encoding(path: Path, file: BinaryIO) -> str:
    """How the file is written, by its first bytes; it is at its start again."""
    head = file.read(text_file.HEAD_BYTES)
    file.seek(0)
    try:
        return text_file.encoding_of(head)
    except text_file.NoTextError as error:
        raise UsageError(f"--dataset-path {path} {error}") from None


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that hold something."""
    return ((number, line) for number, line in enumerate(_all_lines(path, file), 1) if line.strip())


def _all_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """Without their LF; other marks that Unicode has for lines may stand within a text."""
    rest = ""
    for piece in _pieces(path, file):
        *whole, rest = (rest + piece).split("\n")
        yield from whole
    yield rest


def lines(path: Path) -> list[str]:
    """The lines of a text file that hold something, each with its line end."""
    with _open(path) as file:
        found = [line.rstrip() + "\n" for _, line in _lines(path, file)]
    if not found:
        raise UsageError(f"--dataset-path {path} is empty")
    return found


# ---- custom: JSON lines ----


def custom(path: Path, *, ids: bool = True) -> Iterator[tuple[str | list[int], int | None]]:
    """(prompt, output_tokens or None) of each row of a JSON lines file.

    A prompt is a text or, with ids=True, may be a list of token ids.
    """
    with _open(path) as file:
        for number, (line, text) in enumerate(_lines(path, file), 1):
            yield _custom_row(path, number, line, text, ids)


def _custom_row(
    path: Path, number: int, line: int, text: str, ids: bool
) -> tuple[str | list[int], int | None]:
    try:
        row: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(path, number, line, f"this is no JSON ({error})") from None
    if not isinstance(row, dict) or "prompt" not in row:
        raise _bad(path, number, line, 'the row has no "prompt"')
    prompt, length = row["prompt"], row.get("output_tokens")
    if _is_ids(prompt) and not ids:
        raise _bad(path, number, line, '"prompt" is a list of token ids, chat needs a text')
    if not _is_ids(prompt) and not (isinstance(prompt, str) and prompt):
        raise _bad(path, number, line, '"prompt" must be a text or a list of token ids, and not be empty')
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise _bad(path, number, line, '"output_tokens" must be a whole number above 0')
    return prompt, length


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)


# ---- ShareGPT: one JSON list, or JSON lines ----


def sharegpt(path: Path) -> Iterator[tuple[str, str]]:
    """(first turn, second turn) of each conversation that has two."""
    with _open(path) as file:
        for number, line, row in _values(path, file):
            pair = _conversation(path, number, line, row)
            if pair is not None:
                yield pair


def _conversation(path: Path, number: int, line: int, row: Any) -> tuple[str, str] | None:
    turns = row.get("conversations", row.get("conversation")) if isinstance(row, dict) else None
    if not isinstance(turns, list):
        raise _bad(path, number, line, 'the row has no list "conversations"')
    if len(turns) < 2:
        return None
    question, answer = (turn.get("value") if isinstance(turn, dict) else None for turn in turns[:2])
    if not isinstance(question, str) or not isinstance(answer, str):
        raise _bad(path, number, line, 'a turn has no text "value"')
    return (question, answer) if question else None


def _values(path: Path, file: BinaryIO) -> Iterator[tuple[int, int, Any]]:
    """(row, line, value) of each element, holding no more of the file than a piece and an element."""
    decoder = json.JSONDecoder()
    pieces = _pieces(path, file)
    text, at = "", 0
    number, line = 1, 1  # of the place `at`
    while True:
        start = _end_of_gap(text, at)
        try:
            if start == len(text):
                raise json.JSONDecodeError("the file ends", text, start)
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            if _may_be_cut(error, text) and (more := next(pieces, "")):
                text, at = text[at:] + more, 0
                continue
            if start == len(text):
                return
            wrong_line = line + text.count("\n", at, getattr(error, "pos", start))
            raise _bad(
                path, number, wrong_line, f"this is no JSON ({getattr(error, 'msg', error)})"
            ) from None
        yield number, line + text.count("\n", at, start), value
        line += text.count("\n", at, end)
        number += 1
        # Cut off what is done with, but not at every row: that would copy the piece each time.
        text, at = (text[end:], 0) if end > PIECE // 2 else (text, end)


def _end_of_gap(text: str, at: int) -> int:
    match = BETWEEN.match(text, at)
    return match.end() if match else at


def _may_be_cut(error: Exception, text: str) -> bool:
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(text) - CUT_CHARS or error.msg.startswith("Unterminated string")


def _pieces(path: Path, file: BinaryIO) -> Iterator[str]:
    """The file's text, a piece at a time."""
    decode = codecs.getincrementaldecoder(_encoding(path, file))().decode
    line = 1
    try:
        while piece := file.read(PIECE):
            if text := decode(piece):
                yield text
            line += text.count("\n")
        decode(b"", True)
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        raise UsageError(f"--dataset-path {path} {text_file.no_text(error, line)}") from None
