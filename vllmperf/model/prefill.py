"""gamma and delta: what a prompt costs, alone in the engine and inside a step that others decode in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.arrivals import NONE, Arrivals
from vllmperf.model.regression import Fit, fit
from vllmperf.model.steps import Steps

NS_PER_MS = 1e6
LEAST_LENGTHS = 2
LEAST_SPREAD = 1.2
"""Without prompts that differ by this factor, gamma and delta cannot be told apart."""


def alone(runs: Sequence[Arrivals]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(prompt tokens, TTFT in ms, block) of all requests that were sent when no other one was in flight: nothing
    queued, so that TTFT is the cost of the prompt alone."""
    tokens, ttft, block = [], [], []
    for number, run in enumerate(runs):
        rows = _sent_alone(run)
        tokens.append(run.prompt_tokens[rows].astype(np.float64))
        ttft.append((run.first_ns[rows] - run.sent_ns[rows]) / NS_PER_MS)
        block.append(number * 20 + np.arange(len(rows)) * 20 // max(len(rows), 1))
    if not tokens:
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    return np.concatenate(tokens), np.concatenate(ttft), np.concatenate(block).astype(np.int64)


def _sent_alone(run: Arrivals) -> NDArray[np.int64]:
    """Rows of requests with a first token and nothing else in flight from their sending to it."""
    known = np.flatnonzero((run.first_ns != NONE) & (run.sent_ns != NONE) & (run.prompt_tokens > 0))
    if len(known) == 0:
        return known
    last = np.zeros(len(run.sent_ns))
    np.maximum.at(last, run.stream, run.at_ns)
    order = known[np.argsort(run.sent_ns[known], kind="stable")]
    before = np.maximum.accumulate(np.append(-np.inf, last[order][:-1]))
    after = np.append(run.sent_ns[order][1:], np.iinfo(np.int64).max)
    clear = (run.sent_ns[order] > before) & (after > run.first_ns[order])
    return np.asarray(order[clear])


def prompt_law(tokens: NDArray[np.float64], ttft_ms: NDArray[np.float64], block: NDArray[np.int64]) -> Fit:
    """TTFT = gamma + delta*tokens. ValueError when the prompts are too much alike."""
    if len(tokens) < 3 or tokens.max() < LEAST_SPREAD * tokens.min():
        raise ValueError("prompts of one length cannot tell gamma from delta")
    x = np.stack([np.ones(len(tokens)), tokens], axis=1)
    return fit(x, ttft_ms, np.ones(len(tokens)), block)


def step_law(runs: Sequence[Steps], alpha: float, beta: float) -> Fit:
    """What admissions add to a step: step_gamma + step_delta*tokens. ValueError when that cannot be told."""
    tokens, excess, block = [], [], []
    for number, run in enumerate(runs):
        rows = np.flatnonzero((run.admitted > 0) & (run.decodes > 0) & np.isfinite(run.duration_ns))
        tokens.append(run.prefill_tokens[rows].astype(np.float64))
        excess.append(run.duration_ns[rows] / NS_PER_MS - alpha - beta * run.decodes[rows])
        block.append(number * 20 + np.arange(len(rows)) * 20 // max(len(rows), 1))
    joined = np.concatenate(tokens) if tokens else np.zeros(0)
    return prompt_law(
        joined,
        np.concatenate(excess) if excess else joined,
        np.concatenate(block).astype(np.int64) if block else np.zeros(0, dtype=np.int64),
    )
