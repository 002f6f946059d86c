"""A small table of text: columns in order of worth, those that do not fit left out, never wider than asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllmperf.numbers import align
from vllmperf.report.layout import cut
from vllmperf.report.table import INDENT, Line, said

BETWEEN = 2
NARROWEST_LABEL = 14


@dataclass(frozen=True, slots=True)
class Column:
    """`worth`: the column with the lowest is left out first. Numbers stand with their points under each other."""

    head: str
    cells: tuple[str, ...]
    worth: int
    is_number: bool = True

    @property
    def aligned(self) -> list[str]:
        return align(self.cells) if self.is_number else list(self.cells)

    @property
    def padded(self) -> list[str]:
        """The head and the cells, all as wide as the widest."""
        cells = self.aligned
        width = max([cell_len(self.head), *map(cell_len, cells)])
        return [_pad(cell, width, self.is_number) for cell in (self.head, *cells)]


def _pad(text: str, width: int, to_the_left: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if to_the_left else text + blanks


@dataclass(frozen=True, slots=True)
class TextTable:
    """labels[0] is its title; styles: one for each row below the head, of its label; the footnote stands below."""

    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    styles: tuple[str, ...] = ()
    footnote: str = ""


def block(table: TextTable, width: int, keep: int = 0) -> list[Line]:
    """Lines of a table and its footnote. `keep` columns of the width stay free at the right."""
    lines = _lines(table.labels, table.columns, width, keep, table.styles)
    return lines + (said([(table.footnote, "dim")], width) if table.footnote else [])


def _lines(
    labels: Sequence[str], columns: Sequence[Column], width: int, keep: int, styles: Sequence[str]
) -> list[Line]:
    label_width = max(map(cell_len, labels), default=0)
    chosen = _fitting(columns, width - keep - len(INDENT) - min(label_width, NARROWEST_LABEL))
    used = sum(cell_len(column.padded[0]) + BETWEEN for column in chosen)
    label_width = min(label_width, width - keep - len(INDENT) - used)
    padded = [column.padded for column in chosen]
    found: list[Line] = []
    for i, label in enumerate(labels):
        style = "title" if i == 0 else (styles[i - 1] if styles else "label")
        cells = "".join(" " * BETWEEN + column[i] for column in padded)
        head = INDENT + _pad(cut(label, label_width), label_width, False)
        found.append([(head, style), (cells, "head" if i == 0 else "")])
    return found


def _fitting(columns: Sequence[Column], room: int) -> list[Column]:
    chosen = list(columns)
    while chosen and sum(cell_len(column.padded[0]) + BETWEEN for column in chosen) > room:
        chosen.remove(min(chosen, key=lambda column: column.worth))
    return chosen


def line_width(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)
