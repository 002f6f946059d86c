"""The lags of a row are of what came since the row before, not of the run so far."""

from __future__ import annotations

import numpy as np
import pytest

import vllmperf._engine as _engine
from vllmperf.service.lags import Lags

MS = 1_000_000


def histogram(*values_ms: float) -> _engine.Histogram:
    made = _engine.Histogram()
    made.add(np.array(values_ms) * MS)
    return made


def test_a_hiccup_is_in_its_own_interval_alone() -> None:
    lags = Lags()
    calm, hiccup = [0.05] * 200, [80.0] * 50
    lags.take({"schedule_lag": histogram(*calm)})
    assert lags.p99_ms["schedule_lag_ms_p99"] == pytest.approx(0.05, rel=1e-3)
    lags.take({"schedule_lag": histogram(*calm, *hiccup)})
    assert lags.p99_ms["schedule_lag_ms_p99"] == pytest.approx(80.0, rel=1e-3)
    lags.take({"schedule_lag": histogram(*calm, *hiccup, *calm)})
    assert lags.p99_ms["schedule_lag_ms_p99"] == pytest.approx(0.05, rel=1e-3)


def test_the_same_histogram_again_says_nothing_new() -> None:
    lags, same = Lags(), histogram(3.0)
    lags.take({"schedule_lag": same})
    lags.take({"schedule_lag": same, "client_lag": histogram()})
    assert lags.p99_ms["schedule_lag_ms_p99"] == pytest.approx(3.0, rel=1e-3)


def test_an_interval_without_a_request_has_no_lag() -> None:
    lags = Lags()
    lags.take({"schedule_lag": histogram(3.0)})
    lags.take({"schedule_lag": histogram(3.0), "client_lag": histogram()})
    assert lags.p99_ms == {"schedule_lag_ms_p99": None, "client_lag_ms_p99": None}


def test_p99_of_a_difference_is_that_of_its_values() -> None:
    rng = np.random.default_rng(3)
    first, second = (rng.lognormal(0.0, 2.0, n) for n in (3000, 5000))
    lags = Lags()
    lags.take({"client_lag": histogram(*first)})
    lags.take({"client_lag": histogram(*first, *second)})
    expected = np.quantile(second, 0.99, method="inverted_cdf")
    assert lags.p99_ms["client_lag_ms_p99"] == pytest.approx(expected, rel=1e-3)
