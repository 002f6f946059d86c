"""A file whose format is looked for: its first bytes, its text, the data in it; each read once."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError
from vllmperf.formats import guidellm_means

HEAD = 16


class File:
    """Raises UsageError when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.why_no_data = ""
        try:
            with path.open("rb") as file:
                self.head = file.read(HEAD)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None

    @cached_property
    def text(self) -> str:
        """ "" where it is no text."""
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
                found = guidellm_means.parse(text) if text[:1] not in ("{", "[") else json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                return found
        return {}
