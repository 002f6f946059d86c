"""Effects over repeats: pairs, intervals, correction, sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vllmperf.report.sweep import _sentence
from vllmperf.sweeps.effects import HELD_AGAINST_CHANCE, corrected, over_repeats

NAMES = [one.name for one in HELD_AGAINST_CHANCE]


def effects(ratios: dict[str, list[float]], scale: list[float]):
    """Of a second set-up whose numbers are so many times those of the first; scale: what each seed makes of both."""
    first = {k: dict.fromkeys(ratios, factor) for k, factor in enumerate(scale)}
    second = {k: {name: factor * ratios[name][k] for name in ratios} for k, factor in enumerate(scale)}
    return corrected(list(over_repeats("b", "a", "", first, second)))


def test_what_seeds_share_is_in_no_effect():
    (found,) = effects({"ttft_p50": [0.70, 0.69, 0.71]}, [10.0, 40.0, 3.0])
    assert found.change == pytest.approx(-0.30, abs=0.001)
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.3 < found.high
    assert found.is_beyond_chance


def test_the_interval_is_that_of_student_over_the_logarithms():
    (found,) = effects({"itl_mean": [1.1, 1.2, 1.3]}, [1.0, 1.0, 1.0])
    logs = np.log([1.1, 1.2, 1.3])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    assert found.low == pytest.approx(math.expm1(logs.mean() - half), rel=1e-5)
    assert found.high == pytest.approx(math.expm1(logs.mean() + half), rel=1e-5)


def test_one_pair_cannot_tell():
    (found,) = effects({"itl_mean": [1.1]}, [1.0])
    assert found.change == pytest.approx(0.1)
    assert found.is_beyond_chance is None


def test_equal_set_ups_show_an_effect_in_few_sweeps():
    chance = np.random.default_rng(5)
    alarms = 0
    for _ in range(400):
        ratios = {name: np.exp(0.05 * chance.standard_normal(4)).tolist() for name in NAMES}
        alarms += any(one.is_beyond_chance for one in effects(ratios, [1.0] * 4))
    assert alarms <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_what_is_beyond_chance_only_alone_is_perhaps():
    flat = [1.0, 1.03, 0.97]
    found = effects({"ttft_p50": [0.2, 0.3, 0.4], **dict.fromkeys(NAMES[1:], flat)}, [1.0, 2.0, 3.0])
    assert not found[0].is_beyond_chance
    assert _sentence(found) == (
        "b against a: perhaps TTFT p50 −71 % (−88 … −31); TTFT p99, ITL, throughput no difference beyond chance"
    )


def test_the_sentence_has_changes_with_their_intervals_and_what_is_no_difference():
    noise = [0.97, 1.02, 1.01]
    found = effects(
        {
            "ttft_p50": [0.690, 0.691, 0.689],
            "ttft_p99": noise,
            "itl_mean": noise,
            "output_tokens_per_s": [1.12, 1.121, 1.119],
        },
        [1.0, 2.0, 3.0],
    )
    assert _sentence(found) == (
        "b against a: TTFT p50 −31 % (−31 … −31), throughput +12 % (+12 … +12); "
        "TTFT p99, ITL no difference beyond chance"
    )
