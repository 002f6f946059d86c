"""The one renderer of tables: rows of numbers whose decimal points stand under each other and under their head.

A table is data; lines() gives it as styled text for a terminal or a file, html.table() as a table of a page.
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, chop_cells

from vllmperf.numbers import align

Span = tuple[str, str]
"""A text and its style: "" or one of STYLES."""
Line = list[Span]

STYLES = {
    "title": "bold",
    "head": "dim",
    "label": "cyan",
    "dim": "dim",
    "strong": "bold",
    "good": "green",
    "bad": "red",
    "warning": "yellow",
    "trusted": "bold green",
    "caution": "bold yellow",
    "untrusted": "bold red",
    "unknown": "bold",
}

INDENT = "  "
BETWEEN = 3
"""Blanks between columns."""
NARROWEST_TEXT = 8
LEAST_BESIDE = 20
"""Columns beside a row for a long text; with fewer all of it stands below."""


class Row(NamedTuple):
    """A line of a table. note: a text behind the cells. margins: of each cell, like ±0.08; behind it where there is room for all,
    else below it."""

    label: str
    cells: tuple[str, ...]
    note: str = ""
    margins: tuple[str, ...] = ()


class Table(NamedTuple):
    """title stands above the labels, heads above the cells. note_head: above the notes. keeps_notes: a note that does not fit
    behind its row goes on below; else all notes are left out."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    footnote: str = ""
    note_head: str = ""
    keeps_notes: bool = False


def plain(styled: Iterable[Line]) -> str:
    """The lines without their styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in styled) + "\n"


def wrapped(text: str, width: int) -> list[str]:
    """Like textwrap, but wide characters count twice."""
    width = max(width, NARROWEST_TEXT)
    found = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    return [piece for line in found for piece in chop_cells(line, width)]


def said(sentences: Iterable[Span], width: int) -> list[Line]:
    """Sentences with their styles, wrapped to `width` columns."""
    room = width - len(INDENT)
    return [[(INDENT + piece, style)] for text, style in sentences for piece in wrapped(text, room)]


def joined(blocks: Iterable[list[Line]]) -> list[Line]:
    """The blocks that are not empty, with an empty line between them."""
    found: list[Line] = []
    for block in filter(None, blocks):
        found += [*([[]] if found else []), *block]
    return found


def pairs(found: Iterable[Span], label_room: int, width: int) -> list[Line]:
    """(label, value) lines; a long value goes on below itself."""
    listed: list[Line] = []
    for label, value in found:
        head = INDENT + label + " " * (label_room - cell_len(label))
        for i, piece in enumerate(wrapped(value, width - cell_len(head))):
            listed.append([(head if i == 0 else " " * cell_len(head), "label"), (piece, "")])
    return listed


def label_width(*tables: Table) -> int:
    """The room that the labels of these tables need."""
    labels = [row.label for table in tables for row in table.rows] + [table.title for table in tables]
    return max(map(len, labels)) + BETWEEN - 1


def lines(table: Table, width: int, label_room: int | None = None) -> list[Line]:
    """The table in `width` columns; where it is too wide, its columns go on in another one below. "" without rows."""
    if not table.rows:
        return []
    room = label_width(table) if label_room is None else label_room
    columns, margins = with_margins(table), [[""] * len(table.rows) for _ in table.heads]
    widths = _widths(table.heads, columns)
    if (
        any(row.margins for row in table.rows)
        and sum(widths) + BETWEEN * len(widths) > width - len(INDENT) - room
    ):
        columns, margins = _columns(table, "cells"), _columns(table, "margins")
        widths = [
            max(pair)
            for pair in zip(_widths(table.heads, columns), _widths(table.heads, margins), strict=True)
        ]
    found: list[Line] = []
    for group in _groups(widths, width - len(INDENT) - room):
        found += [*([[]] if found else []), *_part(table, columns, margins, widths, group, room, width)]
    if table.footnote:
        notes = table.footnote.split("\n")
        found += [[(INDENT + piece, "dim")] for note in notes for piece in wrapped(note, width - len(INDENT))]
    return found


def with_margins(table: Table) -> list[list[str]]:
    """The cells of each column with their margins behind them, both aligned."""
    if not any(row.margins for row in table.rows):
        return _columns(table, "cells")
    both = zip(_columns(table, "cells"), _columns(table, "margins"), strict=True)
    return [[" ".join(filter(None, pair)) for pair in zip(*column, strict=True)] for column in both]


def _columns(table: Table, what: str) -> list[list[str]]:
    rows = [getattr(row, what) or ("",) * len(table.heads) for row in table.rows]
    return [_aligned([row[i] for row in rows]) for i in range(len(table.heads))]


def _aligned(cells: list[str]) -> list[str]:
    return align(cells) if any(cells) else cells


def _widths(heads: Sequence[str], columns: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(head), len(column[0])) for head, column in zip(heads, columns, strict=True)]


def _groups(widths: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of the columns that fit beside each other."""
    groups: list[list[int]] = [[]]
    used = 0
    for i, width in enumerate(widths):
        if groups[-1] and used + width + BETWEEN > room:
            groups.append([])
            used = 0
        groups[-1].append(i)
        used += width + BETWEEN
    return groups


def _part(
    table: Table,
    columns: Sequence[Sequence[str]],
    margins: Sequence[Sequence[str]],
    widths: Sequence[int],
    group: Sequence[int],
    label_room: int,
    width: int,
) -> list[Line]:
    heads = "".join(" " * BETWEEN + table.heads[i].rjust(widths[i]) for i in group)
    room = width - len(INDENT) - label_room - len(heads) - BETWEEN
    if not table.keeps_notes and any(len(row.note) > room for row in table.rows):
        room = 0  # all of them or none
    title = table.title.ljust(label_room)
    note_head = " " * BETWEEN + table.note_head if len(table.note_head) <= room and table.note_head else ""
    found: list[Line] = [[(INDENT + title, "title"), (heads + note_head, "head")]]
    for number, row in enumerate(table.rows):
        cells = "".join(" " * BETWEEN + columns[i][number].rjust(widths[i]) for i in group)
        first, *rest = _note(row.note, table.keeps_notes and 0 in group, room)
        note = " " * BETWEEN + first if first else ""
        found.append([(INDENT + row.label.ljust(label_room), "label"), (cells, ""), (note, "dim")])
        below = "".join(" " * BETWEEN + margins[i][number].rjust(widths[i]) for i in group)
        found += [[(INDENT + " " * label_room, ""), (below, "dim")]] if below.strip() else []
        indent = " " * (width - room) if first else INDENT * 2
        found += [[(indent + piece, "dim")] for text in rest for piece in wrapped(text, width - len(indent))]
    return found


def _note(note: str, is_kept: bool, room: int) -> list[str]:
    """What stands behind a row ("": nothing), then what goes on below it."""
    if len(note) <= room:
        return [note]
    if not is_kept:
        return [""]
    return wrapped(note, room) if room >= LEAST_BESIDE else ["", note]
