"""The tables Benchmarks Info and Benchmarks Stats: columns, widths, and their lines as styled pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vllmperf.formats.guidellm_file import strategy_name

Piece = tuple[str, str]
"""A text and the name of its style: label, value, rule or none."""
LABEL, VALUE, RULE, PLAIN = "label", "value", "rule", ""
BAR = "|"
COUNTED = ("Comp", "Inc", "Err")
COUNTED_STATUSES = ("successful", "incomplete", "errored")
LATENCIES = ("mean", "median", "p99")
UNMEASURED = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Sections are (title, number of its columns), in order, and cover all columns."""

    title: str
    sections: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    rows: list[list[str]]

    def widths(self) -> list[int]:
        """Wide enough for head, cells and section titles."""
        columns = zip(self.heads, *self.rows, strict=True)
        widths = [max(map(len, column)) for column in columns]
        first = 0
        for title, n in self.sections:
            room = sum(widths[first : first + n]) + 2 * (n - 1)
            missing = len(title) + n - 1 - room
            if missing > 0:
                widths[first : first + n] = [
                    width + math.ceil(missing / n) for width in widths[first : first + n]
                ]
            first += n
        return widths

    def lines(self) -> list[list[Piece]]:
        """From the upper rule to the lower one."""
        widths = self.widths()
        rule: list[Piece] = [("=" * (sum(widths) + 2 * (len(widths) - 1)), RULE)]
        middle: list[Piece] = [("|-".join("-" * width for width in widths), RULE)]
        rows = [_cells(row, widths, VALUE) for row in self.rows]
        return [rule, self._titles(widths), _cells(self.heads, widths, LABEL), middle, *rows, rule]

    def _titles(self, widths: Sequence[int]) -> list[Piece]:
        """A section ends in as many bars as it has columns, one of them before the next."""
        line: list[Piece] = []
        first = 0
        for title, n in self.sections:
            room = sum(widths[first : first + n]) + 2 * n - len(title) - (n - 1) - 2
            line += [(title, LABEL), (" " * room, PLAIN), (BAR * (n - 1), PLAIN), (BAR + " ", RULE)]
            first += n
        return line[:-1]


def _cells(texts: Sequence[str], widths: Sequence[int], style: str) -> list[Piece]:
    line: list[Piece] = []
    for text, width in zip(texts, widths, strict=True):
        line += [(text.rjust(width), style), (BAR, RULE), (" ", PLAIN)]
    return line[:-2]


def plain(line: Sequence[Piece]) -> str:
    return "".join(text for text, _ in line)


# ---- the two tables ----


def info(benchmarks: Sequence[Mapping[str, Any]]) -> Table:
    """When each benchmark ran, requests and tokens by how they ended."""
    counted = ("Requests Made", "Prompt Tok/Req", "Output Tok/Req", "Prompt Tok Total", "Output Tok Total")
    return Table(
        "Benchmarks Info",
        (("Metadata", 4), *[(title, len(COUNTED)) for title in counted]),
        ("Benchmark", "Start Time", "End Time", "Duration (s)", *COUNTED * len(counted)),
        [_info_row(found) for found in benchmarks],
    )


def _info_row(found: Mapping[str, Any]) -> list[str]:
    clock = [datetime.fromtimestamp(found[name]).strftime("%H:%M:%S") for name in ("start_time", "end_time")]
    metrics = found["metrics"]
    tokens = [metrics["prompt_token_count"], metrics["output_token_count"]]
    return [
        strategy_name(found["args"]["strategy"]),
        *clock,
        f"{found['end_time'] - found['start_time']:.1f}",
        *[f"{found['request_totals'][status]:.0f}" for status in COUNTED_STATUSES],
        *[figure(block[status]["mean"], 1) for block in tokens for status in COUNTED_STATUSES],
        *[f"{block[status]['total_sum']:.0f}" for block in tokens for status in COUNTED_STATUSES],
    ]


def stats(benchmarks: Sequence[Mapping[str, Any]]) -> Table:
    """Rates and latencies of the successful requests."""
    latencies = ("Req Latency (sec)", "TTFT (ms)", "ITL (ms)", "TPOT (ms)")
    single = (("Metadata", 1), ("Request Stats", 2), ("Out Tok/sec", 1), ("Tot Tok/sec", 1))
    return Table(
        "Benchmarks Stats",
        (*single, *[(title, len(LATENCIES)) for title in latencies]),
        ("Benchmark", "Per Second", "Concurrency", "mean", "mean", *LATENCIES * len(latencies)),
        [_stats_row(found) for found in benchmarks],
    )


MEANS = (
    ("requests_per_second", 2),
    ("request_concurrency", 2),
    ("output_tokens_per_second", 1),
    ("tokens_per_second", 1),
)
SPREAD = (
    ("request_latency", 2),
    ("time_to_first_token_ms", 1),
    ("inter_token_latency_ms", 1),
    ("time_per_output_token_ms", 1),
)
"""Metrics of the columns, with their decimals."""


def _stats_row(found: Mapping[str, Any]) -> list[str]:
    row = [strategy_name(found["args"]["strategy"])]
    for name, places in MEANS:
        row.append(figure(found["metrics"][name]["successful"]["mean"], places))
    for name, places in SPREAD:
        block = found["metrics"][name]["successful"]
        values = (block["mean"], block["median"], block["percentiles"]["p99"])
        row += [figure(value, places) for value in values]
    return row


def figure(value: float | None, places: int) -> str:
    """The figure as guidellm prints it; a dash for what was not measured."""
    return UNMEASURED if value is None else f"{value:.{places}f}"
