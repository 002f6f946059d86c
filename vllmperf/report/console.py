"""The report for a terminal: in colour there, plain text anywhere else, never wider than the screen."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from vllmperf.outlet import PLAINER
from vllmperf.report.content import Report, report
from vllmperf.report.layout import lines
from vllmperf.report.table import STYLES, Line, plain

if TYPE_CHECKING:
    from rich.text import Text

PLAIN_WIDTH = 80


def table(
    summary: Mapping[str, Any],
    percentile_metrics: Sequence[str] | None = None,
    metric_percentiles: Sequence[float] | None = None,
    width: int = PLAIN_WIDTH,
) -> str:
    """The report of a summary as plain text."""
    return plain(lines(report(summary, percentile_metrics, metric_percentiles), width))


def print_report(
    summary: Mapping[str, Any],
    percentile_metrics: Sequence[str] | None = None,
    metric_percentiles: Sequence[float] | None = None,
    file: TextIO | None = None,
) -> None:
    """Print the report of a summary to file (default: stdout), in colour when that is a terminal."""
    file = file or sys.stdout
    content: Report = report(summary, percentile_metrics, metric_percentiles)
    print_lines(lines(content, width_of(file)), file)


def width_of(file: TextIO, plain_width: int = PLAIN_WIDTH) -> int:
    """Columns of the terminal; plain_width where it is none."""
    return terminal_width(file) if file.isatty() else plain_width


def print_lines(
    styled: Sequence[Line],
    file: TextIO,
    is_coloured: bool | None = None,
    styles: Mapping[str, str] = STYLES,
) -> None:
    """Print lines in colour (None: to a terminal that takes it), else as plain text."""
    if is_colourful(file) if is_coloured is None else is_coloured:
        _print_styled(styled, file, styles)
    else:
        file.write(encodable(plain(styled), file))


def is_colourful(file: TextIO) -> bool:
    """A terminal that takes colour, and nobody asked for none (https://no-color.org)."""
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width(file: TextIO) -> int:
    try:
        return os.get_terminal_size(file.fileno()).columns or PLAIN_WIDTH
    except (OSError, ValueError):
        return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns


def encodable(text: str, file: TextIO) -> str:
    """As much of the text as the file's encoding can say: `–` becomes `-` on an ASCII terminal."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, PLAINER).decode(encoding)


def json_text(value: object, file: TextIO, indent: int | None = None) -> str:
    """The value as strict JSON that loses nothing in the file's encoding."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().replace("_", "-").startswith("utf")
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _print_styled(styled: Sequence[Line], file: TextIO, styles: Mapping[str, str]) -> None:
    from rich.console import Console

    console = Console(
        file=file, highlight=False, markup=False, emoji=False, soft_wrap=True, force_terminal=True
    )
    for line in styled:
        console.print(rich_text(line, file, styles))


def rich_text(line: Line, file: TextIO, styles: Mapping[str, str]) -> Text:
    """A line as rich has it."""
    from rich.text import Text

    return Text.assemble(*((encodable(text, file), styles.get(style, "")) for text, style in line))
