"""Names of the modules, read from the source and by importing them; and that what they import is declared."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import vllmperf

FOLDER = Path(vllmperf.__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"

OTHER_NAMES = {
    "huggingface_hub": "huggingface-hub",
    "prometheus_client": "prometheus-client",
    "yaml": "PyYAML",
}
"""Packages that are installed under another name than they are imported under."""

SAY_NOTHING = {"looks", "doubts", "windows_curve", "doors", "tries"}
"""Names that do not say what they hold."""


def packages_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    needs = [*project["dependencies"], *(need for group in extras.values() for need in group)]
    declared = {re.split(r"[^\w.-]", need)[0] for need in needs}
    imported = {name for path in FOLDER.rglob("*.py") for name in packages_of(path)}
    others = imported - sys.stdlib_module_names - {"vllmperf"}
    assert {OTHER_NAMES.get(name, name) for name in others} <= declared


def test_no_module_is_hidden_by_a_function_or_a_class_of_its_package() -> None:
    hidden = []
    for found in pkgutil.walk_packages(vllmperf.__path__, "vllmperf."):
        package, _, name = found.name.rpartition(".")
        value = vars(importlib.import_module(package)).get(name)
        if value is not None and not inspect.ismodule(value):
            hidden.append(found.name)
    assert hidden == []


def test_pytest_would_collect_no_file_of_the_product() -> None:
    assert [path.name for path in FOLDER.rglob("*.py") if re.match(r"test_|.*_test\.py", path.name)] == []


def test_names_say_what_they_hold() -> None:
    used = {
        (path.name, node.id if isinstance(node, ast.Name) else node.attr)
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert {place for place in used if place[1].strip("_") in SAY_NOTHING} == set()
