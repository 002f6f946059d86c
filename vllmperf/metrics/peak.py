"""The second in which most output tokens arrived."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.record.gaps import pieces
from vllmperf.record.reader import Recording

NS = 1_000_000_000
CHUNKS_AT_A_TIME = 100_000
COMPLETED = _engine.OUTCOMES.index("completed")

Floats = NDArray[np.float64]


def peak_output_tokens_per_s(recording: Recording) -> float | None:
    """Most output tokens of completed requests within one of the seconds that are counted from the first send.

    Tokens of a chunk are those that its gap names; the request's other tokens are shared evenly by its other chunks. With
    several choices the gaps do not follow one another in time: then, and where the gaps of some requests were not kept, only
    the kept stamps of all chunks tell. None where nobody knows when the chunks came.
    """
    requests = recording.requests
    is_counted = (requests["outcome"] == COMPLETED) & (requests["first_token_ns"] != _engine.NONE)
    if not is_counted.any():
        return None
    if requests["choices"][is_counted].max() <= 1 and recording.keep_gaps == "all":
        chunks = _by_gaps(recording, is_counted)
    elif (requests["n_chunk_stamps"][is_counted] > 0).all():
        chunks = _by_stamps(recording, is_counted)
    else:
        return None
    first_sent = int(requests["sent_ns"][requests["sent_ns"] != _engine.NONE].min())
    tokens = np.zeros((int(requests["last_token_ns"][is_counted].max()) - first_sent) // NS + 1)
    for times, counts in chunks:
        second = np.clip((times - first_sent) // NS, 0, len(tokens) - 1).astype(np.int64)
        tokens += np.bincount(second, weights=counts, minlength=len(tokens))
    return float(tokens.max())


Chunks = Iterator[tuple[Floats, Floats]]
"""When each chunk came, and its tokens; in blocks of requests, so that memory does not grow with the run."""


def _by_gaps(recording: Recording, is_counted: NDArray[np.bool_]) -> Chunks:
    first_tokens, output_tokens = (recording.requests[name] for name in ("first_token_ns", "output_tokens"))
    for block in recording.gap_blocks():
        counted = is_counted[block.rows]
        is_gap_counted = np.repeat(counted, block.lengths)
        counts = block.lengths[counted]
        first, output = (column[block.rows][counted] for column in (first_tokens, output_tokens))
        times = _chunk_times_ns(first, block.ns[is_gap_counted].astype(np.float64), counts)
        firsts, others = _chunk_tokens(output, block.tokens[is_gap_counted], counts)
        yield np.concatenate([first, times]), np.concatenate([firsts, others])


def _by_stamps(recording: Recording, is_counted: NDArray[np.bool_]) -> Chunks:
    """A request's tokens are shared evenly: a stamp does not tell of which choice it is."""
    output_tokens, offsets = recording.requests["output_tokens"], recording.stamp_request
    for rows in pieces(offsets, CHUNKS_AT_A_TIME):
        counted, counts = is_counted[rows], np.diff(offsets[rows.start : rows.stop + 1])
        stamps = recording.stamps[offsets[rows.start] : offsets[rows.stop], 0]
        times = stamps[np.repeat(counted, counts)].astype(np.float64)
        counts, output = counts[counted], output_tokens[rows][counted]
        share = np.where(output == _engine.NONE, 1.0, output / np.maximum(counts, 1))
        yield times, np.repeat(share, counts)


def _chunk_times_ns(first: NDArray[np.int64], gaps: Floats, counts: NDArray[np.int64]) -> Floats:
    """When each chunk but the first ones came."""
    elapsed = np.concatenate([[0.0], np.cumsum(gaps)])
    before = elapsed[np.cumsum(counts) - counts]
    times: Floats = np.repeat(first - before, counts) + elapsed[1:]
    return times


def _chunk_tokens(
    output: NDArray[np.int64], named: NDArray[np.uint16], counts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Tokens of the first chunk of each request, and of all others."""
    owner = np.repeat(np.arange(len(counts)), counts)
    n = len(counts)
    known = np.bincount(owner, weights=named, minlength=n)
    unnamed = 1 + np.bincount(owner, weights=named == 0, minlength=n)
    share = np.where(output == _engine.NONE, 1.0, np.maximum(output - known, 0) / unnamed)
    return share, np.where(named == 0, share[owner], named)
