"""When users send."""

import itertools
import random

import pytest

from vllmperf.dropin.llm_bench.pacing import Bursts, ClosedLoop, FixedRate, spawn_times_s, ticks_s


class Still:
    """A generator of random numbers that always gives the same."""

    def random(self):
        return 0.25


def dues(sends):
    return [send.due_s for send in sends]


@pytest.mark.parametrize(
    ("users", "rate", "times"),
    [
        (3, 3, [0, 0, 0]),
        (4, 2, [0, 0, 1, 1]),
        (5, 2.5, [0, 0, 0.8, 0.8, 1.6]),
        (3, 0.5, [0, 2, 4]),
        (2, 100, [0, 0]),
    ],
)
def test_users_come_in_whole_groups_at_the_rate(users, rate, times):
    assert spawn_times_s(users, rate) == times


def test_a_closed_loop_has_one_request_a_user():
    loop = ClosedLoop([0.0, 0.0, 1.0], Still())
    assert dues(loop.take(0.2)) == []
    assert dues(loop.take(0.3)) == [0.25, 0.25]
    assert dues(loop.take(0.9)) == []
    loop.freed(0.25, 0.95)
    assert dues(loop.take(1.0)) == [0.95]
    assert loop.ahead(1.0) is None
    assert dues(loop.take(1.3)) == [1.25]
    assert next(loop.ahead(1.3)) == 1.3


def test_users_of_a_fixed_rate_take_the_ticks_of_one_clock():
    pacing = FixedRate([0.0, 0.0, 2.0], ticks_s(10, "constant", random.Random(0)))
    assert dues(pacing.take(0.0)) == pytest.approx([0.1, 0.2])
    assert dues(pacing.take(0.2)) == []
    assert pacing.ahead(0.2) is None
    pacing.freed(0.1, 0.15)
    sends = pacing.take(0.2)
    assert dues(sends) == pytest.approx([0.3])
    assert sends[0].late_s == 0
    late = pacing.take(2.0)
    assert dues(late) == pytest.approx([0.4])
    assert late[0].late_s == pytest.approx(1.6)
    assert next(pacing.ahead(2.0)) == pytest.approx(0.5)


@pytest.mark.parametrize("distribution", ["constant", "uniform", "exponential"])
def test_ticks_keep_the_rate_on_average(distribution):
    ticks = list(itertools.islice(ticks_s(50, distribution, random.Random(3)), 4000))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *ticks])]
    assert ticks[-1] == pytest.approx(80, rel=0.06)
    assert min(gaps) >= 0
    spread = max(gaps) - min(gaps)
    assert spread < 1e-9 if distribution == "constant" else spread > 0.03
    assert max(gaps) <= 0.04 or distribution == "exponential"


def test_bursts_come_a_period_after_the_first_answer_and_then_every_period():
    bursts = Bursts([0.0, 0.0], 2.0)
    assert dues(bursts.take(0.0)) == [0.0, 0.0]
    bursts.freed(0.0, 0.5)
    bursts.freed(0.0, 0.6)
    assert dues(bursts.take(2.55)) == [2.5]
    bursts.freed(2.5, 3.0)
    assert dues(bursts.take(4.49)) == [2.6]
    assert dues(bursts.take(4.5)) == [4.5]
    bursts.freed(4.5, 7.0)
    assert dues(bursts.take(7.0)) == [7.0]
    assert bursts.ahead(100.0) is None
