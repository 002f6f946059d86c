"""Small cumulative plots as inline SVG: no script, no font, no address; colours fit a light and a
dark page."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics.statistics import NS_PER_MS, Samples, Streamed, quantiles
from vllmperf.numbers import decimals, fixed

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 26, 28
POINTS = 121
SHOWN_UP_TO = 0.995
"""The plot ends at this quantile, so that one outlier does not press all others to the left edge."""
FONT = "font:11px sans-serif;color:inherit"
CURVE = "#3b82c4"  # readable on white and on near-black
DOTS = 600
"""Of more requests than this, evenly chosen ones are drawn."""


def cdf(title: str, samples: Samples | Streamed) -> str:
    """The share of samples (ns) up to each value, drawn over ms. "" when there are no two different ones."""
    if len(samples) < 2:
        return ""
    levels = np.linspace(0, SHOWN_UP_TO, POINTS)
    values = np.array(quantiles(samples, levels.tolist()), dtype=np.float64) / NS_PER_MS
    low, high = float(values[0]), float(values[-1])
    if high <= low:
        return ""
    ticks = _ticks(low, high)
    x = LEFT + (values - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - levels * (HEIGHT - TOP - BOTTOM)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return "".join([
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}, share of samples up to each value" style="{FONT}">',
        _text(LEFT, 14, title, "start", bold=True),
        *[_level(level) for level in (0.0, 0.5, 0.9)],
        *[_tick(tick, low, high, ticks) for tick in ticks],
        f'<polyline points="{points}" fill="none" stroke="{CURVE}" stroke-width="2"/>',
        "</svg>",
    ])  # fmt: skip


def over_time(title: str, times_s: Floats, values_ms: Floats, shaded: Sequence[tuple[float, float]]) -> str:
    """A dot for each request: its value over the time at which it was sent. shaded: times that are left out of the figures.
    "" when there are no two requests."""
    if len(times_s) < 2 or (end := max([float(times_s.max()), *(to for _, to in shaded)])) <= 0:
        return ""
    chosen = np.unique(np.linspace(0, len(times_s) - 1, DOTS).astype(np.int64))
    low, high = 0.0, float(values_ms[chosen].max()) or 1.0
    x = LEFT + times_s[chosen] / end * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - values_ms[chosen] / high * (HEIGHT - TOP - BOTTOM)
    ticks, levels = _ticks(0.0, end), _ticks(low, high)
    dots = "".join(f"M{a:.1f},{b:.1f}h.01" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return "".join([
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)} of each request over the run" style="{FONT}">',
        *[_shade(start / end, to / end) for start, to in shaded],
        _text(LEFT, 14, f"{title} over the run, s", "start", bold=True),
        *[_level(level / high, _short(level, levels)) for level in levels],
        *[_tick(tick, 0.0, end, ticks) for tick in ticks],
        f'<path d="{dots}" fill="none" stroke="{CURVE}" stroke-width="3" stroke-linecap="round" opacity="0.7"/>',
        "</svg>",
    ])  # fmt: skip


def _shade(start: float, end: float) -> str:
    room = WIDTH - LEFT - RIGHT
    at = f'x="{LEFT + start * room:.1f}" width="{(end - start) * room:.1f}"'
    title = "<title>left out of the figures</title>"
    return f'<rect {at} y="{TOP}" height="{HEIGHT - TOP - BOTTOM}" fill="currentColor" opacity="0.12">{title}</rect>'


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False) -> str:
    weight = 'font-weight="600"' if bold else 'opacity="0.7"'
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} fill="currentColor" {weight}>{escape(text)}</text>'


def _level(level: float, text: str = "") -> str:
    y = HEIGHT - BOTTOM - level * (HEIGHT - TOP - BOTTOM)
    line = (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="currentColor" opacity="{0.5 if level == 0 else 0.18}"/>'
    )
    return line + _text(LEFT - 6, y + 4, text or f"{level:.0%}", "end")


def _tick(tick: float, low: float, high: float, ticks: Sequence[float]) -> str:
    x = LEFT + (tick - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    return _text(x, HEIGHT - 10, _short(tick, ticks), "middle")


def _short(tick: float, ticks: Sequence[float]) -> str:
    places = min(decimals([ticks[-1] - ticks[0]]), 3) if len(ticks) > 1 else 3
    return fixed(tick, places).rstrip("0").rstrip(".") if places else fixed(tick, 0)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values between low and high."""
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.8))
    first = np.ceil(low / step) * step
    return [float(tick) for tick in np.arange(first, high + step * 1e-6, step)]
