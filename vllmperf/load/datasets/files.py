"""Data set files, read whole: the originals shuffle all rows before they take the first."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError


def read_text(path: str) -> str:
    """The text of a file. UsageError when it cannot be read."""
    if not path:
        raise UsageError("this data set needs --dataset-path FILE")
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"--dataset-path {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"--dataset-path {path} is no UTF-8 text ({error.reason})") from None


def read_json(path: str) -> list[Any]:
    """The list that a JSON file holds."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--dataset-path {path} is no JSON ({error})") from None
    if not isinstance(found, list):
        raise UsageError(f"--dataset-path {path} is no JSON list")
    return found


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, blank lines left out."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} line {number}: this is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path} line {number}: this is no JSON object")
        found.append(row)
    return found


def read_csv(path: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file."""
    rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    if not rows:
        raise UsageError(f"--dataset-path {path} is empty")
    return rows[0], rows[1:]
