"""Drift over the hours: a slope with an interval that holds the truth, also where values resemble the ones before them."""

from __future__ import annotations

import numpy as np
import pytest

from vllmperf.metrics.trend import LEVEL, _trend_of, slope_of, words

HOURS = np.arange(240) * 0.05


def correlated(rng, n, phi):
    """An autoregressive series whose values have variance 1."""
    noise = rng.normal(size=n) * np.sqrt(1 - phi**2)
    values = np.empty(n)
    values[0] = rng.normal()
    for i in range(1, n):
        values[i] = phi * values[i - 1] + noise[i]
    return values


@pytest.mark.parametrize(("phi", "least"), [(0.0, 0.975), (0.5, 0.97), (0.8, 0.95)])
def test_the_interval_of_a_slope_holds_the_truth_as_often_as_it_says(phi, least):
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(1000):
        slope, half = slope_of(HOURS, 10 + 0.3 * HOURS + correlated(rng, len(HOURS), phi))
        held += abs(slope - 0.3) <= half
    assert held / 1000 >= least
    assert LEVEL == 0.99


def test_a_drift_is_found_and_said_with_its_size():
    rng = np.random.default_rng(3)
    found = _trend_of(
        "itl_ms_p50",
        "ITL p50",
        list(zip(HOURS * 3600, 20 + 0.2 * HOURS + rng.normal(size=240) * 0.1, strict=True)),
    )
    assert found["drifts"]
    assert found["per_hour"] == pytest.approx(0.2, abs=0.02)
    assert words(found).startswith("ITL p50 +0.9 %/h (+0.")
    assert "drift, +1" in words(found)


def test_no_drift_is_said_as_well():
    rng = np.random.default_rng(3)
    found = _trend_of(
        "ttft_ms_p50", "TTFT p50", list(zip(HOURS * 3600, 50 + rng.normal(size=240), strict=True))
    )
    assert not found["drifts"]
    assert words(found).endswith("): no drift")


def test_a_series_that_never_changes_has_no_drift():
    found = _trend_of("x", "x", [(at * 3600, 5.0) for at in HOURS.tolist()])
    assert words(found) == "x 0.0 %/h (0.0 … 0.0): no drift"


def test_too_few_blocks_have_no_trend():
    assert _trend_of("x", "x", [(i, 1.0) for i in range(39)]) is None
    assert _trend_of("x", "x", [(i, None) for i in range(100)]) is None
