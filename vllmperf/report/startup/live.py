"""How starts get on, on stderr while they do: one growing waterfall a pod on a terminal, else a plain line when a
pod comes to another phase."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from rich.cells import cell_len

from vllmperf.numbers import clean, plural
from vllmperf.report.console import encodable, is_colourful, rich_text, terminal_width
from vllmperf.report.layout import cut
from vllmperf.report.startup.many import bar_spans
from vllmperf.report.startup.one import failure_words
from vllmperf.report.startup.spans import critical, label, last_ns, origin_ns
from vllmperf.report.startup.table import BAR_STYLES, marks_for
from vllmperf.report.table import Line
from vllmperf.starts.result import NS_PER_S, Start

STILL_EVERY_S = 30.0
"""A pod that stays in one phase is mentioned this often in plain output."""
WIDEST_NAME = 40
STATE_WIDTH = 24


class LiveStarts:
    """Use as a context manager and call update() a few times a second. The panel leaves no trace.

    file: default stderr.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._panel: Any = None
        self._said: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Self:
        if is_colourful(self._file):
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._file, highlight=False, markup=False, emoji=False)
            self._panel = Live(console=console, transient=True, auto_refresh=False)
            self._panel.start()
        return self

    def update(self, starts: Sequence[Start], now_ns: int) -> None:
        """starts: as far as they are known, `end_ns` None (or in the past) once they ended; now_ns: on their axis."""
        if self._panel is not None:
            height = max(self._panel.console.size.height - 2, 1)
            shown = panel(starts, now_ns, terminal_width(self._file), height, self._file)
            self._panel.update(_styled(shown, self._file), refresh=True)
        else:
            self._say(starts, now_ns)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._panel is not None:
            self._panel.stop()
            self._panel = None

    def _say(self, starts: Sequence[Start], now_ns: int) -> None:
        for start in starts:
            state, age_s = state_words(start), age(start, now_ns)
            said, at_s = self._said.get(start.name, ("", 0.0))
            if state == said and (is_over(start) or age_s - at_s < STILL_EVERY_S):
                continue
            self._said[start.name] = (state, age_s)
            again = "still " if state == said else ""
            line = f"vllmperf: {clean(start.name)}: {age_s:.0f} s, {again}{state}\n"
            self._file.write(encodable(line, self._file))
        self._file.flush()


def is_over(start: Start) -> bool:
    return start.end_ns is not None or start.failure is not None


def age(start: Start, now_ns: int) -> float:
    """Seconds since its origin, up to its end or to the last that was seen of a failed one."""
    first = origin_ns(start)
    last = last_ns(start) if is_over(start) else now_ns
    return 0.0 if first is None or last is None else max(last - first, 0) / NS_PER_S


def state_words(start: Start) -> str:
    """The phase that it is in now, "ready", or why it failed."""
    if start.failure is not None:
        return failure_words(start)
    if start.end_ns is not None:
        return clean(start.end)
    open_ones = [p.name for p in start.phases if p.critical and p.start_ns is not None and p.end_ns is None]
    if open_ones:
        return label(open_ones[-1])
    done = [phase.name for phase in critical(start)]
    return f"after {label(done[-1])}" if done else "waiting"


def panel(starts: Sequence[Start], now_ns: int, width: int, height: int, file: TextIO) -> list[Line]:
    """One line a pod: name, age, waterfall so far on the axis of the oldest, where it is. Those that do not fit on
    the screen are counted; the ones still under way come first."""
    listed = sorted(starts, key=is_over)
    room = height if len(listed) <= height else height - 1
    shown, rest = listed[:room], listed[room:]
    if not shown:
        return [[("  waiting for a pod", "dim")]]
    names = [cut(clean(start.name), min(WIDEST_NAME, width // 3)) for start in shown]
    name_width = max(map(cell_len, names))
    longest = max(age(start, now_ns) for start in starts)
    found = [
        _line(start, name + " " * (name_width - cell_len(name)), now_ns, longest, width, file)
        for start, name in zip(shown, names, strict=True)
    ]
    return found + ([[(f"  and {plural(len(rest), 'more start')}", "dim")]] if rest else [])


def _line(start: Start, name: str, now_ns: int, longest: float, width: int, file: TextIO) -> Line:
    head = f"  {name}  {age(start, now_ns):4.0f} s  "
    state = cut(state_words(start), STATE_WIDTH)
    room = width - cell_len(head) - STATE_WIDTH - 3
    if room < 8:
        return [(head, ""), (cut(state, max(width - cell_len(head) - 1, 0)), _state_style(start))]
    bar = bar_spans(start, room, max(longest, 1.0), marks_for(file), coloured=True)
    bar += _under_way(start, bar, now_ns, max(longest, 1.0), room)
    used = sum(cell_len(text) for text, _ in bar)
    return [(head, ""), *bar, (" " * (room - used) + "  ", ""), (state, _state_style(start))]


def _under_way(start: Start, bar: Line, now_ns: int, longest: float, room: int) -> Line:
    """What the phase under way has taken so far, which nobody can name for sure yet."""
    if is_over(start):
        return []
    done = sum(cell_len(text) for text, _ in bar)
    cells = round(age(start, now_ns) / longest * room) - done
    return [("━" * max(min(cells, room - done), 0), "dim")]


def _state_style(start: Start) -> str:
    return "bad" if start.failure is not None else "good" if start.end_ns is not None else ""


def _styled(lines: Sequence[Line], file: TextIO) -> Any:
    from rich.text import Text

    whole = Text("\n", no_wrap=True, overflow="ellipsis")
    return whole.join(rich_text(line, file, BAR_STYLES) for line in lines)
