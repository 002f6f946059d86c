"""Data that are read by packages of others, when these are there: Parquet and Arrow by pyarrow, data sets by datasets."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError

Row = Mapping[str, Any]
COLUMNAR = (".parquet", ".arrow")


def rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet or Arrow file (file or stream). Raises UsageError by name."""
    kind = path.suffix.lower()
    arrow = _package(
        "pyarrow", f"--data {path}: {kind} is read by pyarrow, which is not here", "or give .jsonl or .csv"
    )
    try:
        table = _parquet(path) if kind == ".parquet" else _arrow(arrow, path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two
        raise UsageError(f"--data {path} cannot be read: {' '.join(str(error).split())}") from None
    yield from table.to_pylist()


def _parquet(path: Path) -> Any:
    return importlib.import_module("pyarrow.parquet").read_table(path)


def _arrow(arrow: Any, path: Path) -> Any:
    with arrow.memory_map(str(path)) as source:
        try:
            return arrow.ipc.open_file(source).read_all()
        except arrow.ArrowInvalid:
            source.seek(0)
            return arrow.ipc.open_stream(source).read_all()


def hub(name: str, arguments: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a data set of the Hugging Face hub, or of a folder that `datasets` can load.

    arguments: what load_dataset takes; without a split the first one is read, as in guidellm. UsageError by name.
    """
    what = f"--data {name}: there is no such file, and data sets are loaded by datasets, which is not here"
    package = _package("datasets", what, "or give a file, or prompt_tokens=128,output_tokens=128")
    try:
        found = package.load_dataset(name, **arguments)
    except Exception as error:  # whatever the hub, the network or the loader of a data set raises
        raise UsageError(f"--data {name} cannot be loaded: {' '.join(str(error).split())}") from None
    yield from next(iter(found.values())) if isinstance(found, dict) else found


def _package(name: str, what: str, instead: str) -> Any:
    try:
        importlib.import_module("pyarrow.ipc" if name == "pyarrow" else name)
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"{what}: pip install {name}, {instead}") from None
