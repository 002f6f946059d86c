"""Numbers as people read them: three or four digits that matter, thousands apart, decimal points
under each other."""

import math
import re
from collections.abc import Iterable, Sequence

NOTHING = "–"
FINEST = 3
"""Decimals at most: with milliseconds, microseconds."""


MOST = 1e300
"""A number of a file that is larger is none: it would overflow in sums."""


def measured(value: object) -> float | None:
    """A number from a file as it is; None for what no measurement gives: text, true, NaN, infinity, hundreds of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
        return None
    return value


def decimals(values: Iterable[float | None]) -> int:
    """How many decimals show four digits of the smallest of these values that is not 0."""
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return 0
    return min(max(3 - math.floor(math.log10(min(sizes))), 0), FINEST)


def fixed(value: float | None, places: int) -> str:
    """1234.567, 1 → 1,234.6"""
    return NOTHING if value is None else f"{value:,.{places}f}"


def number(value: float | None) -> str:
    """A lone number with four digits: 0.123, 12.34, 1,234"""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else fixed(value, decimals([value]))


def estimate(value: float, half: float, *others: float) -> list[str]:
    """A value and others beside it with the digits that an interval of ± half leaves: 6.9735, 0.0017 → 6.9735.

    half's first two digits are shown; 0 means that it is not known, and four digits are shown.
    """
    if not half or not math.isfinite(half):
        return [f"{one:.4g}" for one in (value, *others)]
    places = 1 - math.floor(math.log10(half))
    if 0 < abs(value) < 1e-3:
        first = math.floor(math.log10(abs(value)))
        return [f"{one * 10.0**-first:.{max(places + first, 0)}f}e{first}" for one in (value, *others)]
    return [f"{one:,.{max(places, 0)}f}" for one in (value, *others)]


def brief(value: float | None, digits: int = 3) -> str:
    """A number within a sentence, with so many digits that matter and never an exponent: 12, 0.0123, 1,340"""
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def percent(part: float | None) -> str:
    """A share within a sentence: 0.667 → 66.7 %, 13.4 → 1,340 %"""
    return NOTHING if part is None else f"{brief(100 * part)} %"


def rough(value: float | None) -> str:
    """A number that changes as one looks at it, with three digits: 0.123, 12.3, 1,234"""
    return NOTHING if value is None else fixed(value, max(decimals([value]) - 1, 0) if value >= 1 else FINEST)


def share(value: float | None) -> str:
    """0.0123 → 1.2 %. Something is never shown as nothing, nor a part as all."""
    if value is None:
        return NOTHING
    hundredths = 100 * value
    if 0 < hundredths < 0.1:
        return "< 0.1 %"
    if 99.9 < hundredths < 100:
        return "> 99.9 %"
    return "0 %" if hundredths == 0 else "100 %" if hundredths == 100 else f"{hundredths:,.1f} %"


def duration(seconds: float | None) -> str:
    """12.3 s, 2 min 05 s, 1 h 03 min"""
    if seconds is None:
        return NOTHING
    if seconds < 120:
        return f"{brief(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plural(count: int, one: str, many: str = "") -> str:
    """1 request, 2 requests"""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


WHOLE = re.compile(r"\D*[\d,]*")
"""A number up to its decimal point, with what stands before it."""


def align(cells: Sequence[str]) -> list[str]:
    """Pad numbers on both sides so that their decimal points stand under each other, whatever unit is behind them."""
    tails = [len(cell) - _whole(cell) for cell in cells]
    longest = max(tails, default=0)
    padded = [cell + " " * (longest - tail) for cell, tail in zip(cells, tails, strict=True)]
    width = max(map(len, padded), default=0)
    return [cell.rjust(width) for cell in padded]


def _whole(cell: str) -> int:
    match = WHOLE.match(cell)
    return match.end() if match and any(map(str.isdigit, cell)) else len(cell)


def clean(text: object) -> str:
    """Text from outside in one line, without control characters that a terminal would obey."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "�" for character in line)
