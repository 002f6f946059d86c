"""Distributions and comparisons of starts."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from made_starts import command, failed, phase, pod, ranked

from vllmperf.metrics.distributions import student_t
from vllmperf.report.startup.spans import family, parts_only, places, seconds_by_phase
from vllmperf.report.startup.statistics import compare, distribution, welch
from vllmperf.starts.phases import PHASES


def sets(n: int) -> tuple[list, list]:
    return [command(f"c{i}", 30.0 + i) for i in range(n)], [command(f"w{i}", 20.0 + i) for i in range(n)]


def test_percentiles_are_numpys_and_the_slowest_is_named() -> None:
    scales = [1.0, 3.0, 2.0, 1.5, 1.2]
    rows = {row.phase: row for row in distribution([pod(f"p{i}", scale=s) for i, s in enumerate(scales)])}
    seconds = [25.0 * s for s in scales]
    assert rows["compile"].p50_s == pytest.approx(np.percentile(seconds, 50))
    assert rows["compile"].p90_s == pytest.approx(np.percentile(seconds, 90))
    assert (rows["compile"].max_s, rows["compile"].slowest) == (75.0, "p1")
    assert list(rows)[-1] == "total"


def test_a_phase_that_some_starts_lack_is_counted_and_not_taken_as_0() -> None:
    rows = {row.phase: row for row in distribution([pod("a"), command("b"), failed()])}
    assert (rows["image_pull"].n, rows["image_pull"].p50_s) == (1, 20.0)
    assert rows["total"].n == 2


def test_gaps_of_one_start_add_up() -> None:
    start = command(phases=(phase("unattributed", 0, 1), phase("config", 1, 2), phase("unattributed", 2, 5)))
    assert seconds_by_phase(start) == {"config": 1.0, "unattributed": 4.0}


def test_ranks_do_not_add_to_the_servers_phase() -> None:
    assert seconds_by_phase(ranked(8))["weights_load"] == 17.0
    assert parts_only([ranked(8)]) == set()


def test_a_phase_within_others_has_its_longest_span_and_is_marked() -> None:
    beside = [phase("dynamo", 0, 3, rank=f"r{i}", critical=False) for i in range(2)]
    start = command(phases=(phase("compile", 0, 5), *beside))
    assert seconds_by_phase(start) == {"dynamo": 3.0, "compile": 5.0}
    assert parts_only([start]) == {"dynamo"}


def test_every_phase_has_a_family() -> None:
    for kind in PHASES:
        assert kind.name in family(kind.name).phases


@pytest.mark.parametrize(
    ("resolution", "shown"), [(None, 2), (1.0, 0), (60.0, 0), (0.1, 1), (0.05, 2), (1e-9, 2), (0, 2)]
)
def test_no_more_decimals_are_shown_than_the_stamps_have(resolution: float | None, shown: int) -> None:
    assert places(resolution) == shown


# ---- change ----


def test_the_change_is_that_of_the_means() -> None:
    a, b = sets(3)
    total = compare(a, b)[-1]
    assert (total.mean_a_s, total.mean_b_s) == (31.0, 21.0)
    assert total.change_s == pytest.approx(-10)
    assert total.change_share == pytest.approx(-10 / 31)
    assert total.spread_s == pytest.approx((-12, -8))
    assert total.is_sure


def test_three_starts_a_side_have_an_interval_and_two_have_none() -> None:
    assert compare(*sets(3))[-1].interval_s is not None
    assert compare(*sets(2))[-1].interval_s is None
    assert compare(*sets(2))[-1].is_sure  # all of the spread is below 0


def test_a_phase_of_one_side_has_no_change() -> None:
    changes = {row.phase: row for row in compare([pod()], [command()])}
    assert changes["image_pull"].change_s is None
    assert changes["image_pull"].mean_b_s is None
    assert not changes["image_pull"].is_sure


def test_what_the_stamps_cannot_tell_is_not_called_sure() -> None:
    def whole(total_s: float) -> list:
        return [command(f"{total_s}", total_s, phases=(phase("config", 0, total_s),)) for _ in range(3)]

    assert not compare(whole(30.0), whole(29.0))[-1].is_sure
    assert compare(whole(30.0), whole(27.0))[-1].is_sure


def test_failed_starts_are_not_compared() -> None:
    a, b = sets(3)
    assert compare([*a, failed()], b)[-1].n_a == 3


def test_welchs_interval_is_that_of_a_worked_example() -> None:
    # Welch's t for (1, 2, 3, 4) and (4, 6, 8): difference 3.5, s² 5/3 and 4, standard error sqrt(5/12 + 4/3)
    low, high = welch([1, 2, 3, 4], [4, 6, 8]) or (math.nan, math.nan)
    error = math.sqrt(5 / 12 + 4 / 3)
    degrees = (5 / 12 + 4 / 3) ** 2 / ((5 / 12) ** 2 / 3 + (4 / 3) ** 2 / 2)
    assert (low + high) / 2 == pytest.approx(3.5)
    assert (high - low) / 2 == pytest.approx(student_t(0.975, degrees) * error)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    dice = random.Random(7)
    hits = 0
    for _ in range(400):
        a = [dice.gauss(100, 3) for _ in range(4)]
        b = [dice.gauss(90, 1) for _ in range(4)]
        low, high = welch(a, b) or (math.nan, math.nan)
        hits += low <= -10 <= high
    assert 0.92 <= hits / 400 <= 0.99
