"""guidellm's weighted distributions: the percentile rule, rates and concurrency over time."""

import itertools
import math

import numpy as np
import pytest

from vllmperf.formats.guidellm_statistics import (
    PERCENTILES,
    concurrency,
    distribution,
    request_rate,
    token_rate,
)


def test_a_percentile_is_the_smallest_value_that_reaches_its_share_without_interpolation():
    found = distribution([40, 10, 30, 20])
    assert found["percentiles"]["p25"] == 10
    assert found["median"] == found["percentiles"]["p50"] == 20
    assert found["percentiles"]["p75"] == 30
    assert found["percentiles"]["p90"] == found["percentiles"]["p999"] == 40


def test_weights_move_mean_and_percentiles_but_not_count_and_sum():
    found = distribution([1.0, 2.0, 3.0], [1, 1, 8])
    assert found["mean"] == pytest.approx(2.7)
    assert found["median"] == found["mode"] == 3.0
    assert found["percentiles"]["p10"] == 1.0
    assert (found["count"], found["total_sum"]) == (3, 6.0)


def test_the_variance_is_that_of_a_population():
    found = distribution([2.0, 4.0])
    assert (found["variance"], found["std_dev"]) == (1.0, 1.0)


def test_no_values_give_zeros_as_in_guidellm():
    found = distribution([])
    assert found["mean"] == found["max"] == 0.0
    assert found["count"] == 0
    assert set(found["percentiles"].values()) == {0.0}


def test_concurrency_is_weighted_by_how_long_it_lasted():
    # one open for 3 s, of these 1 s with a second one
    found = concurrency([0.0, 1.0], [3.0, 2.0])
    assert found["mean"] == pytest.approx((1 + 2 + 1) / 3)
    assert (found["min"], found["max"], found["median"]) == (1.0, 2.0, 1.0)
    assert found["count"] == 2  # different values, not stretches


def test_the_mean_rate_is_ends_over_the_whole_time():
    found = request_rate([0.0, 1.0, 2.0], [1.0, 2.0, 4.0])
    # the last end closes the time, the start opens it and counts
    assert found["mean"] == pytest.approx(3 / 4)


def test_events_within_a_microsecond_of_the_first_count_as_one():
    close = request_rate([0.0] * 3, [1.0, 1.0 + 4e-7, 1.0 + 9e-7])
    assert close["max"] == 1.0
    chained = request_rate([0.0] * 4, [1.0, 1.0 + 8e-7, 1.0 + 1.6e-6, 2.0])
    # the third is within a microsecond of the second, not of the first: a group of its own
    assert chained["max"] == pytest.approx(2 / 1.6e-6, rel=1e-3)


def test_tokens_are_spread_evenly_from_the_first_to_the_end():
    found = token_rate([0.0], [2.0], [1.0], [5], [1])
    # nothing for 1 s, then 1 token each 0.25 s; what comes at the very end has no time after it
    assert found["mean"] == pytest.approx(4 / 2)
    assert found["max"] == pytest.approx(4.0)


def test_the_prompt_counts_once_and_not_twice():
    tokens = token_rate([0.0], [2.0], [1.0], [5], [100 + 1])
    assert tokens["mean"] == pytest.approx((100 + 4) / 2)


def slow_rate(events):
    """guidellm's own walk over (time, count), as the twin."""
    groups = []
    for at, count in sorted(events):
        if groups and at - groups[-1][0] <= 1e-6:
            groups[-1][1] += count
        else:
            groups.append([at, count])
    lengths = [b[0] - a[0] for a, b in itertools.pairwise(groups)]
    rates = [group[1] / length for group, length in zip(groups, lengths, strict=False)]
    return sum(r * w for r, w in zip(rates, lengths, strict=True)) / sum(lengths), max(rates)


@pytest.mark.parametrize("scale", [1e-7, 1e-6, 1e-3, 1.0])
def test_many_crowded_events_give_what_a_plain_walk_over_them_gives(scale):
    generator = np.random.default_rng(5)
    ends = np.sort(generator.random(400) * scale * 40) + 1.0
    found = request_rate(np.zeros(400), ends)
    mean, top = slow_rate([(0.0, 1), *[(end, 1) for end in ends.tolist()]])
    assert found["mean"] == pytest.approx(mean)
    assert found["max"] == pytest.approx(top)


def test_every_percentile_of_the_file_is_there():
    assert list(distribution([1.0])["percentiles"]) == list(PERCENTILES)
    assert math.isclose(PERCENTILES["p001"], 0.001)


def test_very_many_tokens_are_bundled_and_the_mean_stays():
    generator = np.random.default_rng(3)
    starts = generator.random(50) * 9
    firsts, tokens = starts + 0.1, generator.integers(1, 90, size=50)
    ends = firsts + 0.01 * tokens
    ones = np.ones(50)
    whole, bundled = (token_rate(starts, ends, firsts, tokens, ones, most) for most in (10**6, 500))
    assert bundled["mean"] == pytest.approx(whole["mean"], rel=0.02)
    assert bundled["count"] < 500 + 50 + 50 < whole["count"]
