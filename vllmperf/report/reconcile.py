"""What `vllmperf reconcile` shows: each figure with the parts of its difference, then what else differs."""

from __future__ import annotations

import sys
from typing import TextIO

from vllmperf.comparison.reconcile import Reconciled, Split
from vllmperf.numbers import NOTHING, decimals, fixed
from vllmperf.report import table
from vllmperf.report.console import print_lines, width_of
from vllmperf.report.table import INDENT, Line, Row, Table, said

PLAIN_WIDTH = 120
KINDS = ("definition", "load", "tokens", "path", "doubt")


def show(found: Reconciled, file: TextIO | None = None) -> None:
    file = file or sys.stdout
    print_lines(lines(found, width_of(file, PLAIN_WIDTH)), file)


def lines(found: Reconciled, width: int) -> list[Line]:
    heads = ("A", "B", "B - A", "definition", "the rest", "chance")
    shown = Table("", heads, tuple(_row(one) for one in found.figures))
    names: list[Line] = [
        [(f"{INDENT}{letter}  {name}", "head")] for letter, name in (("A", found.first), ("B", found.second))
    ]
    reasons = [
        (f"{kind}: {one.words}{'' if one.size is None else f' ({one.size:+.1%})'}", "")
        for kind in KINDS
        for one in found.reasons
        if one.kind == kind
    ]
    foot = (
        "definition: what B's rule (or A's) makes of the same requests; the rest: load, tokens, path and chance; chance: half a "
        f"95 % interval if both sides are as uncertain as the run file; {NOTHING}: nobody can tell from these files."
    )
    return [*names, [], *table.lines(shown, width), [], *said(reasons, width), *said([(foot, "dim")], width)]


def _row(one: Split) -> Row:
    places = decimals([one.first, one.second])
    unit = " (ms)" if one.unit == "ms" else ""
    change, definition, rest = (
        _signed(value, places) for value in (one.second - one.first, one.definition, one.rest)
    )
    chance = NOTHING if one.chance is None else f"±{one.chance:.{places}f}"
    return Row(
        f"{one.label}{unit}",
        (fixed(one.first, places), fixed(one.second, places), change, definition, rest, chance),
    )


def _signed(value: float | None, places: int) -> str:
    return NOTHING if value is None else f"{value:+,.{places}f}"
