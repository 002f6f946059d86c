import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from tests.model.engine import Law, run
from vllmperf.model.regression import fit
from vllmperf.model.steps import steps
from vllmperf.model.stretches import decode_stretches


def fitted(law: Law, seed: int):
    runs = [
        steps(run(law, streams, 6 * streams, 100, (60, 120), seed=100 * seed + streams).arrivals)
        for streams in (1, 4, 16, 48)
    ]
    found = decode_stretches(runs)
    x = np.stack([np.ones(len(found)), found.decodes], axis=1)
    return fit(x, found.step_ms, found.count.astype(float), found.block)


def test_alpha_and_beta_are_found_within_one_percent_with_noise_of_steps_and_stamps():
    law = Law(alpha=7.0, beta=0.05, step_noise=0.1, stamp_noise=0.2)
    alpha, beta = fitted(law, 1).values
    assert alpha == pytest.approx(law.alpha, rel=0.01)
    assert beta == pytest.approx(law.beta, rel=0.03)


@pytest.mark.slow
def test_the_intervals_hold_the_truth_about_as_often_as_they_say():
    law = Law(step_noise=0.2, stamp_noise=0.3)
    held = 0
    for seed in range(20):
        found = fitted(law, seed)
        held += int(found.low[0] <= law.alpha <= found.high[0]) + int(
            found.low[1] <= law.beta <= found.high[1]
        )
    assert held >= 34  # 38 expected of 40; 33 or fewer would happen once in 500 times


def test_the_band_of_the_line_is_as_wide_as_the_intervals_of_its_ends():
    found = fitted(Law(step_noise=0.2, stamp_noise=0.3), 5)
    assert 1.96 * np.sqrt(np.diag(found.covariance)) == pytest.approx((found.high - found.low) / 2)


def test_a_straight_law_is_not_called_bent():
    assert fitted(Law(step_noise=0.1, stamp_noise=0.1), 3).lack_of_fit_p > 0.001


def test_one_batch_size_cannot_tell_alpha_from_beta():
    with pytest.raises(ValueError, match="cannot tell"):
        fit(np.ones((5, 2)), np.ones(5), np.ones(5), np.arange(5))
