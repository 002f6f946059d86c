"""Waterfalls as inline SVG: no script, no font, no address; colours fit a light and a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import accumulate

from vllmperf.numbers import clean, share
from vllmperf.report.startup.spans import (
    REST,
    critical,
    elapsed_s,
    family,
    is_known,
    label,
    offset_s,
    places,
    resolution_s,
    tree,
)
from vllmperf.report.startup.words import figure, name_words, precision
from vllmperf.starts.result import Phase, Start

WIDTH = 860
LEFT, RIGHT, TOP, BOTTOM = 230, 88, 6, 26
ROW = 20
BAR = 13
STRIP = 4
"""Height of what one rank took, below the bar of all."""
MOST_STRIPS = 32
FONT = "font:12px system-ui,sans-serif;color:inherit"
LETTER = 6.4
"""Mean width of a letter at this size: enough to tell what will not fit."""
MOST_TICKS = 8


def waterfall(start: Start) -> str:
    """A bar for each known phase on the axis of the start, its name before it and its seconds behind; what its ranks
    took as thin strips below. "" when nothing is known."""
    total = elapsed_s(start)
    rows = [(phase, ranks[:MOST_STRIPS]) for phase, ranks in tree(start) if is_known(phase)]
    if not total or not rows:
        return ""
    tops = [TOP, *accumulate((ROW + STRIP * len(ranks) for _, ranks in rows), initial=TOP)][1:]
    height = tops[-1] + BOTTOM
    return "".join([
        _head(height, f"Waterfall of {clean(start.name)}"),
        *[_grid_line(tick, total, height) for tick in round_ticks(total)],
        *[_row(start, phase, top, total) for (phase, _), top in zip(rows, tops, strict=False)],
        *[_strips(start, ranks, top + ROW, total) for (_, ranks), top in zip(rows, tops, strict=False)],
        "</svg>",
    ])  # fmt: skip


def _strips(start: Start, ranks: Sequence[Phase], top: float, total: float) -> str:
    return "".join(
        f"<g><title>{escape(tooltip(start, rank))}</title>{_strip(start, rank, top + STRIP * i - 2, total)}</g>"
        for i, rank in enumerate(ranks)
    )


def _strip(start: Start, rank: Phase, y: float, total: float) -> str:
    left = _x(offset_s(start, rank.start_ns) or 0.0, total)
    right = max(_x(offset_s(start, rank.end_ns) or 0.0, total), left + 1.5)
    return f'<rect x="{left:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{STRIP - 1}" {fill(rank)}/>'


def _head(height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" style="{FONT}">'
    )


def _x(seconds: float, total: float) -> float:
    return LEFT + seconds / total * (WIDTH - LEFT - RIGHT)


def _row(start: Start, phase: Phase, y: float, total: float) -> str:
    begin, end = offset_s(start, phase.start_ns) or 0.0, offset_s(start, phase.end_ns) or 0.0
    left, right = _x(begin, total), max(_x(end, total), _x(begin, total) + 1.5)
    name = row_name(phase)
    seconds = f"{figure(phase.duration_s, _decimals(start, phase))} s"
    return (
        f"<g><title>{escape(tooltip(start, phase))}</title>"
        f'<rect x="0" y="{y}" width="{WIDTH}" height="{ROW}" fill="transparent"/>'
        f"{_text(LEFT - 10, y + 14, cut_text(name, LEFT - 14), 'end', 0.95 if phase.critical else 0.6)}"
        f'<rect x="{left:.1f}" y="{y + 3}" width="{right - left:.1f}" height="{BAR}" rx="2" {fill(phase)}/>'
        f"{_text(right + 5, y + 14, seconds, 'start', 0.75)}</g>"
    )


def row_name(phase: Phase) -> str:
    return label(phase.name) if phase.rank is None else f"{label(phase.name)} · {clean(phase.rank)}"


def _decimals(start: Start, phase: Phase) -> int:
    return places(phase.resolution_s if phase.resolution_s is not None else resolution_s(start))


def fill(phase: Phase) -> str:
    """Time that nobody knows of is hollow; what lies within other phases is pale."""
    colour = family(phase.name).colour
    if phase.name == REST:
        return f'fill="{colour}" fill-opacity="0.18" stroke="{colour}" stroke-dasharray="3 2"'
    return f'fill="{colour}"' + ("" if phase.critical else ' fill-opacity="0.45"')


def tooltip(start: Start, phase: Phase) -> str:
    """All that is known of a phase, in one line."""
    total, decimals = elapsed_s(start), _decimals(start, phase)
    begin, end = offset_s(start, phase.start_ns), offset_s(start, phase.end_ns)
    part = f"{share(phase.duration_s / total)} of the whole" if total and phase.duration_s is not None else ""
    parts = [
        f"{row_name(phase)}: {figure(phase.duration_s, decimals)} s",
        f"from {figure(begin, decimals)} to {figure(end, decimals)} s",
        part if phase.critical else "",
        f"the log says {phase.reported_s:g} s" if phase.reported_s is not None else "",
        f"source: {clean(phase.source)} {precision(phase.resolution_s)}".rstrip(),
        clean(phase.detail or ""),
    ]
    return "; ".join(part for part in parts if part)


def _text(x: float, y: float, text: str, anchor: str, opacity: float) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} fill="currentColor" opacity="{opacity}">{escape(text)}</text>'


def cut_text(text: str, width: float) -> str:
    most = int(width / LETTER)
    return text if len(text) <= most else text[: most - 1] + "…"


def _grid_line(tick: float, total: float, height: float) -> str:
    x = _x(tick, total)
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - BOTTOM + 4}" stroke="currentColor" opacity="0.15"/>'
    return line + _text(x, height - 8, f"{tick:g} s", "middle", 0.65)


def round_ticks(total: float) -> list[float]:
    """0 and up to eight round values to the total."""
    rough = total / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(i * step, 9) for i in range(int(total / step + 1e-9) + 1)]


# ---- many starts ----


def stacked(starts: Sequence[Start]) -> str:
    """One bar a start, all on one axis, the phases in the colours of their families."""
    longest = max((elapsed_s(start) or 0.0 for start in starts), default=0.0)
    if longest <= 0:
        return ""
    height = TOP + ROW * len(starts) + BOTTOM
    return "".join([
        _head(height, f"{len(starts)} starts"),
        *[_grid_line(tick, longest, height) for tick in round_ticks(longest)],
        *[_stack(start, i, longest) for i, start in enumerate(starts)],
        "</svg>",
    ])  # fmt: skip


def _stack(start: Start, i: int, longest: float) -> str:
    y = TOP + ROW * i
    seen = elapsed_s(start)
    behind = f"{figure(seen, min(places(resolution_s(start)), 1))} s" if start.reached else "✘ not ready"
    pieces = "".join(_piece(start, phase, y, longest) for phase in critical(start))
    return (
        f"{_text(LEFT - 10, y + 14, cut_text(name_words(start), LEFT - 14), 'end', 0.95)}{pieces}"
        f"{_text(_x(seen or 0.0, longest) + 5, y + 14, behind, 'start', 0.75)}"
    )


def _piece(start: Start, phase: Phase, y: float, longest: float) -> str:
    left = _x(offset_s(start, phase.start_ns) or 0.0, longest)
    right = _x(offset_s(start, phase.end_ns) or 0.0, longest)
    return (
        f'<rect x="{left:.2f}" y="{y + 3}" width="{max(right - left, 0.0):.2f}" height="{BAR}" {fill(phase)}>'
        f"<title>{escape(clean(start.name))}: {escape(tooltip(start, phase))}</title></rect>"
    )
