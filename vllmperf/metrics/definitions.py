"""Every metric once: its name, label, unit, formula, source and the requests it needs.

All of them are taken over completed requests, from the moments at which the kernel received a chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.metrics.view import Completed, Floats, known

Samples = NDArray[np.floating[Any]]
"""float32 or float64, ns."""

TOKENS_KNOWN_FROM = 0.9
"""itl_token is given when the tokens of at least this share of the chunks are known."""

REPEAT_AT_MOST = 64_000_000
"""itl_token is given up to this many tokens (256 MB of samples)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity with many samples in a run. `samples` gives them in ns, empty when there are none."""

    key: str
    """Its key in summary["metrics"]."""
    name: str
    """Its name for --percentile-metrics and --goodput."""
    short: str
    """Its name in a table."""
    label: str
    formula: str
    source: str
    needs: str
    samples: Callable[[Completed], Samples]
    unit: str = "ms"


def per_request(done: Completed, name: str) -> Floats:
    """A metric's value for each completed request, NaN where it has none.

    For the metrics with one value a request.
    """
    return _PER_REQUEST[name](done)


def _tpot(done: Completed) -> Floats:
    time = done.between("first_token_ns", "last_token_ns")
    tokens = done.tokens_per_choice
    # One read may have brought everything: then the time between the tokens is unknown, not zero.
    time[~(tokens > 1) | (time <= 0)] = np.nan
    return time / np.maximum(tokens - 1, 1e-9)


def _slot_wait(done: Completed) -> Floats:
    waits = done.field("slot_wait_ns")
    waits[done.requests["scheduled_ns"] == _engine.NONE] = np.nan
    return waits


_PER_REQUEST: dict[str, Callable[[Completed], Floats]] = {
    "ttft": lambda done: done.between("sent_ns", "first_token_ns"),
    "ttft_scheduled": lambda done: done.between("scheduled_ns", "first_token_ns"),
    "ttft_text": lambda done: done.between("sent_ns", "first_text_ns"),
    "tpot": _tpot,
    "e2el": lambda done: done.between("sent_ns", "last_token_ns"),
    "e2el_scheduled": lambda done: done.between("scheduled_ns", "last_token_ns"),
    "connect": lambda done: done.between("sent_ns", "connected_ns"),
    "slot_wait": _slot_wait,
}


def _of_requests(name: str) -> Callable[[Completed], Samples]:
    return lambda done: known(per_request(done, name))


def _itl(done: Completed) -> Samples:
    return done.gaps_ns


def _itl_token(done: Completed) -> Samples:
    tokens = done.gap_tokens
    is_known = tokens > 0
    if len(tokens) == 0 or is_known.mean() < TOKENS_KNOWN_FROM or tokens.sum(dtype=np.int64) > REPEAT_AT_MOST:
        return np.zeros(0, dtype=np.float32)
    counts = tokens[is_known]
    if (counts == 1).all():  # the usual stream: spare the copies
        return done.gaps_ns if is_known.all() else done.gaps_ns[is_known]
    per_token = np.divide(done.gaps_ns[is_known], counts, dtype=np.float32)
    return np.repeat(per_token, counts)


METRICS = (
    Metric(
        key="ttft_ms",
        name="ttft",
        short="TTFT",
        label="Time to first token",
        formula="first token chunk − sent",
        source="kernel stamp of the first token chunk; clock at the hand-over to the transport",
        needs="a streamed answer",
        samples=_of_requests("ttft"),
    ),
    Metric(
        key="ttft_scheduled_ms",
        name="ttft_scheduled",
        short="TTFT from schedule",
        label="Time to first token, from when it was due",
        formula="first token chunk − scheduled",
        source="kernel stamp of the first token chunk; the plan's schedule",
        needs="a streamed answer and a schedule (open loop)",
        samples=_of_requests("ttft_scheduled"),
    ),
    Metric(
        key="ttft_text_ms",
        name="ttft_text",
        short="TTFT of text",
        label="Time to first token of the answer, reasoning left aside",
        formula="first token chunk with text or a tool call − sent",
        source="kernel stamp of that chunk; clock at the hand-over to the transport",
        needs="a streamed answer with text",
        samples=_of_requests("ttft_text"),
    ),
    Metric(
        key="tpot_ms",
        name="tpot",
        short="TPOT",
        label="Time per output token after the first",
        formula="(last token chunk − first token chunk) / (output tokens of a choice − 1)",
        source="kernel stamps; token count by usage",
        needs="a streamed answer of two or more tokens that did not all come in one read",
        samples=_of_requests("tpot"),
    ),
    Metric(
        key="itl_ms",
        name="itl",
        short="ITL",
        label="Inter-token latency: gap between token chunks",
        formula="token chunk − the one before it of the same choice; an even share of several in one read",
        source="kernel stamps",
        needs="a streamed answer of two or more token chunks",
        samples=_itl,
    ),
    Metric(
        key="itl_token_ms",
        name="itl_token",
        short="ITL per token",
        label="Inter-token latency, each chunk's gap spread over its tokens",
        formula="gap / tokens of the later chunk, counted once for each of them",
        source="kernel stamps; token ids or usage of each chunk",
        needs="known token counts for at least 90 % of the chunks",
        samples=_itl_token,
    ),
    Metric(
        key="e2el_ms",
        name="e2el",
        short="E2EL",
        label="End-to-end latency",
        formula="last token chunk (or end of the JSON body) − sent",
        source="kernel stamps; clock at the hand-over to the transport",
        needs="any completed request",
        samples=_of_requests("e2el"),
    ),
    Metric(
        key="e2el_scheduled_ms",
        name="e2el_scheduled",
        short="E2EL from schedule",
        label="End-to-end latency, from when it was due",
        formula="last token chunk (or end of the JSON body) − scheduled",
        source="kernel stamps; the plan's schedule",
        needs="a schedule (open loop)",
        samples=_of_requests("e2el_scheduled"),
    ),
    Metric(
        key="connect_ms",
        name="connect",
        short="Connect",
        label="Time to open a connection (a part of TTFT)",
        formula="connection ready − sent",
        source="the transport's socket events",
        needs="a request that opened its connection",
        samples=_of_requests("connect"),
    ),
    Metric(
        key="slot_wait_ms",
        name="slot_wait",
        short="Slot wait",
        label="Time that a due request waited for a concurrency slot",
        formula="slot free − scheduled",
        source="clock of the engine",
        needs="a schedule (open loop)",
        samples=_of_requests("slot_wait"),
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
