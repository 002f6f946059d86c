"""A comparison as people read it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from typing import TextIO

from vllmperf.comparison import Comparison
from vllmperf.report import html, table
from vllmperf.report.console import print_lines, width_of
from vllmperf.report.table import Line, Row, Table, plain, wrapped

UNKNOWN = "-"
PLAIN_WIDTH = 120


def show(found: Comparison, file: TextIO | None = None) -> None:
    """Print the table, and a line where the two sides follow different rules."""
    file = file or sys.stdout
    print_lines(_lines(found, width_of(file, PLAIN_WIDTH)), file)


def text(found: Comparison, width: int = PLAIN_WIDTH) -> str:
    """The same as plain text."""
    return plain(_lines(found, width)).removesuffix("\n")


def fragment(found: Comparison) -> str:
    """The same as HTML."""
    remarks = "".join(f'<div class="d">{escape(remark)}</div>' for remark in _remarks(found))
    return html.styled(html.table(_table(found)) + remarks)


def _lines(found: Comparison, width: int) -> list[Line]:
    remarks = [piece for remark in _remarks(found) for piece in wrapped(remark, width)]
    return [*table.lines(_table(found), width), *([(remark, "")] for remark in remarks)]


def _table(found: Comparison) -> Table:
    rows = (
        Row(row.label, (_shown(row.first), _shown(row.second), _percent(row.change))) for row in found.rows
    )
    return Table("", (found.first.name, found.second.name, "change"), tuple(rows))


def _remarks(found: Comparison) -> Iterator[str]:
    first, second = found.first, found.second
    if first.rule != second.rule:
        yield (
            f"{first.name} follows the rule {first.rule!r}, {second.name} {second.rule!r}: "
            "what differs may be the rule (docs/profiles.md)."
        )
    for side in (first, second):
        yield from (f"{side.name}: {note}" for note in side.notes)


def _shown(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _percent(change: float | None) -> str:
    return UNKNOWN if change is None else f"{change:+.1%}"
