"""One run from the options to the exit code."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from vllmperf.dropin.llm_bench import providers, summary, tables, target
from vllmperf.dropin.llm_bench.answers import Answer, answers
from vllmperf.dropin.llm_bench.book import Book
from vllmperf.dropin.llm_bench.log import Log
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.dropin.llm_bench.pacing import pacing, spawn_times_s
from vllmperf.dropin.llm_bench.sending import Sender
from vllmperf.formats.llm_bench_csv import append
from vllmperf.loadgen import resolve
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import Schedule
from vllmperf.loadgen.session import Block, Session, Turn
from vllmperf.plan import MOST
from vllmperf.version import __version__

POLL_S = 0.001
"""While users are told apart a user that has become free waits as long as this for its next request."""
DRAIN_S = 0.05
TABLES_S = 2.0
NS = 1e9
NOT_ROUNDED = (
    "Percentiles are not rounded; locust rounds to 1 ms, from 100 ms on to 10 ms, from 1 s on to 100 ms "
    "(--locust-rounding)."
)


def run(options: Options) -> int:
    """Carry the run out. Gives the exit code. Raises UsageError and TargetError before anything is sent."""
    log, generator = Log(options.loglevel), random.Random()
    sender = Sender(options, pacing(options, generator), generator)
    found = target.find(options)
    test = LoadTest(options, found, sender, log)
    session = Session(_config(options, found), test)
    session.subscribe(test)
    test.begin()
    session.run()
    return test.report()


def _config(options: Options, found: target.Target) -> dict[str, object]:
    task = found.task.replace(duration=_end_s(options) or MOST)
    is_raw = providers.is_raw(found.provider, options)
    return {
        **engine_config(task, resolve.usable_addresses(task.plan.url), Schedule(None, iter(()))),
        "no_request_ids": True,
        "follow_redirects": True,
        "strict_events": True,
        "raw_bodies": is_raw,
        "keep_stamps": is_raw and options.streams,
    }


def _end_s(options: Options) -> float | None:
    """When sending stops: 2024-10 counts from the start, 2026-06 from when all users are there."""
    if options.run_time is None:
        return None
    return options.run_time + (0.0 if options.is_old else _spawned_s(options))


def _spawned_s(options: Options) -> float:
    return spawn_times_s(options.users, options.spawn_rate)[-1]


class LoadTest:
    """A run under way: gives the session its requests as users become free, and enters what came back."""

    n, is_timed, ended = None, True, False

    def __init__(self, options: Options, found: target.Target, sender: Sender, log: Log) -> None:
        self._options, self._target, self._sender, self._log = options, found, sender, log
        self._book = Book(options, found.path, log)
        self._spawns_s = spawn_times_s(options.users, options.spawn_rate)
        self._greeted = 0
        self._tables_s = TABLES_S
        self._now_s = 0.0
        self._ended: list[Answer] = []
        if found.models_s is not None:
            self._book.stats.add("GET", "/v1/models", found.models_s * 1e3, 0.0)

    # ---- under way ----

    def begin(self) -> None:
        """The lines ahead of the run."""
        options = self._options
        if options.run_time is not None:
            self._log("vllmperf", f"Run time limit set to {options.run_time:g} seconds")
        self._log("vllmperf", f"Starting vllmperf {__version__} as llm_bench {options.profile}")
        self._log(
            "vllmperf", f"Ramping to {options.users} users at a rate of {options.spawn_rate:.2f} per second"
        )

    @property
    def wait_s(self) -> float:
        return POLL_S if self._sender.follows_users else DRAIN_S

    def more(self, turn: Turn) -> Iterator[Block]:
        """What users that are free send next."""
        self._now_s = turn.elapsed_ns / NS
        self._ended = answers(turn.batch, self._target.provider, self._options)
        self._sender.freed(self._ended)
        return self._sender.blocks(self._target, self._now_s, turn.counters["backlog"])

    def __call__(self, turn: Turn) -> None:
        """Enter what ended, and say what the original says meanwhile."""
        if turn.state != "running":
            return
        for delay_s in self._sender.late_s:
            self._book.late(delay_s)
        ended, self._ended = self._ended, []
        for answer in ended:
            self._greet(answer.end_s)
            self._book.take(answer, self._sender.asked.pop(answer.index))
        self._greet(self._now_s)
        if self._options.max_requests is not None and self._book.successes >= self._options.max_requests:
            turn.end(now=True)
        self._show(self._now_s)
        sys.stdout.flush()

    def _greet(self, now_s: float) -> None:
        """Users that have started by now; with the last one 2026-06 begins to count anew."""
        while self._greeted < len(self._spawns_s) and self._spawns_s[self._greeted] <= now_s:
            self._greeted += 1
            greeting = f" Provider {self._target.provider} using model {self._target.model} "
            self._book.say(greeting.center(80, "*"))
            if self._greeted == len(self._spawns_s):
                self._all_there()

    def _all_there(self) -> None:
        users = self._options.users
        self._log("vllmperf", f'All users spawned: {{"LLMUser": {users}}} ({users} total users)')
        if not self._options.is_old:
            self._log("load_test", "Resetting stats after traffic reached a steady state")
            self._book.stats.reset(self._spawns_s[-1])

    def _show(self, now_s: float) -> None:
        if now_s < self._tables_s or self._options.only_summary:
            return
        self._tables_s = now_s + TABLES_S
        rounded = self._options.locust_rounding
        self._log.plain(tables.requests_table(self._book.stats, tables.name_width(), rounded))

    # ---- the end ----

    def report(self) -> int:
        """Tables, Summary, CSV. Gives the exit code."""
        options, stats = self._options, self._book.stats
        is_good = self._is_good()
        figures = summary.figures(options, self._target, stats) if is_good else None
        code = options.exit_code_on_error if self._book.exceptions else 0
        if figures is None:
            code = options.exit_code_on_error or 1
        self._log("vllmperf", f"Shutting down (exit code {code})")
        self._log_tables()
        if figures is not None:
            self._publish(figures)
        return code

    def _publish(self, figures: summary.Figures) -> None:
        """The file first; the block even when that cannot be written."""
        try:
            if self._options.summary_file:
                append(Path(self._options.summary_file), figures)
        finally:
            print(summary.block(figures), flush=True)

    def _is_good(self) -> bool:
        """Nothing failed, something came. An exception of 2024-10 is no failure, but an exit code."""
        stats = self._book.stats
        failed, all_samples = stats.total.failures, stats.total.count
        if not failed and stats.entry("METRIC", "total_latency").count:
            return True
        share = 100 * failed / all_samples if all_samples else 0.0
        if self._options.is_old:
            print("Test failed due to failed requests", flush=True)
        else:
            text = f"Test failed: {failed}/{all_samples} requests failed ({share:.2f}%)"
            self._log("load_test", text, "ERROR")
        return False

    def _log_tables(self) -> None:
        stats, width, rounded = self._book.stats, tables.name_width(), self._options.locust_rounding
        self._log.plain(tables.requests_table(stats, width, rounded))
        self._log.plain(tables.percentiles_table(stats, width, rounded))
        if stats.errors:
            self._log.plain(tables.errors_table(stats, width))
        if not rounded:
            self._log.plain([NOT_ROUNDED])
