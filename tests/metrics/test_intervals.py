"""Intervals of one run: what they contain, when they are withheld, what grouped values change."""

import numpy as np
import pytest

from vllmperf.metrics import intervals
from vllmperf.metrics.intervals import (
    mean_interval,
    needed,
    percentile_intervals,
    rate_interval,
    share_interval,
)

RNG_SEED = 3


@pytest.fixture
def rng():
    return np.random.default_rng(RNG_SEED)


def ar1(rng, n, phi):
    noise = rng.standard_normal(n + 500)
    for i in range(1, len(noise)):
        noise[i] += phi * noise[i - 1]
    return noise[500:]


def width(interval):
    return interval.high - interval.low


def test_an_interval_of_independent_values_is_as_wide_as_the_textbooks(rng):
    values = rng.normal(10.0, 1.0, 10_000)
    interval = mean_interval(values)
    assert interval.low < 10.0 < interval.high
    assert width(interval) == pytest.approx(2 * 1.96 / 100, rel=0.5)
    assert interval.half == pytest.approx(width(interval) / 2)
    assert 3_000 < interval.effective <= 10_000


def test_values_that_resemble_those_before_them_get_a_wider_interval(rng):
    values = ar1(rng, 10_000, 0.9)
    together, shuffled = mean_interval(values), mean_interval(rng.permutation(values))
    assert width(together) > 2.5 * width(shuffled)  # sqrt(19) in the long run
    assert together.effective < 2_000


def test_percentiles_lie_between_the_order_statistics_that_bound_them(rng):
    values = rng.exponential(1.0, 2_000)
    for percentile, interval in zip((50, 90, 99), percentile_intervals(values, [50, 90, 99]), strict=True):
        assert interval.low < np.percentile(values, percentile) < interval.high
        assert interval.low < -np.log(1 - percentile / 100) < interval.high
        assert interval.needed is None


def test_a_percentile_too_far_out_is_withheld_and_says_how_many_requests_would_do(rng):
    (interval,) = percentile_intervals(rng.exponential(1.0, 200), [99.9])
    assert interval.low is None
    assert interval.high is None
    assert interval.half is None
    assert interval.needed == needed(99.9) == 6_700
    assert needed(99) == 670
    assert needed() == 24


def test_a_rarer_percentile_of_gaps_needs_no_fewer_requests(rng):
    values, lengths = gaps(rng, 200, 5.0)
    for percentiles in ([50, 90, 95, 99, 99.9], [0.1, 1, 5, 10, 50]):
        found = percentile_intervals(values, percentiles, lengths)
        needs = [one.needed for one in found if one.needed]
        assert len(needs) >= 2
        assert needs == sorted(needs, reverse=percentiles[0] < 1)


def test_the_extremes_have_no_interval_and_no_number_would_do(rng):
    for interval in percentile_intervals(rng.exponential(1.0, 5_000), [0, 100]):
        assert interval.low is None
        assert interval.needed is None
    assert needed(100) is None


def test_a_run_that_is_short_against_its_own_memory_is_told_how_long_it_should_be(rng):
    short = mean_interval(ar1(rng, 100, 0.97))
    assert short.low is None
    assert short.needed is not None
    assert short.needed > 100


def test_a_run_must_turn_over_what_is_in_flight(rng):
    values = rng.exponential(1.0, 200)
    assert mean_interval(values, in_flight=np.full(200, 10.0)).low is not None
    crowded = mean_interval(values, in_flight=np.full(200, 100.0))
    assert crowded.low is None
    assert crowded.needed == 800


def test_slow_load_withholds_the_interval_of_what_depends_on_it_only(rng):
    slow = 5 + np.abs(ar1(rng, 1_000, 0.997))
    independent, dependent = rng.exponential(1.0, 1_000), ar1(rng, 1_000, 0.8)
    assert mean_interval(dependent).low is not None
    assert mean_interval(dependent, in_flight=slow).low is None
    assert mean_interval(independent, in_flight=slow).low is not None


