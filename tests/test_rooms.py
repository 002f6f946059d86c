"""The order of the rooms: what may import what, read from the source."""

from __future__ import annotations

import ast
import gc
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import vllmperf

FOLDER = Path(vllmperf.__file__).parent

FLOORS = (
    "__main__",
    "__init__ cli",
    "service",
    "dropin",
    "api",
    "formats",
    "report",
    "model own_error sweeps",
    "loadgen",
    "repeats",
    "run",
    "comparison distribution",
    "metrics",
    "record",
    "sim",
    "starts",
    "bucket kube scrape",
    "target",
    "plan hints",
    "datasets",
    "tokenizer",
    "hub data_file parser place temporary whole_file",
    "reach",
    "errors numbers outlet paths server_words shown signals text_file version",
    "exit_codes _engine _sim",
)
"""From the top down. A room (a folder or a file) imports only from floors below its own."""

TABLES = {"cli", "datasets", "formats.runs"}
"""Folders that are a table: they find their own modules by name. The face has names for what others import lazily."""


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted([*FOLDER.rglob("*.py"), *FOLDER.glob("_*.pyi")]):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = modules()
ROOM_FLOOR = {room: floor for floor, rooms in enumerate(reversed(FLOORS)) for room in rooms.split()}


@pytest.fixture(autouse=True)
def _no_finalizers() -> Iterator[None]:
    """A finalizer that prints a traceback inside `ast.parse` breaks it before CPython 3.11.8 and 3.12.2 (gh-106905)."""
    gc.disable()
    yield
    gc.enable()


def imported(name: str) -> Iterator[str]:
    """Modules that a module imports anywhere: in functions and for type checkers, too."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (known(alias.name, "") for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            if is_ours(node.module or ""):
                yield from (known(node.module or "", alias.name) for alias in node.names)


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "vllmperf"


def known(module: str, name: str) -> str:
    """The module that is meant: `from a import b` may name a module b or a thing in a."""
    whole = f"{module}.{name}".removeprefix("vllmperf").strip(".")
    home = module.removeprefix("vllmperf").strip(".") or "__init__"
    return whole if whole in MODULES else home


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_has_its_floor() -> None:
    assert {room(name) for name in MODULES} == set(ROOM_FLOOR)


def test_contributing_names_every_room() -> None:
    page = (FOLDER.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {room(name) for name in MODULES if not room(name).startswith("_")}
    assert {one for one in rooms if f"{one}.py`" not in page and f"vllmperf/{one}`" not in page} == set()


def test_no_import_runs_back_up() -> None:
    up = [
        f"{name} -> {other}"
        for name in MODULES
        for other in imported(name)
        if room(name) != room(other) and ROOM_FLOOR[room(name)] <= ROOM_FLOOR[room(other)]
    ]
    assert up == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter({name: set(imported(name)) - {name} for name in MODULES}).prepare()


def test_no_import_hides_in_a_string() -> None:
    hidden = {
        name
        for name, path in MODULES.items()
        if "import_module(" in (text := path.read_text(encoding="utf-8")) and '"pyarrow' not in text
    }
    assert hidden - TABLES == {"__init__"}
