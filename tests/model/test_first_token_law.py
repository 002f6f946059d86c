"""gamma and delta from prompts alone and from prompts beside others."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from tests.model.engine import Law, run
from vllmperf.model.prefill import first_token_law, round_trip_ms, stamp_lateness_ms, step_law
from vllmperf.model.steps import steps

LAW = Law(alpha=10, beta=0.1, gamma=2, delta=0.02, front=1, step_noise=0.2, stamp_noise=0.1)


def lone(law: Law = LAW, trip_ms: float = 0.0, seed: int = 0):
    """Prompts of two lengths, one at a time with a pause after each; tokens are late by trip_ms, headers need as long."""
    made = [run(law, 1, 60, prompt, (3, 6), seed=seed + prompt).arrivals for prompt in (128, 512)]
    late, pause = int(trip_ms * 1e6), 5_000_000
    pauses = pause * np.arange(60)
    return [
        replace(
            one,
            at_ns=one.at_ns + late + pause * one.stream,
            sent_ns=one.sent_ns + pauses,
            first_ns=one.first_ns + late + pauses,
            headers_ns=one.sent_ns + late + pauses,
        )
        for one in made
    ]


def beside(law: Law = LAW, seed: int = 0):
    return [steps(run(law, 4, 200, prompt, (8, 16), seed=seed + prompt).arrivals) for prompt in (128, 512)]


def test_delta_is_known_better_from_both_than_from_prompts_alone():
    step = step_law(beside(), LAW.alpha, LAW.beta)
    both, only = first_token_law(lone(), step, 0.0), first_token_law(lone(), None, 0.0)
    assert both.pooled
    width = [found.law.high[1] - found.law.low[1] for found in (both, only)]
    assert width[0] < 0.8 * width[1]
    assert both.law.low[1] < LAW.delta < both.law.high[1]


def test_a_delta_that_differs_beside_others_is_kept_apart_and_said():
    step = step_law(beside(replace(LAW, delta=0.01)), LAW.alpha, LAW.beta)
    found = first_token_law(lone(), step, 0.0)
    assert not found.pooled
    assert found.law.values[1] == pytest.approx(LAW.delta, rel=0.05)
    assert any("when alone" in warning for warning in found.warnings)


def test_the_way_there_and_back_is_taken_off_gamma():
    late = first_token_law(lone(trip_ms=1.5), None, 0.1)
    assert round_trip_ms(lone(trip_ms=1.5)) == pytest.approx(1.5)
    truth = LAW.front + LAW.alpha + LAW.gamma
    assert late.late_ms == pytest.approx(1.55)
    assert late.law.values[0] == pytest.approx(truth, abs=0.3)
    assert late.law.low[0] < truth < late.law.high[0]


def test_headers_that_come_with_the_first_token_tell_nothing_of_the_way():
    runs = [replace(one, headers_ns=one.first_ns) for one in lone()]
    assert round_trip_ms(runs) is None
    assert first_token_law(runs, None, 0.2).late_ms == pytest.approx(0.3)


def test_how_late_stamps_are_is_seen_by_neighbours_that_go_against_one_another():
    late = Law(step_noise=0.1, stamp_noise=0.6)
    one = [steps(run(late, 1, 20, 100, (60, 120), seed=seed).arrivals) for seed in range(3)]
    assert stamp_lateness_ms(one) == pytest.approx(0.6, rel=0.25)
    quiet = [steps(run(Law(step_noise=0.3), 1, 20, 100, (60, 120), seed=seed).arrivals) for seed in range(3)]
    assert stamp_lateness_ms(quiet) < 0.12


def test_the_intervals_of_gamma_and_delta_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(20):
        law = replace(LAW, stamp_noise=0.3)
        trip = float(np.random.default_rng(seed).uniform(0.05, 0.4))
        step = step_law(beside(law, seed), law.alpha, law.beta)
        found = first_token_law(lone(law, trip, seed), step, 0.3).law
        truth = (law.front + law.alpha + law.gamma, law.delta)
        held += sum(low < value < high for low, value, high in zip(found.low, truth, found.high, strict=True))
    assert held >= 34


def test_prompts_in_several_steps_do_not_count_as_what_one_step_takes():
    one = beside()[0]
    held = replace(one, pending=one.pending + 5)
    with pytest.raises(ValueError, match="one length"):
        step_law([held], LAW.alpha, LAW.beta)
