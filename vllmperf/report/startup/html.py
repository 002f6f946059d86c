"""Starts as one page of HTML: self-contained, no script, fit for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vllmperf.report.html import STYLE as BASE_STYLE
from vllmperf.report.html import page as whole_page
from vllmperf.report.layout import Line, plain
from vllmperf.report.numbers import clean, plural
from vllmperf.report.startup.many import comparison, distribution_lines
from vllmperf.report.startup.one import failure_words, sections
from vllmperf.report.startup.spans import FAMILIES, groups, label, total_s, unseen
from vllmperf.report.startup.statistics import reached
from vllmperf.report.startup.svg import stacked, waterfall
from vllmperf.report.startup.words import facts
from vllmperf.startup.result import Start

STYLE = (
    BASE_STYLE
    + """
.vllmperf{max-width:900px}
.vllmperf h1{font-size:20px;margin:0 0 4px}
.vllmperf h2{font-size:15px;margin:26px 0 6px}
.vllmperf pre{font:12px/1.5 ui-monospace,monospace;margin:6px 0 12px;overflow-x:auto;background:none;color:inherit}
.vllmperf .key{margin:0 14px 0 0;white-space:nowrap}
.vllmperf .key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.vllmperf .w{border-left:4px solid #d3413a;padding:2px 0 2px 10px;margin:6px 0 12px}
.vllmperf details{margin:0 0 10px}
.vllmperf summary{cursor:pointer;font-weight:600}
"""
)
WIDTH = 110
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
    keys = "".join(
        f'<span class="key"><i style="background:{kind.colour}"></i>{escape(kind.label)}</span>'
        for kind in FAMILIES
    )
    return f'<p class="d">{keys}</p>'


def _overview(starts: Sequence[Start]) -> str:
    sets = groups(starts)
    parts = [stacked(starts)]
    for name, members in sets.items():
        if len(reached(members)) > 1:
            parts.append(_pre(distribution_lines(members, name, WIDTH)))
    named = [(name, members) for name, members in sets.items() if name is not None]
    for name, members in named[1:]:
        parts.append(f"<h2>{escape(clean(named[0][0]))} → {escape(clean(name))}</h2>")
        parts.append(_pre(comparison(*named[0], name, members, WIDTH)))
    return "".join(parts)


def _pre(found: Sequence[Line]) -> str:
    return f"<pre>{escape(plain(found))}</pre>" if found else ""


def _one(start: Start, is_open: bool) -> str:
    total = total_s(start)
    head = clean(start.name) + (f" ({clean(start.group)})" if start.group else "")
    time = f", {total:.1f} s" if total is not None else ""
    rows = "".join(
        f'<tr><td class="d">{escape(name)}</td><td>{escape(text)}</td></tr>' for name, text in facts(start)
    )
    missing = ", ".join(label(name) for name in unseen(start))
    parts = [
        f"<table>{rows}</table>",
        _failure(start),
        waterfall(start),
        f'<p class="d">not seen: {escape(missing)}</p>' if missing else "",
        *[_pre(lines) for lines in sections(start, WIDTH)],
    ]
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{escape(head + time)}</summary>{''.join(parts)}</details>"


def _failure(start: Start) -> str:
    why = failure_words(start)
    if not why:
        return ""
    shown = escape("\n".join(clean(line) for line in start.evidence))
    return f'<div class="w"><b>{escape(why)}</b>{f"<pre>{shown}</pre>" if shown else ""}</div>'
