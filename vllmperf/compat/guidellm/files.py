"""Data files of prompts: text with one a line, CSV, JSON, JSON lines, Parquet and Arrow; data sets of the hub."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.compat.guidellm import packages
from vllmperf.compat.guidellm.source import Item, Items
from vllmperf.errors import UsageError

TEXTS = (".txt", ".text")
NOT_HERE = (".hdf5", ".tar", ".db")
KNOWN = (*TEXTS, ".csv", ".json", ".jsonl", *packages.COLUMNAR)
COLUMNS = (
    "prompt",
    "prompts",
    "instruction",
    "instructions",
    "question",
    "questions",
    "input",
    "inputs",
    "context",
    "content",
    "conversation",
    "conversations",
    "turn",
    "turns",
    "text",
)
"""Where guidellm looks for the prompt, in its order; a single column is the prompt whatever its name."""
COUNTS = {
    "prompt_tokens_count_column": ("prompt_tokens_count", "prompt_tokens"),
    "output_tokens_count_column": ("output_tokens_count", "output_tokens"),
}
NAMES = ("prompt_column", "text_column", *COUNTS)
ARGUMENTS = (*NAMES, "split", "field")
"""What --data-args may say of a file. split changes nothing: a file has one."""
Row = Mapping[str, Any]


def source(data: str, arguments: Mapping[str, Any] | None, shuffle_seed: int | None) -> Items:
    """The prompts of a file, shuffled when there is a seed. UsageError by name for what cannot be read."""
    path, given = Path(data), dict(arguments or {})
    rows = list(_rows(path, given) if path.is_file() else _hub(path, data, given))
    if not rows:
        raise UsageError(f"--data {path} holds no prompts")
    columns = _columns(path, rows[0], given)
    items = [_item(path, number, row, columns) for number, row in enumerate(rows, 1)]
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(items)
    return Items(items)


def _hub(path: Path, data: str, given: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a folder or a data set of the hub; what does not name columns goes to its loader."""
    if not path.is_dir() and (data.startswith((".", "/", "~")) or path.suffix.lower() in (*KNOWN, *NOT_HERE)):
        raise UsageError(f"--data {path}: there is no such file")
    return packages.hub(data, {name: value for name, value in given.items() if name not in NAMES})


def _rows(path: Path, given: Mapping[str, Any]) -> Iterator[Row]:
    kind = path.suffix.lower()
    unknown = next((name for name in given if name not in ARGUMENTS), None)
    if unknown is not None:
        raise UsageError(f"--data-args: {unknown} is not known here; there are {', '.join(ARGUMENTS)}")
    if kind in NOT_HERE:
        raise UsageError(f"--data {path}: {kind} is not read here; convert it to .jsonl or .csv")
    if kind in packages.COLUMNAR:
        return packages.rows(path)
    if kind == ".csv":
        return _csv_rows(path)
    text = _text(path)
    if kind in TEXTS:
        return ({"text": line} for line in text.split("\n") if line.strip())
    if kind in (".json", ".jsonl"):
        return _json_rows(path, text, given.get("field"))
    raise UsageError(f"--data {path}: give a .txt, .csv, .json, .jsonl, .parquet or .arrow file")


def _text(path: Path, newline: str | None = None) -> str:
    try:
        return text_file.read(path, newline)
    except OSError as error:
        raise UsageError(f"--data {path} cannot be read: {error.strerror or error}") from None
    except text_file.NoTextError as error:
        raise UsageError(f"--data {path} {error}") from None


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        yield from csv.DictReader(io.StringIO(_text(path, newline="")))
    except csv.Error as error:
        raise UsageError(f"--data {path} is no CSV ({error})") from None


def _json_rows(path: Path, text: str, field: str | None) -> Iterator[Row]:
    """A list of objects, objects in lines, or an object with one list, or the one under the key `field`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = [_line(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if field is not None:
        found = found.get(field) if isinstance(found, dict) else None
    elif isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else [found]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        where = "is no list of objects" if field is None else f"has no list of objects under {field}"
        raise UsageError(f"--data {path} {where}: write one object a line")
    return iter(found)


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--data {path} line {number}: this is no JSON ({error})") from None


def _columns(path: Path, first: Row, given: Mapping[str, Any]) -> dict[str, str | None]:
    """Which column holds the prompt and the two lengths."""
    named = given.get("prompt_column") or given.get("text_column")
    guessed = (
        next(iter(first)) if len(first) == 1 else next((name for name in COLUMNS if name in first), None)
    )
    prompt = named or guessed
    if prompt is None or prompt not in first:
        raise UsageError(
            f"--data {path}: no column {named or 'of prompts'} among {', '.join(map(str, first))}; "
            'name it by --data-args \'{"prompt_column": "…"}\''
        )
    counts = {
        name: given.get(name) or next((usual for usual in known if usual in first), None)
        for name, known in COUNTS.items()
    }
    return {"prompt": str(prompt), **counts}


def _item(path: Path, number: int, row: Row, columns: Mapping[str, str | None]) -> Item:
    text = row.get(columns["prompt"] or "")
    if not isinstance(text, str) or not text:
        raise UsageError(f"--data {path} row {number}: {columns['prompt']} is no text")
    lengths = [_length(path, number, row, columns[name]) for name in COUNTS]
    return Item.of_text(text, *lengths)


def _length(path: Path, number: int, row: Row, column: str | None) -> int | None:
    value = row.get(column) if column else None
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdecimal() or int(str(value)) < 1:
        raise UsageError(f"--data {path} row {number}: {column} is {value!r}, not a whole number above 0")
    return int(str(value))
