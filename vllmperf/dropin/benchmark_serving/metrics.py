"""The figures of a run by the version's own formulas, its defects included (docs/profiles.md lists them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vllmperf.dropin.benchmark_serving.answers import NO_GAPS, Answer
from vllmperf.tokenizer.tokens import Tokens

AT_ONCE = 1000
"""Texts that are tokenized together."""
GOODPUT = ("ttft", "tpot", "e2el")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one metric, in ms; all 0 when there is no value. percentiles: (q, value), in the order asked for."""

    mean: float
    median: float
    std: float
    percentiles: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the table and the file say. statistics: by metric name."""

    duration_s: float
    completed: int
    failed: int
    total_input: int
    total_output: int
    sequences: int
    good: int
    output_lens: list[int]
    peak_tokens_per_s: float
    peak_concurrent: int
    statistics: Mapping[str, Statistics] = field(default_factory=dict)

    def per_s(self, amount: float) -> float:
        return amount / self.duration_s if self.duration_s > 0 else 0.0


def calculate(
    found: Sequence[Answer],
    duration_s: float,
    tokens: Tokens | None,
    percentiles: Sequence[float],
    goodput_ms: Mapping[str, float],
    texts: Sequence[str] = (),
) -> Metrics:
    """All figures of the answers to one run. texts: for the tokenizer, by number of the answer."""
    lens = output_lens(found, tokens, texts)
    good = [(answer, length) for answer, length in zip(found, lens, strict=True) if answer.success]
    tpots = [
        (answer.latency_s - answer.ttft_s) / (length - 1) if length > 1 else 0.0 for answer, length in good
    ]
    values: dict[str, Sequence[float] | NDArray[np.float64]] = {
        "ttft": [answer.ttft_s for answer, _ in good],
        "tpot": [tpot for tpot, (_, length) in zip(tpots, good, strict=True) if length > 1],
        "itl": np.concatenate([NO_GAPS, *(answer.itl_s for answer, _ in good)]),
        "e2el": [answer.latency_s for answer, _ in good],
        "client_queue_time": [answer.queue_s for answer, _ in good],
        "e2el_including_client_queue": [answer.latency_s + answer.queue_s for answer, _ in good],
    }
    completed = [answer for answer, _ in good]
    return Metrics(
        duration_s=duration_s,
        completed=len(good),
        failed=len(found) - len(good),
        total_input=sum(answer.prompt_len for answer in completed),
        total_output=sum(lens),
        sequences=sum(answer.sequences for answer in completed),
        good=_good(completed, tpots, goodput_ms),
        output_lens=lens,
        peak_tokens_per_s=_peak_tokens(completed),
        peak_concurrent=_peak_concurrent(completed),
        statistics={name: statistics(seconds, percentiles) for name, seconds in values.items()},
    )


def output_lens(found: Sequence[Answer], tokens: Tokens | None, texts: Sequence[str] = ()) -> list[int]:
    """Output tokens of each: the server's count, else the tokenizer's, 1 without one, 0 for failures."""
    unknown = [i for i, answer in enumerate(found) if answer.success and not answer.output_tokens]
    lens = [answer.output_tokens if answer.success else 0 for answer in found]
    for first in range(0, len(unknown), AT_ONCE):
        some = unknown[first : first + AT_ONCE]
        counts = [1] * len(some)
        if tokens is not None:
            counts = tokens.counts([texts[i] for i in some], special=False)
        for i, count in zip(some, counts, strict=True):
            lens[i] = count
    return lens


def statistics(seconds: Sequence[float] | NDArray[np.float64], percentiles: Sequence[float]) -> Statistics:
    """Population deviation, linear percentiles, in ms."""
    values = np.asarray(seconds if len(seconds) else [0.0])
    found = np.percentile(values, list(percentiles)) if percentiles else []
    return Statistics(
        mean=float(np.mean(values) * 1000),
        median=float(np.median(values) * 1000),
        std=float(np.std(values) * 1000),
        percentiles=[(q, float(value * 1000)) for q, value in zip(percentiles, found, strict=True)],
    )


def _good(completed: Sequence[Answer], tpots: Sequence[float], goodput_ms: Mapping[str, float]) -> int:
    """Requests that keep all objectives; the limit itself is kept."""
    if not goodput_ms:
        return 0
    values = {
        "ttft": [answer.ttft_s for answer in completed],
        "tpot": list(tpots),
        "e2el": [answer.latency_s for answer in completed],
    }
    asked = [(limit / 1000, values[name]) for name, limit in goodput_ms.items()]
    return sum(all(column[i] <= limit for limit, column in asked) for i in range(len(completed)))


# ---- peaks, by seconds of the clock ----


def _peak_tokens(completed: Sequence[Answer]) -> float:
    """Most token events in one second after the first send: an event is one, whatever it carries."""
    if not completed:
        return 0.0
    start_s = min(answer.start_s for answer in completed)
    times = [
        answer.start_s - start_s + answer.ttft_s + np.concatenate([[0.0], np.cumsum(answer.itl_s)])
        for answer in completed
    ]
    seconds = np.concatenate(times).astype(np.int64)
    return float(np.bincount(np.maximum(seconds, 0)).max())


def _peak_concurrent(completed: Sequence[Answer]) -> int:
    """Most requests that touch the same second: those one after the other in it are all counted."""
    if not completed:
        return 0
    start_s = min(answer.start_s for answer in completed)
    firsts = [int(answer.start_s - start_s) for answer in completed]
    lasts = [int(answer.start_s + answer.latency_s - start_s) for answer in completed]
    changes = np.zeros(max(lasts) + 2, dtype=np.int64)
    np.add.at(changes, firsts, 1)
    np.add.at(changes, [last + 1 for last in lasts], -1)
    return int(np.cumsum(changes).max())
