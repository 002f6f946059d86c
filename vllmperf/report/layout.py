"""A report as lines of styled text. The same lines go to a terminal in colour and to a file in plain text,
so what is aligned in one is aligned in the other, and nothing in them is ever read as markup."""

import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells

from vllmperf.numbers import align
from vllmperf.report.content import Outcome, Report, Table

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
    "trusted": "bold green",
    "caution": "bold yellow",
    "untrusted": "bold red",
}

INDENT = "  "
BETWEEN = 3
"""Blanks between columns."""
LEAST_BESIDE = 20
"""Columns beside a row for the beginning of a long text; with fewer all of it stands below."""
WIDEST = 100
NARROWEST = 40

MARKS = {"trusted": "✔ trusted", "caution": "! caution", "untrusted": "✘ not trusted"}


def lines(report: Report, width: int) -> list[Line]:
    """The whole report, no line wider than `width` columns (at least 40)."""
    width = max(min(width, WIDEST), NARROWEST)
    label_width = _label_width(report)
    blocks = [
        _pairs(report.facts, label_width, width),
        _throughput(report, label_width, width),
        _table(report.latency, label_width, width),
        _outcomes(report.outcomes, label_width, width),
        [*_table(report.client, label_width, width), *_pairs(report.client_facts, label_width, width)],
        _verdict(report, width),
    ]
    return _joined(block for block in blocks if block)


def plain(styled: Iterable[Line]) -> str:
    """The lines without their styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in styled) + "\n"


def _joined(blocks: Iterable[list[Line]]) -> list[Line]:
    joined: list[Line] = []
    for block in blocks:
        joined += [*([[]] if joined else []), *block]
    return joined


def _label_width(report: Report) -> int:
    labels = [row.label for table in (report.latency, report.client) for row in table.rows]
    labels += [report.latency.title, report.client.title, *(outcome.name for outcome in report.outcomes)]
    return max(map(len, labels)) + BETWEEN - 1


def cut(text: str, width: int) -> str:
    """Shorten to `width` columns of a terminal, with … where something is missing."""
    if cell_len(text) <= width:
        return text
    return chop_cells(text, max(width - 1, 1))[0] + "…" if width > 0 else ""


def _wrapped(text: str, width: int) -> list[str]:
    """Like textwrap, but wide characters count twice."""
    lines = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    return [piece for line in lines for piece in chop_cells(line, width)]


def _pairs(pairs: Sequence[Span], label_width: int, width: int) -> list[Line]:
    found: list[Line] = []
    for label, value in pairs:
        head = INDENT + label.ljust(label_width)
        for number, piece in enumerate(_wrapped(value, width - len(head))):
            found.append([(head if number == 0 else " " * len(head), "label"), (piece, "")])
    return found


def _throughput(report: Report, label_width: int, width: int) -> list[Line]:
    if not report.throughput:
        return []
    numbers = align([value for value, _ in report.throughput])
    found: list[Line] = []
    for i, (value, (_, unit)) in enumerate(zip(numbers, report.throughput, strict=True)):
        head = INDENT + ("Throughput" if i == 0 else "").ljust(label_width)
        room = width - len(head) - len(value) - 1
        for j, piece in enumerate(_wrapped(unit, room)):
            start = [(head, "title"), (value, "strong")] if j == 0 else [(" " * (len(head) + len(value)), "")]
            found.append([*start, (" " + piece, "")])
    return found


# ---- tables ----


def _table(table: Table, label_width: int, width: int) -> list[Line]:
    """A table; where it is too wide, its columns go on in another one below."""
    if not table.rows:
        return []
    columns = [align([row.cells[i] for row in table.rows]) for i in range(len(table.heads))]
    widths = [max(len(head), len(column[0])) for head, column in zip(table.heads, columns, strict=True)]
    found: list[Line] = []
    for group in _groups(widths, width - len(INDENT) - label_width):
        found += [*([[]] if found else []), *_part(table, columns, widths, group, label_width, width)]
    if table.footnote:
        found += [[(INDENT + piece, "dim")] for piece in _wrapped(table.footnote, width - len(INDENT))]
    return found


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
    widths: Sequence[int],
    group: Sequence[int],
    label_width: int,
    width: int,
) -> list[Line]:
    heads = "".join(" " * BETWEEN + table.heads[i].rjust(widths[i]) for i in group)
    room = width - len(INDENT) - label_width - len(heads) - BETWEEN
    has_notes = all(len(row.note) <= room for row in table.rows)
    found: list[Line] = [[(INDENT + table.title.ljust(label_width), "title"), (heads, "head")]]
    for number, row in enumerate(table.rows):
        cells = "".join(" " * BETWEEN + columns[i][number].rjust(widths[i]) for i in group)
        note = " " * BETWEEN + row.note if has_notes and row.note else ""
        found.append([(INDENT + row.label.ljust(label_width), "label"), (cells, ""), (note, "dim")])
    return found


# ---- outcomes and verdict ----


def _outcomes(outcomes: Sequence[Outcome], label_width: int, width: int) -> list[Line]:
    if not outcomes:
        return []
    counts = align([outcome.count for outcome in outcomes])
    shares = align([outcome.share for outcome in outcomes])
    found: list[Line] = [[(INDENT + "Outcomes", "title")]]
    for outcome, count, share in zip(outcomes, counts, shares, strict=True):
        head = INDENT + outcome.name.ljust(label_width)
        figures = f"{' ' * BETWEEN}{count}{' ' * BETWEEN}{share}"
        room = width - len(head) - len(figures) - BETWEEN
        first, rest = _begun(outcome.sample, room)
        line: Line = [(head, "good" if outcome.is_good else "bad"), (figures, "")]
        found.append([*line, (" " * BETWEEN + first, "dim")] if first else line)
        found += [[(INDENT * 2 + piece, "dim")] for piece in _below(rest, width)]
        found += [
            [(INDENT * 2 + piece, "")] for piece in _below("→ " + outcome.hint if outcome.hint else "", width)
        ]
    return found


def _begun(text: str, room: int) -> tuple[str, str]:
    """What of a text fits beside a row, and what goes on below it."""
    first = _wrapped(text, room)[0] if text and room >= LEAST_BESIDE else ""
    return first, text[len(first) :].strip()


def _below(text: str, width: int) -> list[str]:
    return _wrapped(text, width - 2 * len(INDENT)) if text else []


def _verdict(report: Report, width: int) -> list[Line]:
    mark = MARKS[report.level]
    found: list[Line] = []
    for i, piece in enumerate(_wrapped(f"{mark}: {report.verdict}", width - len(INDENT))):
        if i == 0:
            found.append([(INDENT, ""), (mark, report.level), (piece[len(mark) :], "")])
        else:
            found.append([(INDENT + piece, "")])
    for reason in report.reasons:
        for i, piece in enumerate(_wrapped(reason, width - len(INDENT) - 2)):
            found.append([(INDENT + ("· " if i == 0 else "  "), report.level), (piece, "")])
    return found
