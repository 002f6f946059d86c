"""The second in which most output tokens arrived."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.record.reader import Recording

NS = 1_000_000_000
CHUNKS_AT_A_TIME = 1_000_000
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
        chunks, offsets = _by_gaps, recording.gap_request
    elif (requests["n_chunk_stamps"][is_counted] > 0).all():
        chunks, offsets = _by_stamps, recording.stamp_request
    else:
        return None
    first_sent = int(requests["sent_ns"][requests["sent_ns"] != _engine.NONE].min())
    tokens = np.zeros((int(requests["last_token_ns"][is_counted].max()) - first_sent) // NS + 1)
    for rows in _blocks(offsets):
        times, counts = chunks(recording, rows, is_counted[rows])
        second = np.clip((times - first_sent) // NS, 0, len(tokens) - 1).astype(np.int64)
        tokens += np.bincount(second, weights=counts, minlength=len(tokens))
    return float(tokens.max())


def _blocks(offsets: NDArray[np.int64]) -> Iterator[slice]:
    """The requests in pieces of about so many chunks that memory does not grow with the run."""
    starts = np.searchsorted(offsets, np.arange(0, offsets[-1] + 1, CHUNKS_AT_A_TIME)).tolist()
    yield from (slice(a, b) for a, b in pairwise([*starts, len(offsets) - 1]) if b > a)


def _by_gaps(recording: Recording, rows: slice, is_counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """When each chunk of these requests came, and its tokens."""
    requests, offsets = recording.requests[rows], recording.gap_request[rows.start : rows.stop + 1]
    counts, gaps = np.diff(offsets), slice(offsets[0], offsets[-1])
    is_gap_counted = np.repeat(is_counted, counts)
    counts = counts[is_counted]
    first = requests["first_token_ns"][is_counted]
    times = _chunk_times_ns(first, recording.gaps_ns[gaps][is_gap_counted].astype(np.float64), counts)
    named = recording.gap_tokens[gaps][is_gap_counted]
    firsts, others = _chunk_tokens(requests["output_tokens"][is_counted], named, counts)
    return np.concatenate([first, times]), np.concatenate([firsts, others])


def _by_stamps(recording: Recording, rows: slice, is_counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The same from stamps. A request's tokens are shared evenly: a stamp does not tell of which choice it is."""
    requests, offsets = recording.requests[rows], recording.stamp_request[rows.start : rows.stop + 1]
    counts = np.diff(offsets)
    stamps = recording.stamps[offsets[0] : offsets[-1], 0]
    times = stamps[np.repeat(is_counted, counts)].astype(np.float64)
    counts, output = counts[is_counted], requests["output_tokens"][is_counted]
    share = np.where(output == _engine.NONE, 1.0, output / np.maximum(counts, 1))
    return times, np.repeat(share, counts)


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
