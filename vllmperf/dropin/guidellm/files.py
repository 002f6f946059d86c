"""Prompts of text files, one a line, of files of rows, and of data sets of the Hugging Face hub."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vllmperf import hub
from vllmperf.datasets.rows import TEXTS, Row, lines, rows
from vllmperf.dropin.guidellm.source import Item, Items
from vllmperf.errors import UsageError

NOT_HERE = (".hdf5", ".tar", ".db")
ROWS = (".csv", ".json", ".jsonl", ".parquet", ".arrow")
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
HUB_ARGUMENTS = (*NAMES, "name", "split", "revision", "field")
"""What --data-args may say of a data set of the hub; name: its subset."""
FLAG = "--data"
Fields = Mapping[str, Any]


def source(data: str, arguments: Mapping[str, Any] | None, shuffle_seed: int | None) -> Items:
    """The prompts of a file, shuffled when there is a seed. UsageError by name for what cannot be read."""
    path, given = Path(data), dict(arguments or {})
    found = list(_file(path, given) if path.is_file() else _hub(path, data, given))
    if not found:
        raise UsageError(f"--data {path} holds no prompts")
    columns = _columns(path, found[0], given)
    items = [_item(path, number, row, columns) for number, row in enumerate(found, 1)]
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(items)
    return Items(items)


def _hub(path: Path, data: str, given: Mapping[str, Any]) -> Iterator[Fields]:
    """The rows of a split of a data set of the hub, by default of train."""
    if path.is_dir() or data.startswith(hub.PATH_BEGINS) or path.suffix.lower() in (*TEXTS, *ROWS, *NOT_HERE):
        what = "this is a folder: give one of its files" if path.is_dir() else "there is no such file"
        raise UsageError(f"--data {path}: {what}")
    _check_arguments(given, HUB_ARGUMENTS)
    split = str(given.get("split") or "train")
    files = hub.dataset_files(data, given.get("name"), split, given.get("revision"), FLAG)
    return itertools.chain.from_iterable(_file(file, {"field": given.get("field")}) for file in files)


def _check_arguments(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise UsageError(f"--data-args: {unknown} is not known here; there are {', '.join(known)}")


def _file(path: Path, given: Mapping[str, Any]) -> Iterator[Fields]:
    kind = path.suffix.lower()
    _check_arguments(given, ARGUMENTS)
    if kind in NOT_HERE:
        raise UsageError(f"--data {path}: {kind} is not read here; convert it to .jsonl or .csv")
    if kind in TEXTS:
        return ({"text": line.removesuffix("\n")} for line in lines(path, FLAG))
    if kind not in ROWS:
        raise UsageError(f"--data {path}: give a .txt, .csv, .json, .jsonl, .parquet or .arrow file")
    found = rows(path, FLAG)
    return (
        _listed(path, list(found), given.get("field")) if kind == ".json" else (row.fields for row in found)
    )


def _listed(path: Path, found: list[Row], field: str | None) -> Iterator[Fields]:
    """Objects one after the other, or an object with one list of them, or the one under the key `field`."""
    values = [row.value for row in found]
    if len(found) == 1 and isinstance(values[0], dict):
        lists = [value for value in values[0].values() if isinstance(value, list)]
        values = lists[0] if len(lists) == 1 and field is None else values
        values = values[0].get(field) if field is not None else values
    elif field is not None:
        values = []
    if not isinstance(values, list) or not values or not all(isinstance(row, dict) for row in values):
        where = "is no list of objects" if field is None else f"has no list of objects under {field}"
        raise UsageError(f"--data {path} {where}: write one object a line")
    return iter(values)


def _columns(path: Path, first: Fields, given: Mapping[str, Any]) -> dict[str, str | None]:
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


def _item(path: Path, number: int, row: Fields, columns: Mapping[str, str | None]) -> Item:
    text = row.get(columns["prompt"] or "")
    if not isinstance(text, str) or not text:
        raise UsageError(f"--data {path} row {number}: {columns['prompt']} is no text")
    lengths = [_length(path, number, row, columns[name]) for name in COUNTS]
    return Item.of_text(text, *lengths)


def _length(path: Path, number: int, row: Fields, column: str | None) -> int | None:
    value = row.get(column) if column else None
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdecimal() or int(str(value)) < 1:
        raise UsageError(f"--data {path} row {number}: {column} is {value!r}, not a whole number above 0")
    return int(str(value))
