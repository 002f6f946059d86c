"""Feeding: a bounded backlog, refilled in time, and every request once."""

import math
import time

import numpy as np
import pytest

from vllmperf.loadgen.bodies import bodies
from vllmperf.loadgen.feed import LEAST_AHEAD, MOST_SMALL, Feeder, TimeQueue
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.session import NOTHING, Turn
from vllmperf.plan import Plan

URL = "http://127.0.0.1:8000"


class Fed:
    """What an engine got from a feeder."""

    def __init__(self, feeder):
        self.feeder, self.bodies, self.times = feeder, [], []

    def feed(self, backlog, elapsed_ns=0):
        assert not self.feeder.ended
        start_ns = time.monotonic_ns() - elapsed_ns
        turn = Turn(NOTHING, {"backlog": backlog, "start_mono_ns": start_ns}, {}, "running", None)
        for block, times_ns, *_ in self.feeder.more(turn):
            self.bodies += block
            self.times += [] if times_ns is None else times_ns.tolist()


def feeding(**settings):
    plan = Plan.of(base_url=URL, **settings)
    return Fed(Feeder(bodies(plan, "m"), schedule(plan), plan.load.max_concurrency))


def test_each_request_is_fed_once_with_its_time_and_then_the_end():
    fed = feeding(num_prompts=3000, request_rate=100, arrival="constant")
    while not fed.feeder.ended:
        fed.feed(0)
    assert len(fed.bodies) == len(set(fed.bodies)) == len(fed.times) == 3000
    assert fed.times == (np.arange(3000) * 10_000_000).tolist()


def test_an_endless_run_keeps_a_bounded_backlog():
    fed = feeding(num_prompts=None, duration=1, max_concurrency=8)
    fed.feed(0)
    first = len(fed.bodies)
    assert LEAST_AHEAD <= first <= 2 * LEAST_AHEAD
    fed.feed(first)
    assert len(fed.bodies) == first


def test_of_small_bodies_more_are_kept_ready():
    fed = feeding(num_prompts=None, duration=1, max_concurrency=8, input_len=4)
    fed.feed(0)
    assert len(fed.bodies) >= MOST_SMALL


def test_a_server_that_takes_more_than_was_ready_gets_more_the_next_time():
    fed = feeding(num_prompts=None, duration=1, max_concurrency=8)
    fed.feed(0)
    first = len(fed.bodies)
    fed.feed(0)
    assert len(fed.bodies) - first > 3 * first


def test_a_fast_rate_is_covered_for_a_second():
    fed = feeding(num_prompts=None, duration=60, request_rate=4000)
    fed.feed(0)
    assert fed.times[-1] > 950_000_000


def test_a_burst_of_a_trace_is_fed_before_it_is_due(tmp_path):
    path = tmp_path / "times"
    path.write_text("0\n" + "5.0\n" * 20_000 + "9\n" * 5000)
    fed = feeding(num_prompts=None, arrival="trace", arrival_file=str(path))
    fed.feed(0)
    at_start = len(fed.bodies)
    fed.feed(at_start - 1, 4_500_000_000)
    assert at_start < 2 * LEAST_AHEAD
    assert 20_000 < len(fed.bodies) < 22_000


def test_what_waits_for_a_slot_does_not_let_the_backlog_grow():
    fed = feeding(num_prompts=None, duration=3600, request_rate=1000, max_concurrency=4)
    fed.feed(0)
    first = len(fed.bodies)
    fed.feed(first - 10, 60_000_000_000)
    assert len(fed.bodies) < 2 * first


def test_all_at_once_means_that_all_are_fed_before_the_start():
    fed = feeding(num_prompts=12_000, request_rate=math.inf)
    fed.feed(0)
    assert len(fed.bodies) == 12_000


@pytest.mark.parametrize("sizes", [[10], [3, 3, 4], [1] * 10])
def test_times_are_taken_across_pieces(sizes):
    cuts = np.split(np.arange(10), np.cumsum(sizes)[:-1])
    queue = TimeQueue(iter(cuts))
    assert queue.take(4).tolist() == [0, 1, 2, 3]
    assert queue.take(6).tolist() == [4, 5, 6, 7, 8, 9]


def test_what_a_request_asked_for_is_told_once_and_then_forgotten():
    fed = feeding(num_prompts=3, input_len=9, output_len=4)
    fed.feed(0)
    assert fed.feeder.asked([2, 0]) == [(9, 4), (9, 4)]
    assert fed.feeder.asked([2, 1, 7]) == [(None, None), (9, 4), (None, None)]
