"""Starts for a terminal: in colour there, plain text anywhere else, never wider than the screen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from vllmperf.report.console import is_colourful, print_lines, terminal_width
from vllmperf.report.startup.bars import ASCII, UNICODE, Marks
from vllmperf.report.startup.many import many
from vllmperf.report.startup.one import one
from vllmperf.report.startup.spans import FAMILIES
from vllmperf.report.table import STYLES, Line, joined, plain
from vllmperf.starts.result import Start

PIPED_WIDTH = 100
NARROWEST = 40
WIDEST = 160
DETAILED_UP_TO = 2
"""More starts than these are shown a line each, with their distribution."""

ON_COLOUR = "on:"
BAR_STYLES = {
    **STYLES,
    **{kind.label: kind.style for kind in FAMILIES},
    **{ON_COLOUR + kind.label: f"black on {kind.style}" for kind in FAMILIES},
}


def print_starts(
    starts: Sequence[Start],
    file: TextIO | None = None,
    width: int | None = None,
    color: bool | None = None,
    detail: bool = False,
) -> None:
    """Print starts to file (default: stdout): one or two in full, more as one line each with their distribution,
    sets (Start.group) compared.

    width: columns, by default those of the terminal, 100 into a pipe. color: by default on a terminal that takes it.
    detail: each start in full, however many there are.
    """
    file = file or sys.stdout
    coloured = is_colourful(file) if color is None else color
    columns = width or (terminal_width(file) if file.isatty() else PIPED_WIDTH)
    found = lines(starts, columns, marks_for(file), detail, coloured)
    print_lines(found, file, coloured, BAR_STYLES)


def text(
    starts: Sequence[Start], width: int = PIPED_WIDTH, marks: Marks = UNICODE, detail: bool = False
) -> str:
    """What print_starts prints, as plain text."""
    return plain(lines(starts, width, marks, detail))


def lines(
    starts: Sequence[Start], width: int, marks: Marks = UNICODE, detail: bool = False, coloured: bool = False
) -> list[Line]:
    width = max(min(width, WIDEST), NARROWEST)
    if not starts:
        return [[("  no start was seen", "")]]
    blocks = []
    if len(starts) > 1:
        blocks.append(many(starts, width, marks, coloured))
    if detail or len(starts) <= DETAILED_UP_TO:
        blocks += [one(start, width, marks) for start in starts]
    return joined(blocks)


def marks_for(file: TextIO) -> Marks:
    """Block characters where the file's encoding has them."""
    try:
        "".join((*UNICODE, "▍·")).encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return ASCII
    return UNICODE
