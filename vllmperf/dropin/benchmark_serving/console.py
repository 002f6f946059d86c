"""What is printed while a run goes and after it, line by line as the version prints it."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator

from vllmperf.dropin.benchmark_serving.profiles import Profile
from vllmperf.dropin.benchmark_serving.results import Outcome
from vllmperf.formats import vllm_table
from vllmperf.formats.vllm_table import Row, Section

MOST_ERRORS = 10
BAR = " ▏▎▍▌▋▊▉█"


def say(text: str) -> None:
    """A line of the original's output, at once: what goes to stderr must not overtake it."""
    print(text, flush=True)


def traffic(profile: Profile, args: argparse.Namespace) -> Iterator[str]:
    """The lines ahead of the measured run."""
    if getattr(args, "self_timed", False):
        yield "Self timing is set, using the timestamps from the trace file."
        return
    if profile.version == "2026" and args.ramp_up_strategy is not None:
        yield f"Traffic ramp-up strategy: {args.ramp_up_strategy}."
        yield (
            f"Will increase RPS from {args.ramp_up_start_rps} to {args.ramp_up_end_rps} RPS "
            "over the duration of the benchmark."
        )
    else:
        yield f"Traffic request rate: {args.request_rate}"
    kind = "Poisson process" if args.burstiness == 1.0 else "Gamma distribution"
    yield f"Burstiness factor: {args.burstiness} ({kind})"
    yield f"Maximum request concurrency: {args.max_concurrency}"


def report(profile: Profile, args: argparse.Namespace, outcome: Outcome) -> Iterator[str]:
    """Errors, and the table."""
    if profile.knows_failed and not outcome.is_pooling:
        yield from _errors(outcome)
    yield from vllm_table.lines(list(_rows(profile, args, outcome)), list(_sections(outcome)))


def _errors(outcome: Outcome) -> Iterator[str]:
    errors = [answer.error for answer in outcome.answers if not answer.success]
    if errors:
        yield f"Failed requests during benchmark run detected (capping to {MOST_ERRORS}):"
        yield from (f"Error {i}: {error}" for i, error in enumerate(errors[:MOST_ERRORS]))
    if outcome.metrics.completed:
        yield "tip: install termplotlib and gnuplot to plot the metrics"


def _rows(profile: Profile, args: argparse.Namespace, outcome: Outcome) -> Iterator[Row]:
    metrics = outcome.metrics
    is_new = profile.version == "2026"
    yield "Successful requests:", metrics.completed
    if profile.knows_failed:
        yield "Failed requests:", metrics.failed
    if is_new and args.max_concurrency is not None:
        yield "Maximum request concurrency:", args.max_concurrency
    if is_new and not math.isinf(args.request_rate):
        yield "Request rate configured (RPS):", float(args.request_rate)
    yield "Benchmark duration (s):", metrics.duration_s
    yield "Total input tokens:", metrics.total_input
    if not outcome.is_pooling and outcome.has_tokenizer:
        yield "Total generated tokens:", metrics.total_output
    yield "Request throughput (req/s):", metrics.per_s(metrics.completed)
    if outcome.is_pooling:
        yield "Input throughput (inputs/s):", metrics.per_s(metrics.sequences)
    elif outcome.goodput_ms:
        yield "Request goodput (req/s):", metrics.per_s(metrics.good)
    yield from _token_rows(is_new, outcome)


def _token_rows(is_new: bool, outcome: Outcome) -> Iterator[Row]:
    metrics = outcome.metrics
    if not outcome.is_pooling:
        if outcome.has_tokenizer:
            yield "Output token throughput (tok/s):", metrics.per_s(metrics.total_output)
        if is_new and outcome.has_tokenizer:
            yield "Peak output token throughput (tok/s):", metrics.peak_tokens_per_s
        if is_new:
            yield "Peak concurrent requests:", float(metrics.peak_concurrent)
    if outcome.has_tokenizer:
        total = metrics.total_input + (0 if outcome.is_pooling else metrics.total_output)
        yield f"Total {'token' if is_new else 'Token'} throughput (tok/s):", metrics.per_s(total)


def _sections(outcome: Outcome) -> Iterator[Section]:
    if outcome.probes:
        yield vllm_table.probe_section(outcome.probes)
    for name in outcome.sections:
        yield vllm_table.metric_section(name, outcome.metrics.statistics[name])
    if outcome.diffusion:
        yield vllm_table.diffusion_section(outcome.diffusion)
    elif outcome.speculation:
        yield vllm_table.speculation_section(outcome.speculation)


class Bar:
    """A progress bar on stderr as the originals draw one, with the line end that keeps the table apart from it."""

    def __init__(self, total: int, *, is_shown: bool) -> None:
        self._total, self._is_shown = total, is_shown
        self._start_s = time.monotonic()
        self._shown = -1

    def __call__(self, done: int) -> None:
        """Show so many finished requests."""
        if not self._is_shown or done == self._shown:
            return
        self._shown = done
        sys.stderr.write("\r" + bar(done, self._total, time.monotonic() - self._start_s))
        sys.stderr.flush()

    def close(self) -> None:
        if self._is_shown:
            sys.stderr.write("\n")
            sys.stderr.flush()


def bar(done: int, total: int, elapsed_s: float) -> str:
    """tqdm's line: share, ten cells of blocks, counts, times, speed."""
    eighths = round(done / total * 80) if total else 0
    whole, rest = divmod(eighths, 8)
    cells = ("█" * whole + (BAR[rest] if whole < 10 else "")).ljust(10)
    speed = done / elapsed_s if elapsed_s > 0 and done else None
    left = clock((total - done) / speed) if speed else "?"
    per_s = f"{speed:6.2f}it/s" if speed else "?it/s"
    return f"{done / total if total else 0:4.0%}|{cells}| {done}/{total} [{clock(elapsed_s)}<{left}, {per_s}]"


def clock(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:d}:{m:02d}:{s:02d}" if hours else f"{m:02d}:{s:02d}"
