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
