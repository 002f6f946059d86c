"""A report as lines of styled text. The same lines go to a terminal in colour and to a file in plain text,
so what is aligned in one is aligned in the other, and nothing in them is ever read as markup."""

from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

from vllmperf.numbers import align
from vllmperf.report import table
from vllmperf.report.content import Outcome, Report
from vllmperf.report.table import BETWEEN, INDENT, LEAST_BESIDE, Line, wrapped

WIDEST = 100
NARROWEST = 40

MARKS = {"trusted": "✔ trusted", "caution": "! caution", "untrusted": "✘ not trusted", "unknown": "? unknown"}


def lines(report: Report, width: int) -> list[Line]:
    """The whole report, no line wider than `width` columns (at least 40)."""
    width = max(min(width, WIDEST), NARROWEST)
    label_width = _label_width(report)
    client = table.lines(report.client, width, label_width)
    blocks = [
        [*_throughput(report, label_width, width), *table.pairs(report.left_out, label_width, width)],
        _verdict(report, width),
        table.lines(report.latency, width, label_width),
        table.lines(report.times, width, label_width),
        table.lines(report.targets, width, label_width),
        table.lines(report.turns, width, label_width),
        _outcomes(report.outcomes, label_width, width),
        [*client, *table.pairs(report.client_facts, label_width, width)],
        table.pairs(report.facts, label_width, width),
    ]
    return table.joined(blocks)


def _label_width(report: Report) -> int:
    names = max((len(outcome.name) + BETWEEN - 1 for outcome in report.outcomes), default=0)
    tables = (report.latency, report.times, report.targets, report.turns, report.client)
    return max(table.label_width(*tables), names)


def cut(text: str, width: int) -> str:
    """Shorten to `width` columns of a terminal, with … where something is missing."""
    if cell_len(text) <= width:
        return text
    return chop_cells(text, max(width - 1, 1))[0] + "…" if width > 0 else ""


def _throughput(report: Report, label_width: int, width: int) -> list[Line]:
    if not report.throughput:
        return []
    numbers = align([value for value, _ in report.throughput])
    found: list[Line] = []
    for i, (value, (_, unit)) in enumerate(zip(numbers, report.throughput, strict=True)):
        head = INDENT + ("Throughput" if i == 0 else "").ljust(label_width)
        room = width - len(head) - len(value) - 1
        for j, piece in enumerate(wrapped(unit, room)):
            start = [(head, "title"), (value, "strong")] if j == 0 else [(" " * (len(head) + len(value)), "")]
            found.append([*start, (" " + piece, "")])
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
    first = wrapped(text, room)[0] if text and room >= LEAST_BESIDE else ""
    return first, text[len(first) :].strip()


def _below(text: str, width: int) -> list[str]:
    return wrapped(text, width - 2 * len(INDENT)) if text else []


def _verdict(report: Report, width: int) -> list[Line]:
    mark = MARKS[report.level]
    found: list[Line] = []
    for i, piece in enumerate(wrapped(f"{mark}: {report.verdict}", width - len(INDENT))):
        if i == 0:
            found.append([(INDENT, ""), (mark, report.level), (piece[len(mark) :], "")])
        else:
            found.append([(INDENT + piece, "")])
    for reason in report.reasons:
        for i, piece in enumerate(wrapped(reason, width - len(INDENT) - 2)):
            found.append([(INDENT + ("· " if i == 0 else "  "), report.level), (piece, "")])
    return found
