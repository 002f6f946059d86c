"""Every token of a run as one arrival: when, of which stream, and how far that stream was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.errors import UsageError
from vllmperf.record.reader import Recording
from vllmperf.record.table import Requests

NONE = _engine.NONE


@dataclass(frozen=True)
class Arrivals:
    """Token chunks of all streams in order of time, each with one token.

    at_ns: float64 [n], ascending, ns from the start of the run.
    stream: int64 [n], row of the request in `requests`.
    place: int64 [n], 0 for the first token of its stream.
    sent_ns, first_ns: int64 [requests]; first_ns is NONE when no token came.
    prompt_tokens: int64 [requests], to be computed: less what the server's cache held; 0 when it did not say.
    shared: bool [n], it came in one read with another token of its stream: its own time is not known.
    multiple: share of chunks that carry more than one token (speculative decoding, merged deltas).
    headers_ns: int64 [requests], when the response's headers came; NONE where that is not known.
    tokens_per_chunk: mean of the chunks after the first.
    """

    at_ns: NDArray[np.float64]
    stream: NDArray[np.int64]
    place: NDArray[np.int64]
    shared: NDArray[np.bool_]
    sent_ns: NDArray[np.int64]
    first_ns: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]
    multiple: float
    headers_ns: NDArray[np.int64] | None = None
    tokens_per_chunk: float = 1.0


def arrivals(recording: Recording) -> Arrivals:
    """The arrivals of a recorded run, from the first token's stamp and the gaps after it. Raises UsageError for a run whose
    file does not have them all."""
    if recording.keep_gaps != "all":
        raise UsageError(
            f"{recording.path} keeps the gaps of {'no' if recording.keep_gaps == 'none' else 'some'} requests, and a fit "
            "needs those of all: make the run with --keep-gaps all"
        )
    requests = recording.requests
    first = requests["first_token_ns"].astype(np.int64)
    began = np.flatnonzero((first != NONE) & (requests["choices"] <= 1))
    counts = np.diff(recording.gap_request)[began] + 1
    stream = np.repeat(began, counts)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(stream)) - np.repeat(starts, counts)
    rows = _gap_rows(recording, began)
    step = np.zeros(len(stream))
    step[place > 0] = recording.gaps_ns[rows]
    shared = np.zeros(len(stream), dtype=bool)
    shared[place > 0] = recording.gap_shared[rows]
    elapsed = np.cumsum(step)
    at = first[stream] + elapsed - np.repeat(elapsed[starts] if len(starts) else elapsed, counts)
    order = np.argsort(at, kind="stable")
    return Arrivals(
        at_ns=at[order],
        stream=stream[order],
        place=place[order],
        shared=shared[order],
        sent_ns=requests["sent_ns"].astype(np.int64),
        first_ns=first,
        prompt_tokens=_to_compute(requests),
        multiple=_multiple(recording),
        headers_ns=requests["first_byte_ns"].astype(np.int64),
        tokens_per_chunk=_tokens_per_chunk(recording),
    )


def _gap_rows(recording: Recording, began: NDArray[np.int64]) -> NDArray[np.int64]:
    wanted = np.zeros(len(recording.requests), dtype=bool)
    wanted[began] = True
    return np.flatnonzero(np.repeat(wanted, np.diff(recording.gap_request)))


def _to_compute(requests: Requests) -> NDArray[np.int64]:
    prompt, cached = requests["prompt_tokens"], requests["cached_tokens"]
    return np.where(prompt == NONE, 0, prompt - np.where(cached == NONE, 0, cached)).astype(np.int64)


def _multiple(recording: Recording) -> float:
    tokens = recording.gap_tokens
    return float(np.mean(tokens > 1)) if len(tokens) else 0.0


def _tokens_per_chunk(recording: Recording) -> float:
    known = recording.gap_tokens[recording.gap_tokens > 0]
    return float(np.mean(known)) if len(known) else 1.0
