"""What guidellm prints: lines about the start, the metadata, the two tables, the end.

In a terminal it is as wide as that, elsewhere wide enough for a whole row of a table; COLUMNS says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.console import Console as RichConsole
from rich.padding import Padding
from rich.text import Text

from vllmperf.dropin.guidellm.tables import LABEL, RULE, VALUE, Piece, Table, info, plain, stats

INFO, PROGRESS, SUCCESS = "light_steel_blue", "dark_slate_gray1", "chartreuse1"
STYLES = {LABEL: f"bold {INFO}", VALUE: "italic", RULE: INFO}
WIDE = 200
INDENT = 4
Benchmarks = Sequence[Mapping[str, Any]]


class Console:
    """Prints to stdout, or to `file`. width: columns; None for the terminal's, or enough."""

    def __init__(self, file: IO[str] | None = None, width: int | None = None) -> None:
        self.rich = RichConsole(file=file, width=width, soft_wrap=False)
        self._is_free = width is None and not self.rich.is_terminal and not os.environ.get("COLUMNS")
        if self._is_free:
            self.rich = RichConsole(file=file, width=WIDE)

    def line(self, text: str) -> None:
        """One line, or several with line feeds between."""
        self._print([(text, "")])

    def report(self, benchmarks: Benchmarks) -> None:
        """Metadata, Info, Stats."""
        tables = [info(benchmarks), stats(benchmarks)]
        if self._is_free:
            widest = max(len(plain(line)) for table in tables for line in table.lines())
            self.rich.width = max(WIDE, widest)
        self._metadata(benchmarks)
        for table in tables:
            self._table(table)

    def _metadata(self, benchmarks: Benchmarks) -> None:
        self._header("Benchmarks Metadata")
        for label, value in metadata(benchmarks):
            self._print([(label + ":", STYLES[LABEL]), (value, STYLES[VALUE])], INDENT)

    def _table(self, table: Table) -> None:
        self._header(table.title)
        for line in table.lines():
            self._print([(text, STYLES.get(style, "")) for text, style in line])

    def _header(self, title: str) -> None:
        self._print([("\n\n", ""), (title + ":", f"bold underline {INFO}")])

    def _print(self, pieces: Sequence[Piece], indent: int = 0) -> None:
        text = Text()
        for piece, style in pieces:
            text.append(piece, style=style)
        self.rich.print(Padding.indent(text, indent))


def metadata(benchmarks: Benchmarks) -> list[tuple[str, str]]:
    """Label and value of each line under Benchmarks Metadata."""
    first, last = benchmarks[0], benchmarks[-1]
    args = first["args"]
    duration = last["run_stats"]["end_time"] - first["run_stats"]["start_time"]
    limits = (
        "max_number",
        "max_duration",
        "warmup_number",
        "warmup_duration",
        "cooldown_number",
        "cooldown_duration",
    )
    return [
        ("Run id", str(first["run_id"])),
        ("Duration", f"{duration:.1f} seconds"),
        ("Profile", _profile(args["profile"])),
        ("Args", ", ".join(f"{name}={args[name]}" for name in limits)),
        ("Worker", _fields(first["worker"])),
        ("Request Loader", _fields(first["request_loader"])),
        ("Extras", ", ".join(f"{name}={value}" for name, value in (first["extras"] or {}).items()) or "None"),
    ]


def _profile(profile: Mapping[str, Any]) -> str:
    shown = {"type": profile["type_"], "strategies": profile["strategy_types"]}
    shown |= {name: profile[name] for name in ("streams", "max_concurrency") if name in profile}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _fields(described: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value!r}" for name, value in described.items())
