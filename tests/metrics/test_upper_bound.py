"""MLCommons' upper bound, against the numbers that its own documentation gives."""

import numpy as np
import pytest

from vllmperf.metrics.upper_bound import discarded, upper_bounds


@pytest.mark.parametrize(("percentile", "count"), [(90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_it_takes_as_many_values_as_mlcommons_says(percentile, count):
    assert discarded(count, percentile) == 1
    assert discarded(count - 1, percentile) == 0


def test_of_40000_values_the_353rd_largest_is_the_bound_of_p99():
    assert discarded(40_000, 99) == 353  # the example of its documentation


def test_the_bound_is_a_value_of_the_sample_above_the_percentile():
    values = np.random.default_rng(0).permutation(np.arange(1.0, 40_001.0))
    bound, tail, low, last = upper_bounds(values, [99, 99.99, 10, 100])
    assert bound == 40_001 - 353
    assert tail is None
    assert low is None
    assert last is None


def test_few_values_have_no_bound():
    assert upper_bounds(np.arange(5.0), [50, 99]) == [None, None]
    assert upper_bounds(np.zeros(0), [50]) == [None]
