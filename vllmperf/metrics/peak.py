"""The second in which most output tokens arrived."""

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.record.reader import Recording

NS = 1e9
COMPLETED = _engine.OUTCOMES.index("completed")

Floats = NDArray[np.float64]


def peak_output_tokens_per_s(recording: Recording) -> float | None:
    """Most output tokens of completed requests within one of the seconds that are counted from the first send.

    Tokens of a chunk are those that its gap names; the request's other tokens are shared evenly by its other chunks. With
    several choices the gaps do not follow one another in time: then only the kept stamps of all chunks tell. None where
    nobody knows when the chunks came.
    """
    requests = recording.requests
    is_counted = (requests["outcome"] == COMPLETED) & (requests["first_token_ns"] != _engine.NONE)
    if not is_counted.any():
        return None
    if requests["choices"][is_counted].max() <= 1:
        times, tokens = _by_gaps(recording, is_counted)
    elif (requests["n_chunk_stamps"][is_counted] > 0).all():
        times, tokens = _by_stamps(recording, is_counted)
    else:
        return None
    first_sent = requests["sent_ns"][requests["sent_ns"] != _engine.NONE].min()
    seconds = np.maximum((times - first_sent) // NS, 0).astype(np.int64)
    return float(np.bincount(seconds, weights=tokens).max())


def _by_gaps(recording: Recording, is_counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """When each chunk came, and its tokens."""
    requests = recording.requests
    counts = np.diff(recording.gap_request)
    is_gap_counted = np.repeat(is_counted, counts)
    counts = counts[is_counted]
    first = requests["first_token_ns"][is_counted]
    times = _chunk_times_ns(first, recording.gaps_ns[is_gap_counted].astype(np.float64), counts)
    firsts, others = _chunk_tokens(
        requests["output_tokens"][is_counted], recording.gap_tokens[is_gap_counted], counts
    )
    return np.concatenate([first, times]), np.concatenate([firsts, others])


def _by_stamps(recording: Recording, is_counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The same from stamps. A request's tokens are shared evenly: a stamp does not tell of which choice it is."""
    counts = np.diff(recording.stamp_request)
    times = recording.stamps[np.repeat(is_counted, counts), 0].astype(np.float64)
    counts = counts[is_counted]
    output = recording.requests["output_tokens"][is_counted]
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
