"""When tokens came, over all streams of a run: each gap with its moment, and how many streams were where at a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.view import Completed, Floats
from vllmperf.record.table import Requests

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gaps:
    """One value a gap, of completed streams of one choice. stream: its row among them; end_ns: when the later chunk came."""

    stream: Ints
    end_ns: Floats
    ns: Floats


def gaps(done: Completed) -> Gaps:
    """Sorted by stream, then by time."""
    rows, lengths = done.requests, done.requests["n_gaps"].astype(np.int64)
    is_plain = (rows["choices"] == 1) & (rows["first_token_ns"] != _engine.NONE) & (lengths > 0)
    stream = np.repeat(np.arange(len(rows)), lengths)
    keep = is_plain[stream]
    stream, ns = stream[keep], done.gaps_ns[keep].astype(np.float64)
    lengths = lengths[is_plain]
    before = np.concatenate([[0.0], np.cumsum(ns)])
    starts = np.cumsum(lengths) - lengths
    first = rows["first_token_ns"][is_plain].astype(np.float64)
    end_ns = before[1:] + np.repeat(first - before[starts], lengths)
    return Gaps(stream, end_ns, ns)


def between(starts: Ints, ends: Ints, at_ns: Floats) -> Ints:
    """How many of the intervals hold each moment."""
    begun = np.searchsorted(np.sort(starts), at_ns, side="right")
    ended = np.searchsorted(np.sort(ends), at_ns, side="left")
    return (begun - ended).astype(np.int64)


def streaming(done: Completed) -> tuple[Ints, Ints]:
    """First and last token of each completed stream."""
    return _streaming(done.requests)


def streaming_with_gaps(done: Completed) -> tuple[Ints, Ints]:
    """The same of those whose gaps the run file has."""
    return _streaming(done.requests[done.has_gaps])


def _streaming(requests: Requests) -> tuple[Ints, Ints]:
    rows = requests[requests["first_token_ns"] != _engine.NONE]
    return rows["first_token_ns"], rows["last_token_ns"]
