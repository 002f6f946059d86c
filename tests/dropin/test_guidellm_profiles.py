"""Rate types: their strategies, their times, what the report says of them."""

import itertools
import random

import numpy as np
import pytest

from vllmperf.dropin.guidellm.profiles import Strategy, profile, sweep_rates
from vllmperf.errors import UsageError


def times(strategy, most=None, end_s=5.0):
    return strategy.times_s(most, end_s).tolist()


def test_constant_begins_at_once_and_keeps_its_rate():
    assert times(Strategy(type="constant", rate=2.0), end_s=2.0) == [0.0, 0.5, 1.0, 1.5]


def test_the_burst_of_guidellm_is_off_until_it_is_asked_for():
    (strategy,) = profile("constant", [4]).strategies
    assert times(strategy, most=5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    (burst,) = profile("constant", [4], burst=True).strategies
    assert times(burst, most=6) == [0.0, 0.0, 0.0, 0.0, 0.25, 0.5]


def test_poisson_draws_the_gaps_that_guidellm_draws():
    generator = random.Random(7)
    gaps = [generator.expovariate(3.0) for _ in range(40)]
    expected = [0.0, *itertools.accumulate(gaps)]
    found = times(Strategy(type="poisson", rate=3.0, seed=7), end_s=5.0)
    assert found == pytest.approx([time for time in expected if time < 5.0])
    burst = times(Strategy(type="poisson", rate=3.0, seed=7, burst=True), most=5, end_s=100.0)
    assert burst == pytest.approx([0.0, 0.0, 0.0, *itertools.accumulate(gaps[:2])])


def test_a_number_and_a_duration_end_a_schedule_whichever_comes_first():
    strategy = Strategy(type="constant", rate=10.0)
    assert strategy.schedule(5, 100.0).n == 5
    assert strategy.schedule(5000, 1.0).n == 10
    pieces = strategy.schedule(None, 1.0).times
    assert next(pieces).tolist() == [100_000_000 * number for number in range(10)]


@pytest.mark.parametrize("kind", ["synchronous", "concurrent", "throughput"])
def test_a_closed_loop_has_no_times(kind):
    when = Strategy(type=kind, streams=3).schedule(9, None)
    assert (when.n, when.times) == (9, None)


def test_how_many_requests_may_be_open():
    assert Strategy(type="synchronous").limit(64) == 1
    assert Strategy(type="concurrent", streams=7).limit(64) == 7
    assert Strategy(type="throughput").limit(64) == 64
    assert Strategy(type="throughput", max_concurrency=9).limit(64) == 9
    assert Strategy(type="constant", rate=1.0).limit(64) == 64


def test_async_is_constant_under_another_name():
    found = profile("async", [4.0])
    assert [strategy.type for strategy in found.strategies] == ["constant"]
    assert found.to_dict()["type_"] == "async"
    assert found.to_dict()["strategy_type"] == "constant"


def test_a_sweep_goes_in_even_steps_between_the_two_rates_it_measured():
    found = profile("sweep", [4])
    assert found.types == ["synchronous", "throughput", "constant", "constant"]
    found.measured(8.25259694967245, 0.93)
    found.measured(5.955620777703113, 3.26)
    # as a recorded sweep of guidellm 0.3.1 went on from these two rates
    rates = [strategy.rate for strategy in found.strategies[2:]]
    assert rates == pytest.approx([7.104108863687781, 5.955620777703113])
    assert np.allclose(sweep_rates(1.0, 5.0, 5), [2.333333, 3.666667, 5.0])


def test_the_seed_reaches_poisson_and_the_report():
    found = profile("poisson", [4.0], seed=7)
    assert found.strategies[0].to_dict(1.0) == {
        "type_": "poisson",
        "start_time": 1.0,
        "max_concurrency": None,
        "rate": 4.0,
        "initial_burst": False,
        "random_seed": 7,
    }


@pytest.mark.parametrize(
    ("kind", "rates", "word"),
    [
        ("synchronous", [1.0], "leave it out"),
        ("throughput", [1.0], "leave it out"),
        ("concurrent", None, "streams"),
        ("concurrent", [1.5], "whole"),
        ("constant", None, "requests per second"),
        ("sweep", [1.0], "from 2 on"),
        ("sweep", [3.0, 4.0], "one number"),
    ],
)
def test_a_rate_that_does_not_go_with_its_type_is_refused(kind, rates, word):
    with pytest.raises(UsageError, match=word):
        profile(kind, rates)


def test_without_a_number_a_sweep_has_as_many_benchmarks_as_the_environment_says():
    assert profile("sweep", None, usual_sweep=6).size == 6
