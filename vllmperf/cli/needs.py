"""What a command needs beside its words; what is missing is said before minutes of measurement, not after."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vllmperf.errors import UsageError
from vllmperf.whole_file import check_place

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path | None) -> None:
    """Raises UsageError when there could be no picture."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: give a name that ends in {', '.join(SUFFIXES)}")
    check_place("plot", path)
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'vllmperf[plots]'") from None


def progress_line(line: str) -> None:
    """Show a line of progress on stderr, where somebody looks."""
    if sys.stderr.isatty() or os.environ.get("VLLMPERF_PROGRESS"):
        print(line, file=sys.stderr)
