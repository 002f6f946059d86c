"""Colours and strokes that tell series apart, for all kinds of colour blindness and in grey."""

from __future__ import annotations

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito, "Color Universal Design" (2008), without black and yellow."""
STROKES = ("-", "--", ":", "-.")
HATCHES = ("", "////", "....", "xxxx")
GREY, DARK = "#6b7280", "#1f2937"


def colour(number: int) -> str:
    """Of the series with this number, from 0 on."""
    return COLOURS[number % len(COLOURS)]


def hatch(number: int) -> str:
    """Of its bar: colours come again after six, then with another pattern."""
    return HATCHES[number // len(COLOURS) % len(HATCHES)]


def stroke(number: int) -> str:
    """Of its line: as with bars."""
    return STROKES[number // len(COLOURS) % len(STROKES)]
