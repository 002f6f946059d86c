"""The change between two runs, many comparisons at once, and several runs of one plan."""

import math

import numpy as np
import pytest

from vllmperf.metrics.difference import (
    Estimate,
    difference,
    holm,
    paired_mean,
    paired_percentile,
)
from vllmperf.metrics.intervals import Interval, mean_interval, percentile_intervals
from vllmperf.metrics.repeats import repeat_interval, spread

stats = pytest.importorskip("scipy.stats")


def estimate(values):
    return Estimate(float(values.mean()), mean_interval(values))


def known(value, half, degrees=24.0):
    return Estimate(value, Interval(value - half, value + half, 1_000.0, None, degrees))


def test_two_runs_of_the_same_do_not_differ_and_of_other_means_do():
    rng = np.random.default_rng(7)
    a, b = rng.exponential(10.0, 4_000), rng.exponential(10.0, 4_000)
    same = difference(estimate(a), estimate(b))
    assert same.low < 0 < same.high
    assert same.share_low < 0 < same.share_high
    assert same.p > 0.05
    slower = difference(estimate(a), estimate(1.3 * b))
    assert slower.low > 0
    assert slower.share_low < 0.3 < slower.share_high
    assert slower.p < 0.001


def test_the_interval_of_a_difference_adds_the_squares_of_both_sides():
    found = difference(known(10.0, 0.3), known(11.0, 0.4))
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(1.5))
    assert found.p < 0.05


@pytest.mark.parametrize("change", [0.4999, 0.5001, -0.4999, -0.5001])
def test_interval_share_and_p_agree_on_whether_0_is_possible(change):
    found = difference(known(10.0, 0.3), known(10.0 + change, 0.4))
    is_sure = abs(change) > 0.5
    assert (found.low > 0 or found.high < 0) == is_sure
    assert (found.share_low > 0 or found.share_high < 0) == is_sure
    assert (found.p < 0.05) == is_sure


def test_a_side_without_an_interval_leaves_only_the_change():
    nothing = Estimate(12.0, Interval(None, None, 3.0, 800))
    assert difference(known(10.0, 0.3), nothing) == difference(known(10.0, 1.0), nothing)
    assert difference(known(10.0, 0.3), nothing).change == 2.0
    assert difference(known(10.0, 0.3), nothing).p is None


def test_pairs_show_what_independent_runs_cannot():
    rng = np.random.default_rng(6)
    shared = rng.exponential(10.0, 2_000)
    a, b = shared + rng.normal(0, 0.2, 2_000), 1.02 * shared + rng.normal(0, 0.2, 2_000)
    assert difference(estimate(a), estimate(b)).low < 0
    paired = paired_mean(a, b)
    assert 0 < paired.low < 0.2 < paired.high
    assert paired.share_low < 0.02 < paired.share_high
    assert paired.p < 0.001
    for percentile in (50, 90):
        sides = [
            Estimate(float(np.percentile(side, percentile)), percentile_intervals(side, [percentile])[0])
            for side in (a, b)
        ]
        free, pairs = difference(*sides), paired_percentile(a, b, percentile)
        assert pairs.change == pytest.approx(free.change)
        assert pairs.high - pairs.low < 0.6 * (free.high - free.low)
    assert paired_percentile(a, b, 99.9).p is None


def test_holms_correction_is_that_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.9, 0.8]) == [None, 1.0, 1.0]
    assert holm([]) == []


def test_repeats_have_the_interval_of_students_t():
    values = [10.0, 11.0, 12.5, 9.5]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = repeat_interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert repeat_interval([10.0]).needed == 2
    assert repeat_interval([10.0]).low is None


def test_runs_that_differ_more_than_their_intervals_allow_are_noticed():
    alike = spread([known(10.0, 0.5), known(10.1, 0.5), known(9.8, 0.5)])
    assert not alike.is_beyond_chance
    assert alike.p > 0.3
    apart = spread([known(10.0, 0.1), known(11.0, 0.1), known(9.0, 0.1)])
    assert apart.is_beyond_chance
    assert apart.ratio > 100
    assert spread([known(10.0, 0.1)]).p is None
    assert spread([known(10.0, 0.1), Estimate(9.0, Interval(None, None, 1.0))]).p is None


def test_with_variances_that_are_known_the_test_is_cochrans_q():
    runs = [known(v, 1.96, 1e9) for v in (10.0, 12.0, 9.0, 10.5)]
    q = float(np.sum((np.array([10.0, 12.0, 9.0, 10.5]) - 10.375) ** 2))
    assert spread(runs).p == pytest.approx(stats.chi2.sf(q, 3), rel=1e-3)
    assert math.isfinite(spread(runs).ratio)
