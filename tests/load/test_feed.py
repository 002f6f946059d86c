"""Feeding: a bounded backlog, refilled in time, and every request once."""

import itertools
import math

import numpy as np
import pytest

from vllmperf.load.feed import LEAST_AHEAD, MOST_SMALL, Feeder, TimeQueue
from vllmperf.load.schedule import schedule
from vllmperf.plan import Plan

URL = "http://127.0.0.1:8000"


class FakeEngine:
    def __init__(self):
        self.bodies, self.times, self.ended = [], [], False

    def feed(self, bodies, offsets, at_ns=None):
        assert not self.ended
        cuts = np.frombuffer(offsets, dtype=np.int64).tolist()
        self.bodies += [bodies[a:b] for a, b in itertools.pairwise(cuts)]
        if at_ns is not None:
            self.times += np.frombuffer(at_ns, dtype=np.int64).tolist()

    def feed_end(self):
        self.ended = True


def feeder(repeat_first=False, **settings):
    plan, engine = Plan(base_url=URL, **settings), FakeEngine()
    return Feeder(plan, "m", schedule(plan), engine, repeat_first), engine


def test_each_request_is_fed_once_with_its_time_and_then_the_end():
    feeding, engine = feeder(num_prompts=3000, request_rate=100, arrival="constant")
    while not engine.ended:
        feeding.feed(0)
    assert len(engine.bodies) == len(set(engine.bodies)) == len(engine.times) == 3000
    assert engine.times == (np.arange(3000) * 10_000_000).tolist()


def test_an_endless_run_keeps_a_bounded_backlog():
    feeding, engine = feeder(num_prompts=None, duration_s=1, max_concurrency=8)
    feeding.feed(0)
    first = len(engine.bodies)
    assert LEAST_AHEAD <= first <= 2 * LEAST_AHEAD
    feeding.feed(first)
    assert len(engine.bodies) == first


def test_of_small_bodies_more_are_kept_ready():
    feeding, engine = feeder(num_prompts=None, duration_s=1, max_concurrency=8, input_len=4)
    feeding.feed(0)
    assert len(engine.bodies) >= MOST_SMALL


def test_a_server_that_takes_more_than_was_ready_gets_more_the_next_time():
    feeding, engine = feeder(num_prompts=None, duration_s=1, max_concurrency=8)
    feeding.feed(0)
    first = len(engine.bodies)
    feeding.feed(0)
    assert len(engine.bodies) - first > 3 * first


def test_a_fast_rate_is_covered_for_a_second():
    feeding, engine = feeder(num_prompts=None, duration_s=60, request_rate=4000)
    feeding.feed(0)
    assert engine.times[-1] > 950_000_000


def test_a_burst_of_a_trace_is_fed_before_it_is_due(tmp_path):
    path = tmp_path / "times"
    path.write_text("0\n" + "5.0\n" * 20_000 + "9\n" * 5000)
    feeding, engine = feeder(num_prompts=None, arrival="trace", arrival_file=str(path))
    feeding.feed(0)
    at_start = len(engine.bodies)
    feeding.feed(at_start - 1, 4_500_000_000)
    assert at_start < 2 * LEAST_AHEAD
    assert 20_000 < len(engine.bodies) < 22_000


def test_what_waits_for_a_slot_does_not_let_the_backlog_grow():
    feeding, engine = feeder(num_prompts=None, duration_s=3600, request_rate=1000, max_concurrency=4)
    feeding.feed(0)
    first = len(engine.bodies)
    feeding.feed(first - 10, 60_000_000_000)
    assert len(engine.bodies) < 2 * first


def test_all_at_once_means_that_all_are_fed_before_the_start():
    feeding, engine = feeder(num_prompts=12_000, request_rate=math.inf)
    feeding.feed(0)
    assert len(engine.bodies) == 12_000


def test_warm_ups_are_the_first_request_again_and_again():
    feeding, engine = feeder(repeat_first=True, num_prompts=5)
    feeding.feed(0)
    assert len(engine.bodies) == 5
    assert len(set(engine.bodies)) == 1


@pytest.mark.parametrize("sizes", [[10], [3, 3, 4], [1] * 10])
def test_times_are_taken_across_pieces(sizes):
    cuts = np.split(np.arange(10), np.cumsum(sizes)[:-1])
    queue = TimeQueue(iter(cuts))
    assert queue.take(4).tolist() == [0, 1, 2, 3]
    assert queue.take(6).tolist() == [4, 5, 6, 7, 8, 9]


def test_what_a_request_asked_for_is_told_once_and_then_forgotten():
    feeding, _ = feeder(num_prompts=3, input_len=9, output_len=4)
    feeding.feed(0)
    assert feeding.asked([2, 0]) == [(9, 4), (9, 4)]
    assert feeding.asked([2, 1, 7]) == [(None, None), (9, 4), (None, None)]
