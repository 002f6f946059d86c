"""The summary CSV of fw-ai's llm_bench: a header when the file is new, one line a run, CR LF.

As `csv.DictWriter` of Python writes it (fw-ai/benchmark llm_bench/load_test.py, --summary-file).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError


def append(path: Path, figures: Mapping[str, Any]) -> None:
    """Add a line with the figures, in their order. None is written as nothing.

    Raises UsageError when the file cannot be written, or has other columns.
    """
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(figures))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(figures)
    except OSError as error:
        raise UsageError(f"--summary-file {path}: {error.strerror or error}") from None
