"""The CSV files of sweep_strategies.py, ours and the prefix-aware guide's: serve_… holds what the client measured, vllm_… what
the replicas counted. One line for each run of a strategy; settings, then figures. docs/sweep_strategies.md has the columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf import text_file
from vllmperf.errors import UsageError
from vllmperf.numbers import clean

if TYPE_CHECKING:
    from vllmperf.report.plots.overhead import FirstToken

STRATEGY, LABEL = "scheduler_strategy", "benchmark_label"
SHARED = (
    "gpu_type",
    "model_name",
    "num_servers",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    LABEL,
    STRATEGY,
    "min_output_len",
    "max_output_len",
    "max_concurrency",
    "request_rate",
    "with_warmup",
    "disable_ignore_eos",
    "disable_stream",
)
CLIENT = (
    "duration",
    "completed",
    "request_throughput",
    "input_throughput",
    "output_throughput",
    *(
        f"{what}_{metric}_ms"
        for metric in ("ttft", "tpot", "itl")
        for what in ("mean", "median", "std", "p99")
    ),
    "mean_e2e_latency_ms",
    "median_e2e_latency_ms",
)
COUNTERS = ("prompt_tokens_total", "generation_tokens_total", "request_success_total")
TTFT = "time_to_first_token_seconds"
TIMES = (
    TTFT,
    "time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_inference_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
)
LABELS = {
    "duration": "duration, s",
    "completed": "requests completed",
    "request_throughput": "requests/s",
    "input_throughput": "input tokens/s",
    "output_throughput": "output tokens/s",
    "prompt_tokens_total": "prompt tokens",
    "generation_tokens_total": "output tokens",
    "request_success_total": "requests",
    TTFT: "server's TTFT, ms",
    "time_per_output_token_seconds": "server's ITL, ms",
    "e2e_request_latency_seconds": "server's E2EL, ms",
    "request_queue_time_seconds": "in the queue, ms",
    "request_inference_time_seconds": "in the engine, ms",
    "request_prefill_time_seconds": "prefill, ms",
    "request_decode_time_seconds": "decode, ms",
}
"""What a column is, with its unit in a picture; words for latencies of the client are made of their names."""
METRICS = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e_latency": "E2EL"}
STATISTICS = {"mean": "mean", "median": "p50", "std": "std", "p99": "p99"}

Groups = dict[str, dict[str, list[float]]]
"""By benchmark label and strategy: the value of each run."""


@dataclass(frozen=True)
class Strategies:
    """A file, read. rows: by column, as they stand there."""

    path: Path
    rows: Sequence[Mapping[str, str]]

    def groups(self, column: str) -> Groups:
        """The column's numbers. Runs without one (an empty cell) are left out. Raises UsageError when the file does not have the
        column, or nothing in it."""
        found: Groups = {}
        for label, strategy, value in self._cells(column):
            runs = found.setdefault(label, {}).setdefault(strategy, [])
            runs += [] if value is None else [value]
        if not any(runs for group in found.values() for runs in group.values()):
            why = " (Ray since 2.51 tells no means: docs/sweep_strategies.md)" if column in TIMES else ""
            raise UsageError(f"{self.path}: {column} is empty in every row{why}")
        return found

    def numbers(self, *columns: str) -> dict[str, Groups]:
        """Several of them, by what they are: {"TTFT p50, ms": …}. Times of the server are in ms here, too."""
        return {words(column): _in_ms(column, self.groups(column)) for column in columns}

    def number(self, row: Mapping[str, str], column: str) -> float | None:
        """A cell; None where it is empty or nan. Raises UsageError for what is no number."""
        text = row[column]
        if not text or text.lower() == "nan":
            return None
        try:
            return float(text)
        except ValueError:
            raise UsageError(
                f"{self.path}: {column} of {clean(row[STRATEGY])} is {clean(text)!r}, no number"
            ) from None

    def check(self, column: str) -> None:
        """Raise UsageError when it has no such column."""
        if column not in self.rows[0]:
            raise UsageError(
                f"{self.path} has no column {column}: copy the header and whole rows of sweep_strategies.py"
            )

    def _cells(self, column: str) -> Iterator[tuple[str, str, float | None]]:
        self.check(column)
        for row in self.rows:
            yield row.get(LABEL, ""), row[STRATEGY], self.number(row, column)


def read(path: str | Path) -> Strategies:
    """A file with a header and at least one row; headers that were copied along between rows are skipped. Raises UsageError."""
    try:
        lines = list(csv.reader(io.StringIO(text_file.read(path, newline=""))))
    except (OSError, text_file.NoTextError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    lines = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    header, rows = lines[:1], [line for line in lines[1:] if line != lines[0]]
    if not rows:
        raise UsageError(f"{path} has no rows: copy those that you want to see, with their header")
    if bad := next((line for line in rows if len(line) != len(header[0])), None):
        raise UsageError(f"{path}: a row has {len(bad)} cells and the header {len(header[0])}")
    found = Strategies(Path(path), [dict(zip(header[0], line, strict=True)) for line in rows])
    found.check(STRATEGY)
    return found


def _in_ms(column: str, groups: Groups) -> Groups:
    factor = 1e3 if column in TIMES else 1.0
    return {
        label: {name: [factor * value for value in runs] for name, runs in group.items()}
        for label, group in groups.items()
    }


def words(column: str) -> str:
    """median_ttft_ms → TTFT p50, ms"""
    statistic, _, rest = column.partition("_")
    metric = METRICS.get(rest.removesuffix("_ms"))
    if metric and statistic in STATISTICS:
        return f"{metric} {STATISTICS[statistic]}, ms"
    return LABELS.get(column, column)


def first_tokens(client: Strategies, server: Strategies) -> dict[str, list[FirstToken]]:
    """By strategy, for each run that is in both files: mean TTFT in ms as the client saw it, and as the server counted it,
    as the least and the most. With several benchmark labels, these stand before the strategies. Raises UsageError.

    Runs belong together when their settings are the same; of several such, the first to the first.
    """
    client.check("mean_ttft_ms")
    server.groups(TTFT)
    own = {key: (client.number(row, "mean_ttft_ms"), row) for key, row in _numbered(client)}
    theirs = {key: server.number(row, TTFT) for key, row in _numbered(server)}
    found: dict[str, list[FirstToken]] = {}
    labels = {row.get(LABEL, "") for row in client.rows}
    for key, (seen_ms, row) in own.items():
        counted_s = theirs.get(key)
        if seen_ms is not None and counted_s is not None:
            name = f"{row[LABEL]}\n{row[STRATEGY]}" if len(labels) > 1 else row[STRATEGY]
            found.setdefault(name, []).append((seen_ms, 1e3 * counted_s, 1e3 * counted_s))
    if not found:
        raise UsageError(
            f"no row of {client.path} has the settings of one in {server.path}: copy both rows of a run"
        )
    return found


def _numbered(table: Strategies) -> Iterator[tuple[tuple[object, ...], Mapping[str, str]]]:
    """Each row under its settings and its place among the rows with these."""
    figures = {*CLIENT, *COUNTERS, *TIMES}
    seen: dict[tuple[object, ...], int] = {}
    for row in table.rows:
        key = tuple((name, value) for name, value in row.items() if name not in figures)
        seen[key] = seen.get(key, 0) + 1
        yield (*key, seen[key]), row
