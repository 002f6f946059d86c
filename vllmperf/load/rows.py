"""Data set files, read as streams; a bad row is named with its file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from vllmperf.errors import UsageError

PIECE = 1 << 20


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--dataset-path {path}: {error.strerror or error}") from None


def _bad(path: Path, line: int, what: str) -> UsageError:
    return UsageError(f"{path} line {line}: {what}")


def lines(path: Path) -> list[str]:
    """The lines of a text file that hold something, each with its line end."""
    with _open(path) as file:
        found = [line for line in file if line.strip()]
    if not found:
        raise UsageError(f"--dataset-path {path} is empty")
    return found


def custom(path: Path) -> Iterator[tuple[str | list[int], int | None]]:
    """(prompt, output_tokens or None) of each row of a JSON lines file. A prompt is a text or a list of token ids."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _custom_row(path, number, line)


def _custom_row(path: Path, number: int, line: str) -> tuple[str | list[int], int | None]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise _bad(path, number, f"this is no JSON ({error})") from None
    if not isinstance(row, dict) or "prompt" not in row:
        raise _bad(path, number, 'the row has no "prompt"')
    prompt, length = row["prompt"], row.get("output_tokens")
    is_ids = isinstance(prompt, list) and prompt and all(isinstance(item, int) for item in prompt)
    if not is_ids and not (isinstance(prompt, str) and prompt):
        raise _bad(path, number, '"prompt" must be a text or a list of token ids, and not be empty')
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise _bad(path, number, '"output_tokens" must be a whole number above 0')
    return prompt, length


def sharegpt(path: Path) -> Iterator[tuple[str, str]]:
    """(first turn, second turn) of each conversation that has two. The file is one JSON list, or JSON lines."""
    with _open(path) as file:
        for number, row in _objects(path, file):
            pair = _conversation(path, number, row)
            if pair is not None:
                yield pair


def _conversation(path: Path, number: int, row: Any) -> tuple[str, str] | None:
    turns = row.get("conversations", row.get("conversation")) if isinstance(row, dict) else None
    if not isinstance(turns, list):
        raise _bad(path, number, 'the row has no list "conversations"')
    if len(turns) < 2:
        return None
    values = [turn.get("value") if isinstance(turn, dict) else None for turn in turns[:2]]
    if not all(isinstance(value, str) for value in values):
        raise _bad(path, number, 'a turn has no text "value"')
    return (values[0], values[1]) if values[0] else None


def _objects(path: Path, file: TextIO) -> Iterator[tuple[int, Any]]:
    """(line number, value) of each element of a JSON list, or of each value of JSON lines, a piece at a time."""
    decoder = json.JSONDecoder()
    buffer, line, ended = "", 1, False
    while True:
        skipped = len(buffer) - len(buffer.lstrip(" \t\r\n[,]"))
        line += buffer.count("\n", 0, skipped)
        buffer = buffer[skipped:]
        try:
            if not buffer:
                raise ValueError("more needed")
            value, end = decoder.raw_decode(buffer)
        except ValueError as error:
            piece = "" if ended else file.read(PIECE)
            ended = not piece
            if piece:
                buffer += piece
                continue
            if buffer:
                at = line + buffer.count("\n", 0, getattr(error, "pos", 0))
                raise _bad(path, at, f"this is no JSON ({error})") from None
            return
        yield line, value
        line += buffer.count("\n", 0, end)
        buffer = buffer[end:]
