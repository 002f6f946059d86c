"""The box of progress: a line or two a benchmark with live figures, and a bar over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import vllmperf._engine as _engine
from vllmperf.dropin.guidellm.console import INFO, PROGRESS, SUCCESS, Console
from vllmperf.dropin.guidellm.profiles import Profile, Strategy
from vllmperf.dropin.guidellm.tables import figure
from vllmperf.formats.guidellm_file import placeholder_name, strategy_name
from vllmperf.loadgen.progress import Snapshot

PARTS = 1000
"""A benchmark is so many steps of the bars."""
WIDTH = 12
MOST_FAILED = 1000
"""A server that is gone refuses thousands of requests a second: after so many in a row a run is given up."""
COMPLETED, CUT, TRUNCATED = (
    _engine.OUTCOMES.index(name) for name in ("completed", "incomplete", "truncated")
)
STATES = {"pending": INFO, "running": PROGRESS, "complete": SUCCESS}


@dataclass(slots=True)
class Figures:
    """What a benchmark shows of itself. Rates are per second."""

    requests: float = 0.0
    latency_s: float | None = None
    concurrency: float = 0.0
    completed: float = 0.0
    incomplete: float = 0.0
    errored: float = 0.0
    output_rate: float = 0.0
    total_rate: float = 0.0
    ttft_ms: float | None = None
    itl_ms: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    late_ms: float = 0.0

    @staticmethod
    def of(found: Mapping[str, Any]) -> Figures:
        """Those of a finished benchmark."""

        def mean(name: str) -> Any:
            return found["metrics"][name]["successful"]["mean"]

        counts = found["request_totals"]
        return Figures(
            requests=mean("requests_per_second"),
            latency_s=mean("request_latency"),
            concurrency=mean("request_concurrency"),
            completed=counts["successful"],
            incomplete=counts["incomplete"],
            errored=counts["errored"],
            output_rate=mean("output_tokens_per_second"),
            total_rate=mean("tokens_per_second"),
            ttft_ms=mean("time_to_first_token_ms"),
            itl_ms=mean("inter_token_latency_ms"),
            prompt_tokens=mean("prompt_token_count"),
            output_tokens=mean("output_token_count"),
            late_ms=1e3 * found["run_stats"]["worker_start_time_targeted_delay_avg"],
        )

    def lines(self, with_scheduler: bool) -> str:
        """Two or three lines in the markup of rich."""
        shown = [
            _line(
                "Req",
                _figure(self.requests, 1, "", "req/s"),
                _figure(self.latency_s, 2, "s", "Lat"),
                _figure(self.concurrency, 1, "", "Conc"),
                _figure(self.completed, 0, "", "Comp"),
                _figure(self.incomplete, 0, "", "Inc"),
                _figure(self.errored, 0, "", "Err"),
            ),
            _line(
                "Tok",
                _figure(self.output_rate, 1, "", "gen/s"),
                _figure(self.total_rate, 1, "", "tot/s"),
                _figure(self.ttft_ms, 1, "ms", "TTFT"),
                _figure(self.itl_ms, 1, "ms", "ITL"),
                _figure(self.prompt_tokens, 0, "", "Prompt"),
                _figure(self.output_tokens, 0, "", "Gen"),
            ),
        ]
        if with_scheduler:
            none = (_figure(0.0, 1, "ms", f"{name} OH", 18) for name in ("Work", "Back"))
            sleep = _figure(0.0, 0, "ms", "Req Sleep", 18)
            shown.append(_line("Sys", *none, sleep, _figure(self.late_ms, 0, "ms", "Start Del", 18)))
        return "\n".join(shown)


def _figure(value: float | None, places: int, unit: str, label: str, width: int = WIDTH) -> str:
    shown = f"{figure(value, places):>4}{unit if value is not None else ' ' * len(unit)}"
    return " " * (width - len(f"{shown} {label}")) + f"{shown} [{INFO}]{label}[/{INFO}]"


def _line(label: str, *figures: str) -> str:
    return f"[{INFO}]{label}:[/{INFO}] " + ", ".join(figures)


class Running:
    """Sums up what has ended so far."""

    failed_in_row = 0

    def __init__(self) -> None:
        self._dtype = np.dtype(_engine.RECORD_DTYPE)
        self._sums = dict.fromkeys(("n", "latency", "ttft", "prompt", "output", "span", "gaps", "late"), 0.0)
        self._failed = 0
        self.in_flight = 0

    def take(self, batch: _engine.Batch, counters: _engine.Counters) -> bool:
        """Count a batch. True when so many requests in a row have failed that nothing more is to come of it."""
        records = np.frombuffer(batch["records"], dtype=self._dtype)
        self.in_flight = counters["in_flight"]
        is_done = _are_done(records)
        done = records[is_done]
        self._count_failed(~is_done[records["outcome"] != CUT])  # what we cut off ourselves says nothing
        sums = self._sums
        sums["n"] += len(done)
        sums["latency"] += float((done["end_ns"] - done["sent_ns"]).sum())
        sums["ttft"] += float((done["first_token_ns"] - done["sent_ns"]).sum())
        sums["span"] += float((done["last_token_ns"] - done["first_token_ns"]).sum())
        for name, column in (("prompt", "prompt_tokens"), ("output", "output_tokens")):
            sums[name] += float(np.maximum(done[column], 0).sum())
        sums["gaps"] += float(np.maximum(done["output_tokens"] - 1, 0).sum())
        timed = done["scheduled_ns"] != _engine.NONE
        sums["late"] += float((done["sent_ns"] - done["scheduled_ns"])[timed].sum())
        return self.failed_in_row >= MOST_FAILED

    def _count_failed(self, failed: NDArray[np.bool_]) -> None:
        self._failed += int(failed.sum())
        good = np.flatnonzero(~failed)
        self.failed_in_row = (
            len(failed) - 1 - int(good[-1]) if len(good) else self.failed_in_row + len(failed)
        )

    def figures(self, elapsed_s: float) -> Figures:
        """As things stand."""
        sums = self._sums
        elapsed_s = max(elapsed_s, 1e-9)

        def mean(name: str, unit: float = 1.0, over: str = "n") -> float | None:
            return sums[name] / sums[over] / unit if sums[over] else None

        return Figures(
            requests=sums["n"] / elapsed_s,
            latency_s=mean("latency", 1e9),
            concurrency=self.in_flight,
            completed=sums["n"],
            errored=self._failed,
            output_rate=sums["output"] / elapsed_s,
            total_rate=(sums["prompt"] + sums["output"]) / elapsed_s,
            ttft_ms=mean("ttft", 1e6),
            itl_ms=mean("span", 1e6, over="gaps"),
            prompt_tokens=mean("prompt"),
            output_tokens=mean("output"),
            late_ms=mean("late", 1e6) or 0.0,
        )


def _are_done(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """Those that count as successful, see running.py."""
    is_whole = (records["outcome"] == COMPLETED) | (
        (records["outcome"] == TRUNCATED) & (records["clean_end"] != 0)
    )
    done: NDArray[np.bool_] = is_whole & (records["first_token_ns"] != _engine.NONE)
    return done


class Box:
    """The box on a console. In a terminal it is drawn again as things change, elsewhere once, at the end."""

    def __init__(self, console: Console, with_scheduler: bool) -> None:
        self._with_scheduler = with_scheduler
        self._tasks = Progress(*_columns(), console=console.rich)
        self._bar = Progress(*_bar_columns(), console=console.rich)
        panel = Panel(self._tasks, title="Benchmarks", title_align="left", expand=True)
        self._live = Live(Group(panel, self._bar), console=console.rich)
        self._ids: list[TaskID] = []
        self._all: TaskID | None = None
        self._done = 0

    def __enter__(self) -> Box:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, profile: Profile) -> None:
        """One line a benchmark, all of them pending."""
        for kind in profile.types:
            task = self._tasks.add_task(
                placeholder_name(kind), start=False, total=None, **_fields("pending", None, " ")
            )
            self._ids.append(task)
        total = PARTS * len(self._ids)
        self._all = self._bar.add_task(
            "", total=total, completed_benchmarks=0, total_benchmarks=len(self._ids)
        )

    def show(
        self,
        number: int,
        strategy: Strategy,
        start_time: float,
        figures: Figures,
        share: float,
        ended: bool = False,
    ) -> None:
        """Figures of a benchmark, and what share of it is over (0 to 1)."""
        state = "complete" if ended else "running"
        parts = PARTS if ended else min(PARTS, int(share * PARTS))
        self._tasks.update(
            self._ids[number],
            description=strategy_name(strategy.to_dict(start_time)),
            total=PARTS,
            completed=parts,
            **_fields(state, start_time, figures.lines(self._with_scheduler)),
        )
        if self._all is not None:
            self._done = max(self._done, number + ended)
            self._bar.update(self._all, completed=PARTS * number + parts, completed_benchmarks=self._done)

    def end(self) -> None:
        """No benchmark follows."""
        if self._all is not None:
            self._bar.stop_task(self._all)

    def share(self, snapshot: Snapshot, max_seconds: float | None) -> float:
        """How much of a benchmark is over, by whichever limit is nearer."""
        by_time = snapshot.elapsed_s / max_seconds if max_seconds else 0.0
        by_number = snapshot.done / snapshot.asked if snapshot.asked else 0.0
        return max(by_time, by_number)


def _fields(state: str, start_time: float | None, summary: str) -> dict[str, Any]:
    clock = "--:--:--" if start_time is None else datetime.fromtimestamp(start_time).strftime("%H:%M:%S")
    return {"clock": clock, "state": f"[{STATES[state]}]{state:8}[/{STATES[state]}]", "summary": summary}


def _columns() -> list[ProgressColumn]:
    return [
        TextColumn("[{task.fields[clock]}]"),
        SpinnerColumn(style=PROGRESS),
        TaskProgressColumn(style=PROGRESS),
        TextColumn("{task.description}"),
        TextColumn("({task.fields[state]})"),
        TextColumn(" "),
        TextColumn("{task.fields[summary]}"),
    ]


def _bar_columns() -> list[ProgressColumn]:
    return [
        TextColumn("Generating...", style=f"italic {PROGRESS}"),
        BarColumn(bar_width=None, complete_style=PROGRESS, finished_style=SUCCESS),
        TextColumn("({task.fields[completed_benchmarks]}/{task.fields[total_benchmarks]})", style=PROGRESS),
        TextColumn("["),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("]"),
    ]
