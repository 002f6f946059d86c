"""What a command needs beside its words; what is missing is said before minutes of measurement, not after."""

from __future__ import annotations

from pathlib import Path

from vllmperf.errors import UsageError

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path | None) -> None:
    """Raises UsageError when there could be no picture."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: give a name that ends in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.absolute().parent}")
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'vllmperf[plots]'") from None


def check_scipy(command: str) -> None:
    """Raises UsageError without scipy, which the fits need."""
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError(f"{command} needs scipy: pip install 'vllmperf[model]'") from None


def make_folder(path: Path) -> None:
    """Of --output-dir. Raises UsageError when it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output-dir {path} cannot be made: {error.strerror}") from None
