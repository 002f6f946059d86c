"""What became of the sessions of a run with conversations, and TTFT by turn."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.statistics import Row, describe, describe_histogram
from vllmperf.metrics.view import COMPLETED, Completed, Floats

INCOMPLETE = _engine.OUTCOMES.index("incomplete")
TURNAROUND = "turnaround"
"""The histogram of the run file: how much later than it might have a turn behind an answer left."""
PERCENTILES = (50.0, 90.0, 99.0)
MOST_TURNS = 100
"""Rows of by_turn; what comes later stands in `later` alone."""


class OfTurns(TypedDict):
    """turn: its number from 1 on, None for several. requests: completed ones that count; tokens of a prompt: the mean.
    cached_share: of the prompt tokens, those that the server's prefix cache held, by the usage of its answers; None where none
    tells it."""

    turn: int | None
    requests: int
    prompt_tokens: float | None
    cached_share: float | None
    ttft_ms: Row | None
    e2el_ms: Row | None


class Sessions(TypedDict):
    """A session is finished when all its turns completed, failed when an answer failed (it ends there), unfinished when the run
    ended before it. turns: recorded requests. turnaround_ms: from when a turn might have left, an
    answer's end and the wait behind it, to its sending: what the client adds between turns (by a histogram, ±0.049 %)."""

    begun: int
    finished: int
    failed: int
    unfinished: int
    turns: int
    first: OfTurns
    later: OfTurns
    by_turn: list[OfTurns]
    turnaround_ms: Row | None


def sessions(done: Completed) -> Sessions | None:
    """None unless the requests were turns of conversations."""
    recording = done.recording
    if recording.asked is None or not (known := recording.asked["session"] != _engine.NONE).any():
        return None
    asked, requests = recording.asked[known], recording.requests[known]
    turn = done.asked("turn")
    last = int(min(np.nanmax(turn, initial=0), MOST_TURNS - 1))
    begun, finished, failed = _ends(asked, requests["outcome"])
    return {
        "begun": begun,
        "finished": finished,
        "failed": failed,
        "unfinished": begun - finished - failed,
        "turns": len(asked),
        "first": _of(done, turn == 0, 1),
        "later": _of(done, turn > 0, None),
        "by_turn": [_of(done, turn == k, k + 1) for k in range(last + 1)],
        "turnaround_ms": describe_histogram(recording.histograms.get(TURNAROUND), PERCENTILES),
    }


def _ends(asked: NDArray[np.void], outcome: NDArray[Any]) -> tuple[int, int, int]:
    """How many sessions began, finished and failed."""
    _, first, which = np.unique(asked["session"], return_index=True, return_inverse=True)
    wanted = asked["session_turns"][first]
    completed = np.bincount(which[outcome == COMPLETED], minlength=len(first))
    failures = np.bincount(which[(outcome != COMPLETED) & (outcome != INCOMPLETE)], minlength=len(first))
    return len(first), int((completed >= wanted).sum()), int((failures > 0).sum())


def _of(done: Completed, rows: NDArray[np.bool_], turn: int | None) -> OfTurns:
    prompt, cached = done.field("prompt_tokens")[rows], done.field("cached_tokens")[rows]
    return {
        "turn": turn,
        "requests": int(rows.sum()),
        "prompt_tokens": None if np.isnan(prompt).all() else float(np.nanmean(prompt)),
        "cached_share": _cached_share(prompt, cached, done),
        "ttft_ms": _described(done, "ttft", rows),
        "e2el_ms": _described(done, "e2el", rows),
    }


def _cached_share(prompt: Floats, cached: Floats, done: Completed) -> float | None:
    """vLLM's usage is silent of a prompt that was not in the cache: it tells as soon as one answer of the run does."""
    told = prompt > 0
    if not told.any() or np.isnan(done.whole.field("cached_tokens")).all():
        return None
    return float(np.nansum(cached[told]) / prompt[told].sum())


def _described(done: Completed, metric: str, rows: NDArray[np.bool_]) -> Row | None:
    of_request = BY_NAME[metric].of_request
    assert of_request is not None
    values = of_request(done)[rows]
    return describe(values[~np.isnan(values)], PERCENTILES)
