"""Text files of our own: written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from vllmperf.errors import UsageError


def write_whole(path: Path, content: str | Callable[[TextIO], object], errors: str = "strict") -> None:
    """Write UTF-8 beside its place and move it there, so that nobody ever sees half of it; what stood there before stays
    until then. content: the text, or what writes it. errors: of the encoding.

    What is no file (a pipe, /dev/stdout) is written to as it is. Raises UsageError when that fails.
    """
    try:
        if path.exists() and not path.is_file():
            _write(path, content, errors)
        else:
            _write_beside(path.resolve(), content, errors)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def check_place(flag: str, path: Path) -> None:
    """Raises UsageError where no file could be written, so that this is said before the work and not after it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--{flag} {path}: there is no folder {folder}; make it, or choose another file")
    if path.is_dir():
        raise UsageError(f"--{flag} {path} is a folder: name a file in it")
    if not path.exists() and not os.access(folder, os.W_OK):
        raise UsageError(f"--{flag} {path}: the folder {folder} cannot be written to")


def _write_beside(path: Path, content: str | Callable[[TextIO], object], errors: str) -> None:
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        _write(beside, content, errors)
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write(path: Path, content: str | Callable[[TextIO], object], errors: str) -> None:
    with path.open("w", encoding="utf-8", errors=errors, newline="") as file:
        if isinstance(content, str):
            file.write(content)
        else:
            content(file)
