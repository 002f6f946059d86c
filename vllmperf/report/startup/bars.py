"""Bars of text: one span on an axis, and a whole start in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vllmperf.report.startup.spans import REST, Family, critical, elapsed_s, family, offset_s
from vllmperf.starts.result import Start

EIGHTHS = " ▏▎▍▌▋▊▉█"


class Marks(NamedTuple):
    """The characters of a bar: on the critical path, beside it, nobody knows; and the edges of one line."""

    path: str
    beside: str
    rest: str
    tick: str
    edge: str
    line: str
    end: str


UNICODE = Marks("█", "▒", "░", "▏", "├", "─", "┤")
ASCII = Marks("#", "=", ".", "|", "|", "-", "|")


class Segment(NamedTuple):
    family: Family
    cells: int


def bar(start_s: float, end_s: float, total_s: float, width: int, mark: str, marks: Marks) -> str:
    """Blanks up to the start, then the mark as long as the span: never beyond `width`, never empty.

    Full blocks are as long as the span to an eighth of a cell, and begin up to a cell too early.
    """
    if total_s <= 0 or width <= 0:
        return ""
    begin = min(max(int(start_s / total_s * width), 0), width - 1)
    eighths = min(round((end_s - start_s) / total_s * width * 8), (width - begin) * 8)
    if eighths < 4 and mark != UNICODE.path:
        return " " * begin + marks.tick
    if mark != UNICODE.path:
        return " " * begin + mark * max(round(eighths / 8), 1)
    full, part = divmod(max(eighths, 1), 8)
    return " " * begin + mark * full + (EIGHTHS[part] if part else "")


def segments(start: Start, width: int, longest_s: float) -> list[Segment]:
    """The families of a start one after another, in whole cells; `longest_s` fills the width.

    Edges are rounded, not lengths: the cells add up, and what is shorter than half a cell may vanish.
    """
    if longest_s <= 0:
        return []
    found: list[Segment] = []
    at = 0
    for phase in critical(start):
        edge = min(round((offset_s(start, phase.end_ns) or 0.0) / longest_s * width), width)
        if edge <= at:
            continue
        kind = family(phase.name)
        if found and found[-1].family is kind:
            found[-1] = Segment(kind, found[-1].cells + edge - at)
        else:
            found.append(Segment(kind, edge - at))
        at = edge
    return found


def segment_text(segment: Segment, marks: Marks) -> str:
    """├weights─────: its name as far as it fits. Time that nobody knows of has dots."""
    if segment.family.label == REST:
        return (marks.edge + "·" * segment.cells if marks is UNICODE else "|" + "." * segment.cells)[
            : segment.cells
        ]
    return (marks.edge + segment.family.label).ljust(segment.cells, marks.line)[: segment.cells]


def longest_s(starts: Sequence[Start]) -> float:
    return max((elapsed_s(start) or 0.0 for start in starts), default=0.0)
