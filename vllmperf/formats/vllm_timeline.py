"""The timeline of --plot-timeline: one page, one bar a request, its gaps coloured by two thresholds."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, ROW, GAP = 1200, 10, 2
WAITING, GOOD, SLOW, BAD = "#9e9e9e", "#2e7d32", "#ef6c00", "#c62828"
STYLE = "body{font:14px sans-serif;margin:24px} rect{shape-rendering:crispEdges} .key span{margin-right:16px}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One request. Times in s; start_s from the first request's."""

    start_s: float
    ttft_s: float
    itl_s: Sequence[float]
    prompt_tokens: int
    output_tokens: int

    @property
    def end_s(self) -> float:
        return self.start_s + self.ttft_s + sum(self.itl_s)


def page(bars: Sequence[Bar], thresholds_ms: tuple[float, float]) -> str:
    """The page as HTML without anything from elsewhere. bars: in the order of the requests, at least one."""
    end_s = max(bar.end_s for bar in bars) or 1.0
    low, high = thresholds_ms
    height = len(bars) * (ROW + GAP)
    rows = "".join(_row(number, bar, end_s, thresholds_ms) for number, bar in enumerate(bars))
    keys = (
        (WAITING, "to the first token"),
        (GOOD, f"gaps below {low:g} ms"),
        (SLOW, f"up to {high:g} ms"),
        (BAD, "above"),
    )
    key = "".join(f'<span><b style="color:{color}">■</b> {html.escape(text)}</span>' for color, text in keys)
    return (
        f'<!doctype html><meta charset="utf-8"><title>Request timeline</title><style>{STYLE}</style>'
        f"<h1>Request timeline</h1><p>{len(bars)} requests in {end_s:.2f} s</p><p class=key>{key}</p>"
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" xmlns="http://www.w3.org/2000/svg">{rows}</svg>\n'
    )


def _row(number: int, bar: Bar, end_s: float, thresholds_ms: tuple[float, float]) -> str:
    title = (
        f"request {number}: sent at {bar.start_s:.3f} s, first token after {bar.ttft_s * 1e3:.1f} ms, "
        f"{bar.prompt_tokens} tokens in, {bar.output_tokens} out, {(bar.end_s - bar.start_s) * 1e3:.1f} ms"
    )
    y = number * (ROW + GAP)
    parts = "".join(
        f'<rect x="{WIDTH * first / end_s:.2f}" y="{y}" width="{max(0.2, WIDTH * (last - first) / end_s):.2f}" '
        f'height="{ROW}" fill="{color}"/>'
        for first, last, color in _parts(bar, thresholds_ms)
    )
    return f"<g><title>{title}</title>{parts}</g>"


def _parts(bar: Bar, thresholds_ms: tuple[float, float]) -> Iterator[tuple[float, float, str]]:
    """(from, to, colour), neighbours of one colour together."""
    first = now = bar.start_s + bar.ttft_s
    yield bar.start_s, now, WAITING
    color = ""
    for gap_s in bar.itl_s:
        own = _color(gap_s * 1e3, thresholds_ms)
        if color and own != color:
            yield first, now, color
            first = now
        color = own
        now += gap_s
    if color:
        yield first, now, color


def _color(gap_ms: float, thresholds_ms: tuple[float, float]) -> str:
    low, high = thresholds_ms
    return GOOD if gap_ms < low else SLOW if gap_ms < high else BAD
