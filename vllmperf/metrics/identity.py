"""Sums that must agree in every sound recording.

Where they do not, the program or the server is wrong, and we say so.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

import vllmperf._engine as _engine
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.metrics.view import Completed, Floats
from vllmperf.record.reader import Recording

RELATIVE_TOLERANCE = 1e-5
"""Gaps are float32 (6e-8 each); their sum over a request stays far below this."""


class Check(NamedTuple):
    """One identity: what it says, how many requests it was checked on, how many broke it, and
    whose fault that is."""

    name: str
    statement: str
    checked: int
    broken: int
    blames: str = "client"


def checks(done: Completed) -> list[Check]:
    """All identities that the recording allows to check."""
    return [
        _gaps_sum(done),
        _instants_ordered(done),
        _e2el(done),
        _chunks_and_tokens(done),
        _littles_law(done),
        _counts(done),
        _connections(done),
    ]


def _gaps_sum(done: Completed) -> Check:
    """For one choice, TTFT and the gaps make up the whole latency."""
    rows = done.requests
    has_all = (rows["choices"] == 1) & (rows["n_gaps"] > 0) & (rows["n_gaps"] == rows["chunks"] - 1)
    whole = done.between("sent_ns", "last_token_ns")[has_all]
    parts = (done.between("sent_ns", "first_token_ns") + done.gap_facts.sum_ns)[has_all]
    off = np.abs(whole - parts) > RELATIVE_TOLERANCE * whole + 1000
    return Check(
        "gaps", "TTFT and the gaps of a request add up to its end-to-end latency", len(whole), int(off.sum())
    )


def _instants_ordered(done: Completed) -> Check:
    """sent ≤ first byte ≤ first token ≤ last token ≤ end, as far as they happened."""
    broken = np.zeros(len(done.requests), dtype=np.bool_)
    order = ("sent_ns", "first_byte_ns", "first_token_ns", "last_token_ns", "end_ns")
    for earlier, later in pairwise(order):
        broken |= done.between(earlier, later) < 0  # NaN is not below 0
    return Check(
        "order",
        "sent, first byte, first token, last token and end come in this order",
        len(broken),
        int(broken.sum()),
    )


def _e2el(done: Completed) -> Check:
    """By the three metrics as they are reported, so that none of them may be defined anew alone."""
    ttft, tpot, e2el = (_of_request(done, name) for name in ("ttft", "tpot", "e2el"))
    known = ~np.isnan(tpot)
    parts = (ttft + (done.tokens_per_choice - 1) * tpot)[known]
    off = np.abs(parts - e2el[known]) > RELATIVE_TOLERANCE * e2el[known] + 1000
    return Check("e2el", "E2EL equals TTFT + (tokens − 1) × TPOT", int(known.sum()), int(off.sum()))


def _of_request(done: Completed, name: str) -> Floats:
    of_request = BY_NAME[name].of_request
    assert of_request is not None
    return of_request(done)


def _counted_the_same(recording: Recording) -> bool:
    """The engine counted what is recorded. In a resumed run it also counted what was cut off and sent again, and what was
    recorded last before a kill it had counted without saying so."""
    counters = recording.counters
    is_whole = recording.state in ("finished", "interrupted") and not recording.meta.get("breaks")
    return is_whole and not counters.get("lost") and not counters.get("unwritten")


def _counts(done: Completed) -> Check:
    """Two ways of counting: the engine's running figures, and the rows of the run file."""
    counters, rows = done.recording.counters, done.recording.requests
    counted = {
        "sent": int((rows["sent_ns"] != _engine.NONE).sum()),
        "completed": len(done.requests),
        "chunks": int(rows["chunks"].sum(dtype=np.int64)),
    }
    known = [name for name in counted if _counted_the_same(done.recording) and counters.get(name) is not None]
    off = sum(counters[name] != counted[name] for name in known)
    return Check("counts", "the engine counted as many requests and chunks as were recorded", len(known), off)


def _connections(done: Completed) -> Check:
    """A request that opened a connection was counted as one that did."""
    opened = done.recording.counters.get("connections_opened")
    by_requests = int((done.recording.requests["connected_ns"] != _engine.NONE).sum())
    statement = "no more requests opened a connection than connections were opened"
    if opened is None or not _counted_the_same(done.recording):
        return Check("connections", statement, 0, 0)
    return Check("connections", statement, 1, int(by_requests > opened))


def _chunks_and_tokens(done: Completed) -> Check:
    """A token chunk carries one token or more, so a stream cannot have more chunks than the server
    counted tokens."""
    rows = done.requests[done.requests["tokens_source"] == _engine.TOKENS_SOURCES.index("usage")]
    rows = rows[rows["output_tokens"] != _engine.NONE]
    return Check(
        "tokens",
        "a stream has no more token chunks than its usage has tokens",
        len(rows),
        int((rows["chunks"] > rows["output_tokens"]).sum()),
        blames="server",
    )


def _littles_law(done: Completed) -> Check:
    """Mean in flight = arrival rate x mean time in the system, over all requests that were sent."""
    rows = done.recording.requests
    rows = rows[(rows["sent_ns"] != _engine.NONE) & (rows["end_ns"] != _engine.NONE)]
    statement = "mean in flight equals arrival rate times mean time in the system (Little's law)"
    if len(rows) == 0 or done.in_flight.mean is None:
        return Check("little", statement, 0, 0)
    window_ns = float(rows["end_ns"].max() - rows["sent_ns"].min())
    product = len(rows) / window_ns * float((rows["end_ns"] - rows["sent_ns"]).astype(np.float64).mean())
    return Check("little", statement, 1, int(abs(product - done.in_flight.mean) > 1e-6 * done.in_flight.mean))
