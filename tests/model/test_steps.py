import numpy as np
import pytest

from tests.model.engine import Law, run
from vllmperf.model.steps import steps


@pytest.mark.parametrize("streams", [1, 2, 8, 40])
def test_every_step_of_the_engine_is_found(streams):
    made = run(Law(), streams, requests=4 * streams, prompt=100, output=(5, 40))
    found = steps(made.arrivals)
    assert len(found) == made.steps
    assert found.decodes.tolist() == made.decodes
    assert found.regular == 1.0


def test_steps_are_told_apart_when_their_arrivals_are_spread_over_a_good_part_of_the_step():
    made = run(Law(stamp_noise=0.5), 30, requests=120, prompt=100, output=(5, 40))
    found = steps(made.arrivals)
    assert found.regular > 0.995
    assert abs(len(found) - made.steps) <= 0.01 * made.steps


def test_a_bunch_that_was_written_in_two_halves_is_one_step():
    made = run(Law(), 10, requests=10, prompt=100, output=50)
    late = (made.arrivals.stream >= 5) & (made.arrivals.place > 3) & (made.arrivals.place % 7 == 0)
    at = made.arrivals.at_ns + np.where(late, 3.5e6, 0.0)
    order = np.argsort(at, kind="stable")
    moved = type(made.arrivals)(
        at[order],
        made.arrivals.stream[order],
        made.arrivals.place[order],
        made.arrivals.shared,
        made.arrivals.sent_ns,
        made.arrivals.first_ns,
        made.arrivals.prompt_tokens,
        0.0,
    )
    assert steps(moved).decodes.tolist() == made.decodes


def test_a_step_with_a_request_waiting_for_its_first_token_is_not_pure():
    made = run(Law(), 4, requests=12, prompt=100, output=(10, 20))
    found = steps(made.arrivals)
    assert not found.pure[found.admitted > 0].any()
    law = Law()
    pure = found.duration_ns[found.pure] / 1e6
    assert np.allclose(pure, law.alpha + law.beta * found.decodes[found.pure], atol=1e-3)


def test_no_arrivals_give_no_steps():
    made = run(Law(), 1, requests=1, prompt=10, output=1)
    none = type(made.arrivals)(
        *(
            column[:0]
            for column in (
                made.arrivals.at_ns,
                made.arrivals.stream,
                made.arrivals.place,
                made.arrivals.shared,
            )
        ),
        made.arrivals.sent_ns,
        made.arrivals.first_ns,
        made.arrivals.prompt_tokens,
        0.0,
    )
    assert len(steps(none)) == 0
