"""When a run has seen enough."""

import pytest

from vllmperf.metrics.intervals import Interval
from vllmperf.metrics.stopping import WIDER, first_check, is_precise, next_check, widened


def test_looks_are_few_and_far_between():
    assert first_check() == 100
    assert first_check(99) == 670
    checks = [100]
    while checks[-1] < 1_000_000:
        checks.append(next_check(checks[-1]))
    assert len(checks) < 25


def test_the_interval_that_counts_is_wider_on_both_sides():
    found = widened(10.0, Interval(9.0, 12.0, 500.0, None, 12))
    assert found.low == pytest.approx(10.0 - WIDER)
    assert found.high == pytest.approx(10.0 + 2 * WIDER)
    assert found.degrees == 12


def test_a_run_is_precise_only_by_the_wider_interval():
    assert is_precise(10.0, Interval(9.6, 10.4, 500.0), 0.05)
    assert not is_precise(10.0, Interval(9.55, 10.45, 500.0), 0.05)


def test_without_an_interval_the_run_goes_on():
    nothing = Interval(None, None, 3.0, 800)
    assert not is_precise(10.0, nothing, 0.5)
    assert widened(10.0, nothing) == nothing
