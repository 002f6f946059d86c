"""Runs in files: one module a format, which is the table of formats.

A module has any of
  recognise(file: File) -> bool       whether it can read the file,
  read(file: File) -> list[Run]       the runs in it, what it does not say is None,
  write(run: Run, path: Path) -> None the run in this format; raises UsageError.
Its name is the name of the format, its first line the help. A new format is a new module here, and its test.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from vllmperf.data_file import File
from vllmperf.errors import UsageError
from vllmperf.run import Run


def names() -> list[str]:
    """Of all formats."""
    return sorted(one.name for one in pkgutil.iter_modules(__path__))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def writable() -> list[str]:
    """The formats that `write` takes."""
    return [name for name in names() if hasattr(_module(name), "write")]


def read_all(path: Path | str) -> list[Run]:
    """The runs in a file of any known format. Raises UsageError."""
    file = File(Path(path))
    for name in names():
        module = _module(name)
        if hasattr(module, "recognise") and module.recognise(file):
            found: list[Run] = module.read(file)
            if not found:
                raise UsageError(f"{path} holds no run: nothing is in it but the form of {name}")
            return found
    known = ", ".join(name for name in names() if hasattr(_module(name), "read"))
    raise UsageError(f"{path} holds no run in a known format ({known}){file.why_no_data}")


def read(path: Path | str) -> Run:
    """The one run in a file of any known format. Raises UsageError when it holds several."""
    found = read_all(path)
    if len(found) != 1:
        raise UsageError(f"{path} holds {len(found)} runs: give a file of one")
    return found[0]


def write(run: Run, path: Path | str, name: str) -> None:
    """Write the run in a format. Raises UsageError when there is no such format or the file cannot be written."""
    if name not in writable():
        raise UsageError(f"there is no format {name!r}: known are {', '.join(writable())}")
    try:
        _module(name).write(run, Path(path))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
