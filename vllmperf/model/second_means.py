"""Where single steps cannot be told apart: means over windows of time, one measurement a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.arrivals import Arrivals
from vllmperf.model.stretches import even_blocks

WINDOW_NS = 1e9
LEAST_TOKENS = 20


def second_means(
    arrivals: Arrivals, number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(batch, ITL in ms a token, block) of each second: the mean gap that ended in it, and the number of streams that were
    between their first and last token in it. Prefill is inside these means: alpha and beta hold a part of it."""
    if len(arrivals.at_ns) < 2:
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    begin, end = float(arrivals.at_ns[0]), float(arrivals.at_ns[-1])
    count = int((end - begin) // WINDOW_NS)
    edges: NDArray[np.float64] = np.asarray(begin + WINDOW_NS * np.arange(count + 1), dtype=np.float64)
    decoded = arrivals.place > 0
    tokens = np.histogram(arrivals.at_ns[decoded], edges)[0].astype(np.float64)
    batch = _decoding(arrivals, edges)
    usable = (tokens >= LEAST_TOKENS) & (batch > 0)
    itl_ms = batch[usable] * WINDOW_NS / tokens[usable] / arrivals.tokens_per_chunk / 1e6
    block = even_blocks(number, count)[usable]
    return batch[usable], itl_ms, block.astype(np.int64)


def _decoding(arrivals: Arrivals, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean number of streams between their first and last token in each window."""
    total = len(arrivals.sent_ns)
    opens, closes = np.full(total, np.inf), np.full(total, -np.inf)
    np.minimum.at(opens, arrivals.stream, arrivals.at_ns)
    np.maximum.at(closes, arrivals.stream, arrivals.at_ns)
    seen = closes > opens
    at = np.concatenate([opens[seen], closes[seen]])
    change = np.repeat([1.0, -1.0], int(seen.sum()))
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.cumsum(change[order])
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at))]) if len(at) else np.zeros(0)
    until = np.interp(edges, at, area) if len(at) else np.zeros(len(edges))
    return np.asarray(np.diff(until) / WINDOW_NS)
