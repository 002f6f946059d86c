"""A run in virtual time, as if it had been recorded: what a search or a fit makes of a server of known law can be
tried a thousand times, without a server and without a clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.view import COMPLETED
from vllmperf.record.gaps import HeldGaps
from vllmperf.record.reader import Recording

NONE = _engine.NONE


def rehearse(
    settings: dict[str, Any],
    plan: dict[str, Any],
    prompts: NDArray[np.int64],
    outputs: NDArray[np.int64],
    arrival_s: NDArray[np.float64] | None = None,
    concurrency: int | None = None,
    stamp_ms: float = 0.0,
    seed: int = 0,
) -> Recording:
    """The recording of a replay. settings: of the batching simulator. stamp_ms: each token is seen late by a delay drawn
    from an exponential distribution of this mean. Requests must not be preempted: a token a step is assumed.
    """
    from vllmperf.sim.replay import replay

    done = replay(
        prompts,
        outputs,
        arrival_s=arrival_s,
        concurrency=concurrency,
        enable_prefix_caching=False,
        **settings,
    )
    at, offsets = _token_times(done.requests, done.steps["end_ns"], outputs)
    if stamp_ms:
        at = at + np.random.default_rng(seed).exponential(stamp_ms * 1e6, len(at))
    begins, ends = offsets[:-1], offsets[1:] - 1
    at = _ascending(at, begins)
    gaps = np.delete(np.diff(at, prepend=at[:1]), begins)
    requests = np.zeros(len(outputs), np.dtype(_engine.RECORD_DTYPE))
    for name in requests.dtype.names or ():
        if requests.dtype[name] == np.int64:
            requests[name] = NONE
    requests["index"] = np.arange(len(outputs))
    requests["scheduled_ns"] = requests["sent_ns"] = done.requests["arrival_ns"]
    requests["first_token_ns"], requests["last_token_ns"] = at[begins], at[ends]
    requests["end_ns"] = at[ends]
    requests["prompt_tokens"], requests["output_tokens"] = prompts, outputs
    requests["outcome"], requests["choices"] = COMPLETED, 1
    requests["n_gaps"] = outputs - 1
    return Recording(
        path=Path(f"{plan.get('label', 'rehearsal')}.vllmperf"),
        plan=plan,
        environment={},
        meta={},
        state="finished",
        requests=requests,
        gaps=HeldGaps(gaps.astype(np.float32), np.ones(len(gaps), np.uint16), np.zeros(len(gaps), np.bool_)),
        stamps=np.zeros((0, 2), np.int64),
        texts=[None] * len(outputs),
        errors=[None] * len(outputs),
        histograms={},
    )


def _token_times(
    requests: NDArray[np.void], step_end_ns: NDArray[np.int64], outputs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Times of all tokens, request after request, and their offsets [n + 1]."""
    first = np.searchsorted(step_end_ns, requests["first_token_ns"])
    offsets = np.concatenate([[0], np.cumsum(outputs)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], outputs)
    return step_end_ns[np.repeat(first, outputs) + place].astype(np.float64), offsets


def _ascending(at: NDArray[np.float64], begins: NDArray[np.int64]) -> NDArray[np.float64]:
    """A token is not seen before the one that went before it: running maximum within each request."""
    shift = np.zeros(len(at))
    shift[begins] = 1
    lift = np.cumsum(shift) * (float(at.max(initial=0)) + 1)  # so that no request reaches into the next
    return np.maximum.accumulate(at + lift) - lift


def first_ones(recording: Recording, count: int) -> Recording:
    """The same run without the requests after the first `count`."""
    from dataclasses import replace

    gaps = recording.gap_request[count]
    return replace(
        recording,
        requests=recording.requests[:count],
        gaps=HeldGaps(recording.gaps_ns[:gaps], recording.gap_tokens[:gaps], recording.gap_shared[:gaps]),
    )


def cut(recording: Recording, at_ns: float) -> Recording:
    """The same run ended at that time: requests that are out have ended then, incomplete."""
    from dataclasses import replace

    requests = recording.requests[recording.requests["scheduled_ns"] <= at_ns].copy()
    out = requests["end_ns"] > at_ns
    requests["outcome"][out] = _engine.OUTCOMES.index("incomplete")
    requests["end_ns"][out] = int(at_ns)
    tokens = recording.gap_request[: len(requests) + 1]
    times = requests["first_token_ns"]
    kept, offsets = _gaps_until(recording, times, tokens, at_ns)
    requests["first_token_ns"][out & (times > at_ns)] = NONE
    requests["last_token_ns"][out] = NONE
    requests["output_tokens"] = np.where(requests["first_token_ns"] == NONE, 0, np.diff(offsets) + 1)
    requests["n_gaps"] = np.diff(offsets)
    return replace(
        recording,
        requests=requests,
        gaps=HeldGaps(
            recording.gaps_ns[: tokens[-1]][kept],
            recording.gap_tokens[: tokens[-1]][kept],
            recording.gap_shared[: tokens[-1]][kept],
        ),
    )


def _gaps_until(
    recording: Recording, first_ns: NDArray[np.int64], offsets: NDArray[np.int64], at_ns: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which gaps had ended by then, and the offsets of what is left."""
    counts = np.diff(offsets)
    total = np.cumsum(recording.gaps_ns[: offsets[-1]].astype(np.float64))
    before = np.concatenate([[0.0], total])[offsets[:-1]]
    kept = np.repeat(first_ns - before, counts) + total <= at_ns
    left = np.add.reduceat(np.append(kept, False), offsets[:-1]) * (counts > 0) if len(counts) else counts
    return kept, np.concatenate([[0], np.cumsum(left)]).astype(np.int64)
