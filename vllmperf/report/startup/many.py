"""Many starts: a line each, the distribution of each phase, sets compared."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from vllmperf.numbers import NOTHING, clean, plural
from vllmperf.report.layout import cut
from vllmperf.report.startup.bars import Marks, longest_s, segment_text, segments
from vllmperf.report.startup.one import failure_words
from vllmperf.report.startup.spans import (
    elapsed_s,
    family,
    groups,
    label,
    parts_only,
    places,
    resolution_s,
)
from vllmperf.report.startup.statistics import TOTAL, Change, Distribution, compare, distribution, reached
from vllmperf.report.startup.text_table import Column, TextTable, block
from vllmperf.report.startup.words import figure, name_words, precision
from vllmperf.report.table import INDENT, Line
from vllmperf.starts.result import Start

WIDEST_NAME = 44
FEW = 10
"""Fewer starts than these have no p90 of their own."""


def many(starts: Sequence[Start], width: int, marks: Marks, coloured: bool) -> list[Line]:
    """The overview of two starts or more."""
    found = overview(starts, width, marks, coloured)
    sets = groups(starts)
    for name, members in sets.items():
        if len(reached(members)) > 1:
            found += [[], *block(distribution_table(members, name), width)]
    named = [(str(name), members) for name, members in sets.items() if name is not None]
    for name, members in named[1:]:
        found += [[], *block(comparison(*named[0], name, members), width)]
    return found


# ---- a line each ----


def overview(starts: Sequence[Start], width: int, marks: Marks, coloured: bool) -> list[Line]:
    """One bar a start, all on one axis; below a failed one why it failed."""
    head = plural(len(starts), "start")
    failed = len(starts) - len(reached(starts))
    found: list[Line] = [[(INDENT + head, "title"), (f", {failed} not ready" if failed else "", "bad")]]
    names = [cut(name_words(start), min(WIDEST_NAME, width // 3)) for start in starts]
    name_width = max(map(cell_len, names))
    totals = [_time(start) for start in starts]
    time_width = max(map(len, totals))
    room = width - len(INDENT) - name_width - time_width - 4
    longest = longest_s(starts)
    for start, name, total in zip(starts, names, totals, strict=True):
        left = INDENT + name + " " * (name_width - cell_len(name)) + "  " + total.rjust(time_width) + "  "
        found.append(
            [(left, "" if start.reached else "bad"), *bar_spans(start, room, longest, marks, coloured)]
        )
        if why := failure_words(start):
            found += [[(INDENT + "✘ " + cut(why, width - 4), "bad")]]
    return found


def _time(start: Start) -> str:
    seen = elapsed_s(start)
    text = figure(seen, min(places(resolution_s(start)), 1))
    return f"{text} s" if start.reached or seen is None else f"> {text} s"


def bar_spans(start: Start, room: int, longest: float, marks: Marks, coloured: bool) -> Line:
    """The families of a start in one line: blocks of colour with their names, or a ruled line."""
    found: Line = []
    for segment in segments(start, room, longest):
        name = segment.family.label
        if coloured:
            inside = (
                f" {name}".ljust(segment.cells)[: segment.cells] if segment.cells > 2 else " " * segment.cells
            )
            found.append((inside, f"on:{name}"))
        else:
            found.append((segment_text(segment, marks), name))
    return found


# ---- distribution ----


def distribution_table(starts: Sequence[Start], name: str | None) -> TextTable:
    """Each phase of a set over its starts that were reached, and the slowest of them by name."""
    rows, parts, decimals = distribution(starts), parts_only(starts), _decimals(starts)
    count = len(reached(starts))
    title = f"{clean(name)}, {count} starts" if name is not None else f"Phases of {count} starts"
    return TextTable(
        (title, *(_label(row.phase, parts) for row in rows)),
        (
            Column("n", tuple(str(row.n) for row in rows), worth=5),
            Column("p50, s", tuple(figure(row.p50_s, decimals) for row in rows), worth=9),
            Column("p90, s", tuple(figure(row.p90_s, decimals) for row in rows), worth=6),
            Column("max, s", tuple(figure(row.max_s, decimals) for row in rows), worth=8),
            Column("slowest", tuple(_slowest(row, decimals) for row in rows), worth=4, is_number=False),
        ),
        tuple(_style(row.phase) for row in rows),
        _few(count) if count < FEW else "",
    )


def _slowest(row: Distribution, decimals: int) -> str:
    """Nobody is the slowest where all are alike."""
    alike = figure(row.p50_s, decimals) == figure(row.max_s, decimals)
    return "" if alike else cut(clean(row.slowest), 40)


def _few(count: int) -> str:
    return f"p90 of {count} starts lies between the two slowest: read it as their range"


def _label(name: str, parts: set[str]) -> str:
    return TOTAL if name == TOTAL else ("· " if name in parts else "") + label(name)


def _style(name: str) -> str:
    return "strong" if name == TOTAL else family(name).label


def _decimals(starts: Sequence[Start]) -> int:
    return min((places(resolution_s(start)) for start in starts), default=2)


# ---- comparison ----


def comparison(name_a: str, starts_a: Sequence[Start], name_b: str, starts_b: Sequence[Start]) -> TextTable:
    """The change by phase from set a to set b, and what the number of starts allows to say."""
    both = [*starts_a, *starts_b]
    rows, parts, decimals = compare(starts_a, starts_b), parts_only(both), max(_decimals(both), 1)
    a, b = clean(name_a), clean(name_b)
    return TextTable(
        (f"{a} → {b}", *(_label(row.phase, parts) for row in rows)),
        (
            Column(a, tuple(figure(row.mean_a_s, decimals) for row in rows), worth=5),
            Column(b, tuple(figure(row.mean_b_s, decimals) for row in rows), worth=6),
            Column("change, s", tuple(_signed(row.change_s, decimals) for row in rows), worth=9),
            Column("%", tuple(_percent(row.change_share) for row in rows), worth=4),
            Column(range_head(rows), tuple(_range(row, decimals) for row in rows), worth=7, is_number=False),
            Column("", tuple("*" if row.is_sure else "" for row in rows), worth=8, is_number=False),
        ),
        tuple(_style(row.phase) for row in rows),
        honest(rows, starts_a, starts_b),
    )


def _signed(value: float | None, decimals: int) -> str:
    """What rounds to nothing has no sign."""
    if value is None:
        return NOTHING
    shown = f"{value:+,.{decimals}f}"
    return shown.replace("-", "−") if shown.strip("+-0.") else shown[1:]


def _percent(value: float | None) -> str:
    return NOTHING if value is None else _signed(100 * value, 0)


def range_head(rows: Sequence[Change]) -> str:
    return "95 % interval, s" if any(row.interval_s for row in rows) else "from … to, s"


def _range(row: Change, decimals: int) -> str:
    found = row.interval_s or row.spread_s
    if found is None:
        return NOTHING
    text = f"{_signed(found[0], decimals)} … {_signed(found[1], decimals)}"
    return text if row.interval_s or row.n_a == row.n_b == 1 else text + " (spread)"


def honest(rows: Sequence[Change], starts_a: Sequence[Start], starts_b: Sequence[Start]) -> str:
    """What so many starts allow to say."""
    n_a, n_b = len(reached(starts_a)), len(reached(starts_b))
    coarsest = max((r for s in [*starts_a, *starts_b] if (r := resolution_s(s)) is not None), default=0.0)
    sure = "* the sign of the change is beyond doubt by it"
    stamps = f", and larger than one stamp may be off ({precision(coarsest)})" if coarsest else ""
    if n_a == 0 or n_b == 0:
        return "one side has no start that was reached: nothing to compare"
    if any(row.interval_s for row in rows):
        return (
            f"means of {n_a} and {n_b} starts; interval by Welch's t: scatter between these starts only, taken as "
            f"normal; with few starts it is wide. {sure}{stamps}"
        )
    if n_a == n_b == 1:
        return f"one start a side: how much starts scatter is not known{stamps.replace(', and larger', '; * larger')}"
    return (
        f"{n_a} and {n_b} starts are too few for an interval: shown is the smallest and the largest difference "
        f"between any two. {sure}{stamps}"
    )
