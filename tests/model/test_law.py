from dataclasses import replace

import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from tests.model.engine import Law, run
from vllmperf.errors import UsageError
from vllmperf.model.law import fit_runs, measured

SHAPES = ((1, 128), (1, 512), (4, 128), (16, 128), (48, 128), (16, 512))


def points(law: Law, seed: int = 0, shapes=SHAPES):
    return [
        measured(
            f"{streams} x {prompt}",
            run(law, streams, 6 * streams + 20, prompt, (60, 120), seed=seed * 10 + place).arrivals,
            held_out=(streams, prompt) == (16, 512),
            concurrency=streams,
        )
        for place, (streams, prompt) in enumerate(shapes)
    ]


def test_all_parameters_of_a_known_law_are_found():
    law = Law(alpha=7, beta=0.05, gamma=2, delta=0.01, front=1, step_noise=0.05, stamp_noise=0.05)
    found = fit_runs(points(law)).parameters
    assert found["alpha"].value == pytest.approx(7, rel=0.01)
    assert found["beta"].value == pytest.approx(0.05, rel=0.02)
    assert found["delta"].value == pytest.approx(0.01, rel=0.05)
    assert found["gamma"].value == pytest.approx(7 + 2 + 1, rel=0.02)  # TTFT without queueing: front and step
    assert found["step_gamma"].value == pytest.approx(2, rel=0.1)
    assert found["step_delta"].value == pytest.approx(0.01, rel=0.05)


def test_prefill_inside_the_steps_does_not_move_beta():
    dear = fit_runs(points(Law(gamma=10, delta=0.05))).parameters["beta"].value
    assert dear == pytest.approx(Law().beta, rel=0.01)


def test_the_held_out_run_is_predicted_and_not_fitted():
    result = fit_runs(points(Law(stamp_noise=0.05)))
    assert [point.label for point in result.points if point.held_out] == ["16 x 512"]
    assert abs(result.quality.hold_out_error) < 0.02


def test_runs_at_one_concurrency_are_refused_with_the_run_that_would_help():
    with pytest.raises(UsageError, match="another concurrency"):
        fit_runs(points(Law(), shapes=((1, 128), (1, 512))))


def test_prompts_of_one_length_leave_gamma_and_delta_unknown():
    result = fit_runs(points(Law(), shapes=((1, 128), (8, 128))))
    assert result.parameters["gamma"].value is None
    assert any("two prompt lengths" in warning for warning in result.warnings)
    assert result.to_dict()["parameters"]["gamma"] == {"value": None, "unit": "ms", "ci95": None}


def test_a_server_with_graph_sizes_is_called_bent():
    made = points(
        Law(stamp_noise=0.02), shapes=((1, 128), (2, 128), (5, 128), (9, 128), (17, 128), (33, 128))
    )
    bent = []
    for one in made:
        padded = 8 * -(-one.steps.decodes // 8)
        duration = one.steps.duration_ns + 2e5 * (padded - one.steps.decodes)
        bent.append(replace(one, steps=replace(one.steps, duration_ns=duration)))
    assert any("not a straight line" in warning for warning in fit_runs(bent).warnings)
    assert not any("not a straight line" in warning for warning in fit_runs(made).warnings)
