"""A comparison as people read it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from typing import TextIO

from vllmperf.comparison.comparison import Comparison, Comparisons
from vllmperf.comparison.comparison import Row as Compared
from vllmperf.comparison.setup import Change
from vllmperf.metrics.difference import CHANCE
from vllmperf.numbers import NOTHING, brief, decimals, fixed
from vllmperf.report import html, table
from vllmperf.report.console import print_lines, width_of
from vllmperf.report.table import INDENT, Line, Row, Span, Table, plain, said, wrapped

UNKNOWN = "-"
PLAIN_WIDTH = 120
LONG = 9
"""Names of so many characters or more stand above the table, and A and B as heads."""
MARK = "*"
IN_MS = " (ms)"
EMPTY: Line = []
SHORT = {
    "Requests/s within the objectives": "Good requests/s",
    "Requests within the objectives": "Good requests (share)",
}
MOST_CHANGES = 12
"""Of the plan and of the environment each; more are counted."""


def show(found: Comparison | Comparisons, file: TextIO | None = None) -> None:
    """Print the table, what was not the same on both sides, and what has to be known to read it."""
    file = file or sys.stdout
    print_lines(lines(found, width_of(file, PLAIN_WIDTH)), file)


def text(found: Comparison | Comparisons, width: int = PLAIN_WIDTH) -> str:
    """The same as plain text."""
    return plain(lines(found, width)).removesuffix("\n")


def fragment(found: Comparison | Comparisons) -> str:
    """The same as HTML."""
    each = found if isinstance(found, Comparisons) else (found,)
    return html.styled("".join(map(_fragment, each)))


def _fragment(found: Comparison) -> str:
    remarks = [*_differs(found), *_chance(found), *_remarks(found)]
    shown = "".join(f'<div class="d">{escape(remark)}</div>' for remark in remarks)
    return "".join(map(html.table, _tables(found, (found.first.name, found.second.name)))) + shown


def lines(found: Comparison | Comparisons, width: int) -> list[Line]:
    if not isinstance(found, Comparisons):
        return _lines(found, width)
    parts = [_lines(one, width) for one in found]
    return [line for part in parts for line in (part if part is parts[0] else [EMPTY, *part])]


def _lines(found: Comparison, width: int) -> list[Line]:
    names = (found.first.name, found.second.name)
    is_long = found.tells_chance and max(map(len, names)) >= LONG
    legend: list[Line] = []
    if is_long:
        legend = [
            [(f"{INDENT}{letter}  ", "head"), (name, "strong")]
            for letter, name in zip("AB", names, strict=True)
        ]
        names = ("A", "B")
    remarks: list[Span] = [
        *((one, "warning") for one in _differs(found)),
        *((one, "dim") for one in _chance(found)),
    ]
    return [
        *legend,
        *([EMPTY] if legend else []),
        *_tabled(_tables(found, names), width),
        *([EMPTY] if remarks else []),
        *said(remarks, width),
        *([(piece, "")] for remark in _remarks(found) for piece in wrapped(remark, width)),
    ]


# ---- the table ----


def _tabled(tables: Sequence[Table], width: int) -> list[Line]:
    room = table.label_width(*tables)
    parts = [table.lines(one, width, room) for one in tables]
    return [line for part in parts for line in (part if part is parts[0] else [EMPTY, *part])]


def _tables(found: Comparison, names: tuple[str, str]) -> list[Table]:
    """One; two where chance is told, which makes rows long: rates, and times."""
    if not found.tells_chance:
        rows = (
            Row(row.label, (_shown(row.first), _shown(row.second), _percent(row.change)))
            for row in found.rows
        )
        return [Table("", (*names, "change"), tuple(rows))]
    heads = (*names, "change", "95 % interval")
    rates, times = ([row for row in found.main_rows if _is_time(row) == wanted] for wanted in (False, True))
    both = Table("", heads, tuple(map(_row, rates))), Table("ms", heads, tuple(map(_row, times)))
    return [one for one in both if one.rows]


def _is_time(row: Compared) -> bool:
    return row.label.endswith(IN_MS)


def _row(row: Compared) -> Row:
    label = SHORT.get(row.label, row.label).removesuffix(IN_MS)
    return Row(label, _cells(row), _words(row))


def _cells(row: Compared) -> tuple[str, ...]:
    places = 0 if row.tested is None else decimals([row.first, row.second])
    mark = MARK if row.is_beyond_chance else " "
    return fixed(row.first, places), fixed(row.second, places), _percent(row.change) + mark, _interval(row)


def _interval(row: Compared) -> str:
    """+1.2 … +3.4 %; as a difference where there is none of the share."""
    tested = row.tested
    if tested is None or tested.low is None or tested.high is None:
        return NOTHING
    if tested.share_low is None or tested.share_high is None:
        return f"{tested.low:+.3g}…{tested.high:+.3g}"
    return f"{100 * tested.share_low:+.1f}…{100 * tested.share_high:+.1f}%"


def _words(row: Compared) -> str:
    if row.tested is None:
        return ""
    if row.is_beyond_chance is None:
        return "too few requests"
    if not row.is_beyond_chance:
        return "within chance"
    is_more = row.tested.change > 0
    if row.more_is_better is None:
        return "more" if is_more else "less"
    return "better" if is_more == row.more_is_better else "worse"


# ---- what stands below ----


def _differs(found: Comparison) -> Iterator[str]:
    """differs: request_rate 10 → 20; kernel Linux 6.1 → Linux 6.8"""
    if found.setup is None:
        return
    if found.setup.plan:
        yield f"The plan differs: {_listed(found.setup.plan)}"
    if found.setup.environment:
        yield f"The client's machine differs: {_listed(found.setup.environment)}"


def _listed(changes: Sequence[Change]) -> str:
    shown = "; ".join(map(str, changes[:MOST_CHANGES]))
    more = len(changes) - MOST_CHANGES
    return f"{shown}; and {more} more" if more > 0 else shown


def _chance(found: Comparison) -> Iterator[str]:
    rows = [row for row in found.main_rows if row.is_beyond_chance is not None]
    if not rows:
        return
    beyond = sum(bool(row.is_beyond_chance) for row in rows)
    how = (
        "Both runs sent the same requests: times of requests are paired."
        if found.is_paired
        else "The runs are compared as independent ones."
    )
    yield (
        f"{MARK} is beyond chance ({beyond} of {len(rows)} rows): two equal runs show such a mark in at most "
        f"{brief(100 * CHANCE)} % of comparisons. Rows without it are within chance, with {NOTHING} too few requests to "
        f"tell. {how}"
    )


def _remarks(found: Comparison) -> Iterator[str]:
    first, second = found.first, found.second
    if first.rule != second.rule:
        yield (
            f"{first.name} follows the rule {first.rule!r}, {second.name} {second.rule!r}: "
            "what differs may be the rule (docs/profiles.md); `vllmperf reconcile` tells how much of it is."
        )
    for side in (first, second):
        yield from (f"{side.name}: {note}" for note in side.notes)


def _shown(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _percent(change: float | None) -> str:
    return UNKNOWN if change is None else f"{change:+.1%}"
