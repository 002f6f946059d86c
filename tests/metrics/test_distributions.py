"""Our quantiles and tails against SciPy's."""

import numpy as np
import pytest

from vllmperf.metrics.distributions import (
    beta,
    binomial_at_most,
    f_tail,
    order_levels,
    share_bounds,
    student_t,
    student_tail,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("degrees", [1, 2, 3.7, 8, 24, 1000])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.9995])
def test_students_t_agrees_with_scipy(probability, degrees):
    assert student_t(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-8)
    assert student_tail(1.3, degrees) == pytest.approx(stats.t.sf(1.3, degrees), rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "x"), [(0.5, 0.5, 0.1), (3, 200, 0.02), (5000, 60, 0.99), (2, 2, 0.0), (2, 2, 1.0)]
)
def test_the_beta_distribution_agrees_with_scipy(a, b, x):
    assert beta(a, b, x) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-9)


@pytest.mark.parametrize("f", [0.0, 0.3, 1.0, 9.0])
def test_the_tail_of_f_agrees_with_scipy(f):
    assert f_tail(f, 4, 17.2) == pytest.approx(stats.f.sf(f, 4, 17.2), rel=1e-9)


@pytest.mark.parametrize(("k", "n", "share"), [(1, 662, 0.01), (20, 6636, 0.001), (5, 5, 0.3), (0, 64, 0.1)])
def test_binomial_sums_agree_with_scipy(k, n, share):
    assert binomial_at_most(k, n, share) == pytest.approx(stats.binom.cdf(k, n, share), rel=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("n", [700, 2_500, 3_500, 40_000, 1_000_000])
def test_order_statistics_hold_the_quantile_with_the_probability_asked_for(share, n):
    low, high = (level * (n + 1) for level in order_levels(share, n, 0.95))
    assert stats.beta.cdf(share, low, n + 1 - low) == pytest.approx(0.975, abs=3e-4)
    assert stats.beta.cdf(share, high, n + 1 - high) == pytest.approx(0.025, abs=3e-4)


def test_a_share_has_the_bounds_of_jeffreys():
    low, high = share_bounds(0.03, 200.0, 0.95)
    assert np.allclose([low, high], stats.beta.ppf([0.025, 0.975], 6.5, 194.5), atol=1e-9)
    assert share_bounds(1.0, 50.0, 0.95)[1] == 1.0
    assert share_bounds(0.0, 50.0, 0.95)[0] == 0.0
