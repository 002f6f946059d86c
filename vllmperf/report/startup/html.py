"""Starts as one page of HTML: self-contained, no script, fit for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import zip_longest

from vllmperf.numbers import clean, plural
from vllmperf.report.html import STYLE as BASE_STYLE
from vllmperf.report.html import page as whole_page
from vllmperf.report.startup.many import comparison, distribution_table
from vllmperf.report.startup.one import failure_words, notes, tables
from vllmperf.report.startup.spans import FAMILIES, groups, label, total_s, unseen
from vllmperf.report.startup.statistics import reached
from vllmperf.report.startup.svg import stacked, waterfall
from vllmperf.report.startup.text_table import Column, TextTable
from vllmperf.report.startup.words import facts, name_words
from vllmperf.starts.result import Start

STYLE = (
    BASE_STYLE
    + """
.vllmperf{max-width:900px}
.vllmperf h1{font-size:20px;margin:0 0 4px}
.vllmperf h2{font-size:15px;margin:26px 0 6px}
.vllmperf pre{font:12px/1.5 ui-monospace,monospace;margin:6px 0 12px;overflow-x:auto;background:none;color:inherit}
.vllmperf .key{margin:0 14px 0 0;white-space:nowrap}
.vllmperf i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.vllmperf .w{border-left:4px solid #d3413a;padding:2px 0 2px 10px;margin:6px 0 12px}
.vllmperf details{margin:0 0 10px}
.vllmperf summary{cursor:pointer;font-weight:600}
"""
)
COLOURS = {kind.label: kind.colour for kind in FAMILIES}
OPEN_UP_TO = 3
"""More starts than these are folded on the page."""


def page(starts: Sequence[Start]) -> str:
    """A whole page, for a file of its own."""
    return whole_page(fragment(starts), _title(starts))


def fragment(starts: Sequence[Start]) -> str:
    """A <div> with all of it, for a page or a notebook."""
    parts = [f"<h1>{escape(_title(starts))}</h1>", _legend()]
    if len(starts) > 1:
        parts.append(_overview(starts))
    parts += [_one(start, is_open=len(starts) <= OPEN_UP_TO) for start in starts]
    return f'<div class="vllmperf"><style>{STYLE}</style>{"".join(parts)}</div>'


def _title(starts: Sequence[Start]) -> str:
    if len(starts) == 1:
        return f"Start of {clean(starts[0].name)}"
    failed = len(starts) - len(reached(starts))
    return plural(len(starts), "start") + (f", {failed} not ready" if failed else "")


def _legend() -> str:
    keys = "".join(f'<span class="key">{_key(kind.label)}{escape(kind.label)}</span>' for kind in FAMILIES)
    return f"<p>{keys}</p>"


def _overview(starts: Sequence[Start]) -> str:
    sets = groups(starts)
    parts = [stacked(starts)]
    parts += [
        _table(distribution_table(members, name))
        for name, members in sets.items()
        if len(reached(members)) > 1
    ]
    named = [(name, members) for name, members in sets.items() if name is not None]
    parts += [_table(comparison(*named[0], name, members)) for name, members in named[1:]]
    return "".join(parts)


def _table(table: TextTable) -> str:
    columns = [column.aligned for column in table.columns]
    heads = "".join(f"<th{_class(column)}>{escape(column.head)}</th>" for column in table.columns)
    rows = "".join(
        f"<tr><td>{_key(style)}{escape(label)}</td>"
        + "".join(
            f"<td{_class(column)}>{_figures(cells[i])}</td>"
            for column, cells in zip(table.columns, columns, strict=True)
        )
        + "</tr>"
        for i, (label, style) in enumerate(zip_longest(table.labels[1:], table.styles, fillvalue=""))
    )
    foot = f'<p class="d">{escape(table.footnote)}</p>' if table.footnote else ""
    head = f"<thead><tr><th>{escape(table.labels[0])}</th>{heads}</tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>{foot}"


def _class(column: Column) -> str:
    return ' class="n"' if column.is_number else ""


def _figures(cell: str) -> str:
    """A figure space is as wide as a digit: decimal points stay under each other in any font."""
    return escape(cell.rstrip(" ") + chr(0x2007) * (len(cell) - len(cell.rstrip(" "))))


def _key(style: str) -> str:
    colour = COLOURS.get(style)
    return f'<i style="background:{colour}"></i>' if colour else ""


def _one(start: Start, is_open: bool) -> str:
    total = total_s(start)
    time = f", {total:.1f} s" if total is not None else ", not ready"
    rows = "".join(
        f'<tr><td class="d">{escape(name)}</td><td>{escape(text)}</td></tr>' for name, text in facts(start)
    )
    missing = ", ".join(label(name) for name in unseen(start))
    said = "".join(f"<li>{escape(note)}</li>" for note in notes(start))
    parts = [
        f"<table>{rows}</table>",
        _failure(start),
        waterfall(start),
        f'<p class="d">not seen: {escape(missing)}</p>' if missing else "",
        *[_table(table) for table in tables(start)],
        f"<ul>{said}</ul>" if said else "",
    ]
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{escape(name_words(start) + time)}</summary>{''.join(parts)}</details>"


def _failure(start: Start) -> str:
    why = failure_words(start)
    if not why:
        return ""
    shown = escape("\n".join(clean(line) for line in start.evidence))
    return f'<div class="w"><b>{escape(why)}</b>{f"<pre>{shown}</pre>" if shown else ""}</div>'
