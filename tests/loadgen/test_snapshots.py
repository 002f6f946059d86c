"""The live figures of a run."""

import time

import numpy as np
import pytest

from vllmperf import _engine
from vllmperf.loadgen.snapshots import Snapshots


def batch(*rows):
    """A batch of records; what a row does not say did not happen."""
    dtype = np.dtype(_engine.RECORD_DTYPE)
    records = np.zeros(len(rows), dtype=dtype)
    for name in dtype.names:
        if dtype[name] == np.int64:
            records[name] = _engine.NONE
    for record, row in zip(records, rows, strict=True):
        for name, value in row.items():
            record[name] = value
    return {"records": records.tobytes(), "gaps": b"", "stamps": b"", "bytes": b""}


def counters(state="running", elapsed_s=10.0, **more):
    start = 0 if elapsed_s is None else time.monotonic_ns() - round(elapsed_s * 1e9)
    usual = {"state": state, "start_mono_ns": start, "sent": 0, "in_flight": 0, "done": 0, "completed": 0}
    return {**usual, **more}


NO_LAG = {"client_lag": _engine.Histogram()}
DONE = {"outcome": 0, "sent_ns": 0, "first_token_ns": 50_000_000, "output_tokens": 20}
REFUSED = {"outcome": _engine.OUTCOMES.index("refused")}


def test_before_anything_came_there_are_no_figures():
    snapshot = Snapshots(10, None).snapshot(counters(elapsed_s=None), NO_LAG)
    assert (snapshot.elapsed_s, snapshot.errors) == (0.0, {})
    assert snapshot.output_tokens_per_s is snapshot.ttft_ms_p50 is snapshot.client_lag_ms_p99 is None
    assert snapshot.time_left_s is None


def test_batches_add_up_to_tokens_times_and_errors():
    snapshots = Snapshots(10, None)
    snapshots.take(batch(DONE, REFUSED))
    snapshots.take(batch(DONE, REFUSED, REFUSED))
    snapshots.take(batch())
    snapshot = snapshots.snapshot(counters(done=5, completed=2), NO_LAG)
    assert snapshot.errors == {"refused": 3}
    assert snapshot.output_tokens_per_s == pytest.approx(4, rel=0.05)
    assert snapshot.ttft_ms_p50 == pytest.approx(50, rel=0.001)


@pytest.mark.parametrize(
    ("asked", "duration_s", "done", "left_s"),
    [
        (100, None, 50, 10.0),
        (None, 30.0, 50, 20.0),
        (100, 15.0, 50, 5.0),
        (100, 12.0, 10, 2.0),
        (None, 5.0, 1, 0.0),
    ],
)
def test_the_time_left_follows_from_what_is_done_and_from_the_duration(asked, duration_s, done, left_s):
    snapshot = Snapshots(asked, duration_s).snapshot(counters(done=done), NO_LAG)
    assert snapshot.time_left_s == pytest.approx(left_s, abs=0.3)


def test_a_run_that_sends_no_more_has_no_time_left_to_tell():
    assert Snapshots(100, None).snapshot(counters(state="draining", done=5), NO_LAG).time_left_s is None
