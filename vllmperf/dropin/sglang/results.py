"""The figures of a run by SGLang's formulas: its table and its line of JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vllmperf.dropin.benchmark_serving.answers import NO_GAPS, Answer
from vllmperf.dropin.benchmark_serving.metrics import AT_ONCE, Statistics, statistics
from vllmperf.errors import UsageError
from vllmperf.formats import vllm_table
from vllmperf.formats.vllm_table import Row, Section
from vllmperf.tokenizer.tokens import Tokens

METRICS = {
    "e2e_latency": ("E2E Latency", "End-to-End Latency"),
    "ttft": ("TTFT", "Time to First Token"),
    "tpot": ("TPOT", "Time per Output Token"),
    "itl": ("ITL", "Inter-Token Latency"),
}
"""In the file's order: name in the table, title there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run gave. retokenized: tokens of each answer's text. accept_length: what the server says of its
    speculative decoding."""

    duration_s: float
    answers: Sequence[Answer]
    output_lens: Sequence[int]
    retokenized: Sequence[int]
    values_s: dict[str, Sequence[float]]
    request_rate: float
    accept_length: float | None = None

    @property
    def completed(self) -> int:
        return sum(answer.success for answer in self.answers)

    @property
    def total_input(self) -> int:
        return sum(answer.prompt_len for answer in self.answers if answer.success)

    @property
    def concurrency(self) -> float:
        return self.per_s(float(np.sum(self.values_s["e2e_latency"])))

    def per_s(self, amount: float) -> float:
        return amount / self.duration_s if self.duration_s > 0 else 0.0

    def statistics(self, metric: str) -> Statistics:
        """NaN for latencies of which there is none; other metrics are 0 then, as there."""
        values = self.values_s[metric]
        if metric == "e2e_latency" and not len(values):
            values = [math.nan]
        return statistics(values, [95.0, 99.0] if metric == "itl" else [99.0])


def calculate(
    answers: Sequence[Answer],
    duration_s: float,
    tokens: Tokens,
    texts: Sequence[str],
    request_rate: float,
    accept_length: float | None,
) -> Outcome:
    """All figures of the answers to one run. texts: what was answered, by number."""
    good = [answer for answer in answers if answer.success]
    values_s: dict[str, Any] = {
        "ttft": [answer.ttft_s for answer in good],
        "tpot": [
            (answer.latency_s - answer.ttft_s) / (answer.output_tokens - 1)
            for answer in good
            if answer.output_tokens > 1
        ],
        "itl": np.concatenate([NO_GAPS, *(answer.itl_s for answer in good)]),
        "e2e_latency": [answer.latency_s for answer in good],
    }
    lens = [answer.output_tokens if answer.success else 0 for answer in answers]
    counted = _retokenized(answers, tokens, texts)
    return Outcome(duration_s, answers, lens, counted, values_s, request_rate, accept_length)


def _retokenized(answers: Sequence[Answer], tokens: Tokens, texts: Sequence[str]) -> list[int]:
    found: list[int] = []
    for first in range(0, len(answers), AT_ONCE):
        found += tokens.counts(texts[first : first + AT_ONCE], special=False)
    return [count if answer.success else 0 for count, answer in zip(found, answers, strict=True)]


# ---- the line of JSON ----


def result(args: argparse.Namespace, outcome: Outcome) -> dict[str, Any]:
    """Keys, order and units of the original; null for a latency that nothing was measured of."""
    output = sum(outcome.output_lens)
    found: dict[str, Any] = {
        "backend": args.backend,
        "dataset_name": args.dataset_name,
        "request_rate": outcome.request_rate,
        "max_concurrency": args.max_concurrency,
        "sharegpt_output_len": args.sharegpt_output_len,
        "random_input_len": args.random_input_len,
        "random_output_len": args.random_output_len,
        "random_range_ratio": args.random_range_ratio,
        "duration": outcome.duration_s,
        "completed": outcome.completed,
        "total_input_tokens": outcome.total_input,
        "total_output_tokens": output,
        "total_output_tokens_retokenized": sum(outcome.retokenized),
        "request_throughput": outcome.per_s(outcome.completed),
        "input_throughput": outcome.per_s(outcome.total_input),
        "output_throughput": outcome.per_s(output),
    }
    for metric in METRICS:
        row = outcome.statistics(metric)
        found |= {
            f"mean_{metric}_ms": row.mean,
            f"median_{metric}_ms": row.median,
            f"std_{metric}_ms": row.std,
            **{f"p{q:.0f}_{metric}_ms": value for q, value in row.percentiles},
        }
    found |= {"concurrency": outcome.concurrency, "accept_length": outcome.accept_length}
    return {name: None if _is_missing(value) else value for name, value in found.items()}


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def append(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Add the line to --output-file, else to a file named after the run. UsageError when it cannot be written."""
    path = Path(args.output_file or _usual_name(args))
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    except OSError as error:
        raise UsageError(f"--output-file {path}: {error.strerror or error}") from None


def _usual_name(args: argparse.Namespace) -> str:
    lengths = f"{args.random_input_len}_{args.random_output_len}"
    what = lengths if args.dataset_name == "random" else "sharegpt"
    return f"{args.backend}_{datetime.now():%m%d}_{args.num_prompts}_{what}.jsonl"


# ---- the table ----


def table(args: argparse.Namespace, outcome: Outcome) -> Iterator[str]:
    """The table's lines; a blank one before them."""
    yield ""
    yield from vllm_table.lines(list(_rows(args, outcome)), list(_sections(outcome)))


def _rows(args: argparse.Namespace, outcome: Outcome) -> Iterator[Row]:
    output = sum(outcome.output_lens)
    yield "Backend:", args.backend
    yield "Traffic request rate:", str(outcome.request_rate)
    yield "Max reqeuest concurrency:", args.max_concurrency or "not set"  # the original's word
    yield "Successful requests:", outcome.completed
    yield "Benchmark duration (s):", outcome.duration_s
    yield "Total input tokens:", outcome.total_input
    yield "Total generated tokens:", output
    yield "Total generated tokens (retokenized):", sum(outcome.retokenized)
    yield "Request throughput (req/s):", outcome.per_s(outcome.completed)
    yield "Input token throughput (tok/s):", outcome.per_s(outcome.total_input)
    yield "Output token throughput (tok/s):", outcome.per_s(output)
    yield "Total token throughput (tok/s):", outcome.per_s(outcome.total_input + output)
    yield "Concurrency:", outcome.concurrency
    if outcome.accept_length:
        yield "Accept length:", outcome.accept_length


def _sections(outcome: Outcome) -> Iterator[Section]:
    gaps_s = outcome.values_s["itl"]
    most_ms = float(np.max(gaps_s)) * 1000 if len(gaps_s) else 0.0
    for metric, (name, title) in METRICS.items():
        row = outcome.statistics(metric)
        rows: list[Row] = [(f"Mean {name} (ms):", row.mean), (f"Median {name} (ms):", row.median)]
        if metric in ("ttft", "itl"):
            rows += [(f"P{q:.0f} {name} (ms):", value) for q, value in row.percentiles]
        if metric == "itl":
            rows.append((f"Max {name} (ms):", most_ms))
        if metric != "tpot":  # in the file alone
            yield Section(title, rows)
