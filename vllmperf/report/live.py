"""How a run gets on, on stderr while it goes: a small panel on a terminal, else at most one plain
line every 10 s."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from vllmperf.numbers import brief, clean, number, rough
from vllmperf.report.console import encodable, is_colourful

if TYPE_CHECKING:
    from rich.text import Text

    from vllmperf.loadgen.progress import Snapshot
    from vllmperf.metrics.rolling import Interval

PLAIN_EVERY_S = 10.0
BAR_WIDTH = 30


class Live:
    """Use as a context manager around a run and call it with each snapshot. The panel leaves no trace."""

    def __init__(self, file: TextIO | None = None, quiet: bool = False, has_lines: bool = True) -> None:
        """has_lines: where there is no terminal, tell every 10 s how the run gets on; False: notices alone."""
        self._file = file or sys.stderr
        self._panel: Any = None
        self._is_quiet = quiet
        self._next_line_s = PLAIN_EVERY_S if has_lines else math.inf
        self._has_noticed = False

    def __enter__(self) -> Self:
        if not self._is_quiet and is_colourful(self._file):
            from rich.console import Console
            from rich.live import Live as RichLive

            console = Console(file=self._file, highlight=False)
            self._panel = RichLive(console=console, transient=True, auto_refresh=False)
            self._panel.start()
        return self

    def __call__(self, snapshot: Snapshot) -> None:
        if self._panel is not None:
            self._panel.update(panel(snapshot), refresh=True)
            return
        if not self._is_quiet and snapshot.notice and not self._has_noticed:
            self._has_noticed = True  # once: the lines that follow show how it goes on
            self._write(f"vllmperf: notice: {snapshot.notice}")
        if not self._is_quiet and snapshot.elapsed_s >= self._next_line_s:
            self._next_line_s = snapshot.elapsed_s + PLAIN_EVERY_S
            self._write(line(snapshot))

    def _write(self, text: str) -> None:
        self._file.write(encodable(text + "\n", self._file))
        self._file.flush()

    def close(self) -> None:
        if self._panel is not None:
            self._panel.stop()
            self._panel = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def line(snapshot: Snapshot) -> str:
    """vllmperf: 20 s, sent 400 of 1,000, in flight 8, done 392, errors 0, 1,630 tok/s, TTFT p50 51
    p99 70 ms, …"""
    parts = [f"{snapshot.elapsed_s:.0f} s", *_counts(snapshot), *_rates(snapshot)]
    if snapshot.time_left_s is not None:
        parts.append(f"{snapshot.time_left_s:.0f} s left")
    return "vllmperf: " + ", ".join(parts)


def tell_interval(interval: Interval) -> None:
    """Print the line of an interval to stderr."""
    print(encodable(interval_line(interval), sys.stderr), file=sys.stderr, flush=True)


def interval_line(interval: Interval) -> str:
    """vllmperf: 10 to 20 s: 412 done, 41.2/s, 5,273 tok/s, TTFT p50 51 p99 70 ms, ITL p50 10 p99 12 ms, errors 0, in flight 8"""
    parts = [
        f"{interval.done:,} done",
        f"{brief(interval.requests_per_s)}/s",
        f"{interval.output_tokens_per_s:,.0f} tok/s",
        *_times("TTFT", interval.ttft_ms_p50, interval.ttft_ms_p99),
        *_times("ITL", interval.itl_ms_p50, interval.itl_ms_p99),
        f"errors {interval.errors:,}",
        f"in flight {interval.in_flight:,}",
    ]
    return f"vllmperf: {brief(interval.start_s)} to {brief(interval.end_s)} s: {', '.join(parts)}"


def _times(name: str, p50: float | None, p99: float | None) -> list[str]:
    return [] if p50 is None else [f"{name} p50 {rough(p50)} p99 {rough(p99)} ms"]


def panel(snapshot: Snapshot) -> Text:
    """Three lines: how far, how many, how fast; a fourth for what must be noticed."""
    from rich.text import Text

    done = _part_done(snapshot)
    filled = round(BAR_WIDTH * (done or 0))
    left = "" if snapshot.time_left_s is None else f", {snapshot.time_left_s:.0f} s left"
    how_far = Text.assemble(
        ("  ", ""),
        (f"{snapshot.state:<9}", "bold"),
        ("━" * filled, "green"),
        ("━" * (BAR_WIDTH - filled), "dim"),
        (f"  {f'{100 * done:.0f} %' if done is not None else ''}  {snapshot.elapsed_s:.0f} s{left}", ""),
    )
    *counts, errors = _counts(snapshot)
    failing = "bold red" if snapshot.errors else "dim"
    how_many = Text.assemble(("  " + "   ".join(counts) + "   ", ""), (errors, failing))
    how_fast = Text("  " + "   ".join(_rates(snapshot)))
    lines = [how_far, how_many, how_fast]
    if snapshot.notice:
        lines.append(Text(f"  {snapshot.notice}", style="yellow"))
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def _part_done(snapshot: Snapshot) -> float | None:
    if snapshot.time_left_s is not None and snapshot.elapsed_s + snapshot.time_left_s > 0:
        return snapshot.elapsed_s / (snapshot.elapsed_s + snapshot.time_left_s)
    return min(snapshot.done / snapshot.asked, 1.0) if snapshot.asked else None


def _counts(snapshot: Snapshot) -> list[str]:
    """Sent, in flight, done and errors, in this order."""
    asked = f" of {number(snapshot.asked)}" if snapshot.asked else ""
    kinds = ", ".join(f"{clean(name).replace('_', ' ')} {count:,}" for name, count in snapshot.errors.items())
    return [
        f"sent {snapshot.sent:,}{asked}",
        f"in flight {snapshot.in_flight:,}",
        f"done {snapshot.done:,}",
        f"errors {sum(snapshot.errors.values()):,}{f' ({kinds})' if kinds else ''}",
    ]


def _rates(snapshot: Snapshot) -> list[str]:
    """What is known of speed so far."""
    found = []
    if snapshot.output_tokens_per_s is not None:
        found.append(f"{snapshot.output_tokens_per_s:,.0f} tok/s")
    found += _times("TTFT", snapshot.ttft_ms_p50, snapshot.ttft_ms_p99)
    if snapshot.client_lag_ms_p99 is not None:
        found.append(f"client lag p99 {rough(snapshot.client_lag_ms_p99)} ms")
    return found
