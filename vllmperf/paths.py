"""Names of files that people can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def shortest_name(path: Path, others: Sequence[Path]) -> str:
    """The file's name with as many folders before it as tell it from the others: cold/server.log."""
    for length in range(1, len(path.parts) + 1):
        end = path.parts[-length:]
        if not any(other.parts[-length:] == end for other in others if other != path):
            return str(Path(*end))
    return str(path)


def free(path: Path) -> Path:
    """The path, or the first of name-2.json, name-3.json, … where nothing is."""
    found, n = path, 2
    while found.exists():
        found, n = path.with_name(f"{path.stem}-{n}{path.suffix}"), n + 1
    return found
