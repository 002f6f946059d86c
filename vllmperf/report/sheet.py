"""A result as people read it: sentences and tables, one below the other, for a terminal, as plain text and as HTML."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from vllmperf.report import table
from vllmperf.report.console import print_lines, width_of
from vllmperf.report.table import Line, Span, Table, joined, plain, said

WIDTH = 100
"""Columns where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """width: columns where there is no terminal. is_aligned: the labels of all tables have one width."""

    blocks: Sequence[Table | list[Span]]
    width: int = WIDTH
    is_aligned: bool = True

    def text(self) -> str:
        """As plain text."""
        return plain(self._lines(self.width))

    def show(self, file: TextIO | None = None) -> None:
        """Print it."""
        file = file or sys.stdout
        print_lines(self._lines(width_of(file, self.width)), file)

    def fragment(self) -> str:
        """The same as HTML."""
        from vllmperf.report import html

        parts = (html.table(one) if isinstance(one, Table) else html.said(one) for one in self.blocks)
        return html.styled("".join(parts))

    def _lines(self, width: int) -> list[Line]:
        tables = [one for one in self.blocks if isinstance(one, Table)]
        room = table.label_width(*tables) if tables and self.is_aligned else None
        return joined(
            table.lines(one, width, room) if isinstance(one, Table) else said(one, width)
            for one in self.blocks
        )