def test_equal_values_have_an_interval_without_width():
    mean = mean_interval(np.full(100, 3.0))
    assert (mean.low, mean.high) == (3.0, 3.0)
    (median,) = percentile_intervals(np.full(100, 3.0), [50])
    assert (median.low, median.high) == (3.0, 3.0)


def test_no_values_have_no_interval_and_no_guess():
    for interval in (mean_interval(np.zeros(0)), *percentile_intervals(np.zeros(0), [50])):
        assert interval.low is None
        assert interval.needed is None


def gaps(rng, requests, spread):
    """Gaps of requests that differ from each other by that spread; float32 as recorded."""
    lengths = rng.integers(0, 100, requests)
    of_request = np.exp(spread * rng.standard_normal(requests))
    return (np.repeat(of_request, lengths) * rng.uniform(0.9, 1.1, lengths.sum())).astype(np.float32), lengths


def test_gaps_of_a_request_count_as_one_thing(rng):
    values, lengths = gaps(rng, 2_000, 0.5)
    by_request, as_if_free = mean_interval(values, lengths), mean_interval(rng.permutation(values))
    assert by_request.low < np.exp(0.125) < by_request.high
    assert width(by_request) > 4 * width(as_if_free)
    assert by_request.effective <= 2_000
    (median,), (free,) = (
        percentile_intervals(values, [50], lengths),
        percentile_intervals(rng.permutation(values), [50]),
    )
    assert median.low < 1.0 < median.high
    assert width(median) > 3 * width(free)


def test_one_gap_a_request_is_the_same_as_no_groups(rng):
    values = rng.exponential(1.0, 1_000)
    ones = np.ones(1_000, dtype=np.int64)
    assert mean_interval(values, ones) == mean_interval(values)
    assert percentile_intervals(values, [50, 90], ones) == percentile_intervals(values, [50, 90])


def test_beyond_the_exact_cap_percentiles_come_from_the_histogram(rng, monkeypatch):
    values = rng.exponential(1e6, 5_000)
    (exact,) = percentile_intervals(values, [90])
    monkeypatch.setattr(intervals, "EXACT_UP_TO", 1_000)
    (near,) = percentile_intervals(values, [90])
    assert near.low == pytest.approx(exact.low, rel=1e-3)
    assert near.high == pytest.approx(exact.high, rel=1e-3)


def test_a_share_stays_within_0_and_1_and_all_good_is_not_certain(rng):
    some = share_interval(rng.random(1_000) < 0.98)
    assert 0.96 < some.low < 0.98 < some.high < 1.0
    every = share_interval(np.ones(500, dtype=bool))
    assert every.high == 1.0
    assert 0.99 < every.low < 1.0
    assert share_interval(np.ones(10, dtype=bool)).low is None


def test_rare_misses_of_a_slow_series_are_worth_fewer_requests_than_they_look(rng):
    """AR(1) with 0.9: ten misses in a thousand do not show how they come together, what they were told from does."""
    noise, values = rng.normal(size=1_100), np.zeros(1_100)
    for i in range(1, len(values)):
        values[i] = 0.9 * values[i - 1] + noise[i]
    values = values[100:]
    good = values <= np.quantile(values, 0.99)
    assert share_interval(good, values).effective < 0.5 * share_interval(good).effective
    assert share_interval(good, np.full(1_000, np.nan)) == share_interval(good)


def test_a_rate_counts_events_or_what_they_bring_within_the_window(rng):
    instants = np.cumsum(rng.exponential(1e8, 3_000)).astype(np.int64)
    end = int(200e9)
    requests = rate_interval(instants, 0, end)
    assert requests.low < 10.0 < requests.high
    tokens = rate_interval(instants, 0, end, np.full(3_000, 7))
    assert tokens.low == pytest.approx(7 * requests.low)
    assert tokens.high == pytest.approx(7 * requests.high)
    assert rate_interval(instants[:1], 0, end).low is None
    assert rate_interval(instants, end, end).low is None
