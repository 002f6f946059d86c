"""Data set files, read whole: the originals shuffle all rows before they take the first."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError


def read_text(path: str, newline: str | None = None) -> str:
    """The text of a file, lines as newline says (see text_file.read). UsageError when it cannot be read."""
    if not path:
        raise UsageError("this data set needs --dataset-path FILE")
    try:
        return text_file.read(path, newline)
    except OSError as error:
        raise UsageError(f"--dataset-path {path}: {error.strerror or error}") from None
    except text_file.NoTextError as error:
        raise UsageError(f"--dataset-path {path} {error}") from None


def read_json(path: str) -> list[Any]:
    """The list that a JSON file holds."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--dataset-path {path} is no JSON ({error})") from None
    if not isinstance(found, list):
        raise UsageError(f"--dataset-path {path} is no JSON list")
    return found


def json_lines(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a JSON lines file, blank lines left out; a bad line is refused when it is its turn."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, _object(path, number, line)


def _object(path: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} line {number}: this is no JSON ({error})") from None
    if not isinstance(row, dict):
        raise UsageError(f"{path} line {number}: this is no JSON object")
    return row


def read_csv(path: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file."""
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path, newline=""))) if row]
    except csv.Error as error:
        raise UsageError(f"--dataset-path {path} is no CSV ({error})") from None
    if not rows:
        raise UsageError(f"--dataset-path {path} is empty")
    return rows[0], rows[1:]
