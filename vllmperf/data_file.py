"""A file of some tool: its first bytes, its text, the data in it (JSON or YAML)."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError

HEAD = 16
JSON_BEGINS = re.compile(r'\{\s*["}]|\[\s*[\[{"\]]')
"""As no log does: [2026-01-31 …, {'key': …"""
SQLITE = b"SQLite format 3\0"


class File:
    """A file whose format is looked for; each part of it is read once. Raises UsageError when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.why_no_data = ""
        try:
            with path.open("rb") as file:
                self.head = file.read(HEAD)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None

    @property
    def is_database(self) -> bool:
        return self.head == SQLITE

    @cached_property
    def text(self) -> str:
        """ "" where it is no text. A database may be large, and is none."""
        if self.is_database:
            return ""
        try:
            return text_file.read(self.path).strip()
        except (OSError, ValueError) as error:
            self.why_no_data = f": it {error}"
            return ""

    @cached_property
    def data(self) -> dict[str, Any]:
        """The object of JSON or YAML, the last one where there is one a line; {} where there is none."""
        for text in (self.text, self.text.rpartition("\n")[2]):
            try:
                found = parse(text) if text[:1] not in ("{", "[") else json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                return found
        if JSON_BEGINS.match(self.text) and (place := _place(self.text)):
            self.why_no_data = f": it begins as JSON and is broken: {place}"
        elif not self.text and not self.is_database and not self.why_no_data:
            self.why_no_data = ": it is empty"
        return {}

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """`data`, or all objects where there is one a line."""
        found = [data for line in self.text.splitlines() if line[:1] == "{" and (data := _object(line))]
        return found if len(found) > 1 and found[-1] == self.data else [self.data]


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _place(text: str) -> str:
    """Where JSON is broken; "" where it is not."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        lines = text.splitlines() if error.msg == "Extra data" else []
        for number, line in enumerate(lines, 1):  # an object a line
            if line.strip() and (place := _place(line) if len(lines) > 1 else ""):
                return place.replace("in line 1,", f"in line {number},")
        return f"{error.msg} in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""


def parse(text: str) -> Any:
    """A text as plain data. ValueError when it is neither JSON nor YAML."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"', ""):
            raise
        return _yaml(text, error)


def _yaml(text: str, error: ValueError) -> Any:
    """What guidellm writes as YAML has Python's tags for tuples and paths, which say nothing here."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def plain(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node)
        return loader.construct_mapping(node) if isinstance(node, yaml.MappingNode) else node.value

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", plain)
    Loader.add_multi_constructor("!", plain)
    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise error from None
