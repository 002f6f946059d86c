"""Replicas through a burst, against simulations that the answer did not see; what tokens cost; start-up times from files."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from vllmperf.cli import main
from vllmperf.errors import SettingError, UsageError
from vllmperf.model.burst import Burst, jump, replicas_for, wait_s
from vllmperf.model.cost import Cost
from vllmperf.model.goal_rate import Goals
from vllmperf.model.parameters import Fit, Parameter, Point, Quality
from vllmperf.model.simulate import Load, Replica, saturated_per_s
from vllmperf.model.size_settings import SizeSettings, _basis, startup_seconds
from vllmperf.model.sizing import Sizing

REPLICA = Replica(7.0, 0.5, 1.5, 0.02, 0.5, 8)
LOAD = Load(256, 16, 0.2, 0.2)
GOALS = Goals(ttft_ms=300, percentile=99)
EACH = 28.0
"""Requests/s that a replica carries within the goal for long, about."""


@pytest.fixture(autouse=True)
def short_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllmperf.model.sizing.AT_BEST", 20_000)


def kept(count: int, before: float, burst: float, startup_s: float) -> float:
    """Share of the requests of the start-up within the goal, by other seeds."""
    parts = [
        jump(REPLICA, LOAD, before / count, burst / count, startup_s, 1000 + seed)[0] for seed in range(30)
    ]
    return float(np.mean(np.concatenate(parts) <= 300))


def test_so_many_replicas_keep_the_goal_through_the_start_up_and_one_fewer_does_not() -> None:
    needed = replicas_for(REPLICA, LOAD, GOALS, 100, 300, 20.0, most=11)
    assert kept(needed, 100, 300, 20.0) > 0.98
    assert kept(needed - 1, 100, 300, 20.0) < 0.985


def test_the_sooner_new_replicas_serve_the_fewer_must_be_there() -> None:
    soon, late = (
        replicas_for(REPLICA, LOAD, GOALS, 100, 300, startup_s, most=11) for startup_s in (1.0, 120.0)
    )
    assert soon < late
    assert late >= 300 / EACH - 1


def test_the_queue_grows_by_what_a_replica_does_not_serve() -> None:
    most = saturated_per_s(REPLICA, LOAD)
    ttft, _ = jump(REPLICA, LOAD, 10, 2 * most, 20.0, 5)
    assert float(np.mean(ttft[-20:])) / 1000 == pytest.approx(wait_s(2 * most, most, 20.0), rel=0.1)
    assert wait_s(0.9 * most, most, 20.0) == 0


def test_spare_replicas_are_those_beyond_what_the_load_before_needs() -> None:
    burst = Burst(300, 20, 4, 10, 9, 11, 11, 0.5)
    assert burst.spare == 6
    assert burst.to_dict()["spare_replicas"] == {"value": 6, "ci95": [5, 7]}
    assert Burst(300, 20, 12, 10, 9, 11, 11, 0.5).spare == 0


def test_tokens_cost_what_their_gpus_cost() -> None:
    cost = Cost(gpus=2, price=3.6, output_tokens_per_s=1000, input_tokens_per_s=3000)
    assert cost.output_tokens_per_s_per_gpu == 500
    assert cost.per_million_output_tokens == pytest.approx(2.0)  # 7.2 an hour for 3.6 million
    assert cost.per_million_tokens == pytest.approx(0.5)
    assert cost.scaled(0.5).per_million_output_tokens == pytest.approx(4.0)
    assert Cost(1, None, 10, 10).per_million_tokens is None


def test_the_start_up_is_the_longest_that_came_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "starts.json"
    file.write_text(json.dumps({"starts": [{"total_s": 61.5}, {"total_s": 80.25}, {"total_s": None}]}))
    assert startup_seconds(str(file)) == 80.25
    assert startup_seconds("1m30s") == 90
    assert startup_seconds(45) == 45


def test_the_start_up_of_a_parsed_log_is_what_parse_log_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import vllmperf
    from vllmperf.sim.startup_log import StartupScript, write

    log, parsed = tmp_path / "server.log", tmp_path / "parsed.json"
    log.write_bytes(write(StartupScript(), 1_780_000_000_000_000_000))
    assert main(["parse-log", str(log), "--json"]) == 0
    parsed.write_text(capsys.readouterr().out)
    assert startup_seconds(parsed) == pytest.approx(vllmperf.parse_log(log).start.total_s, abs=0.01)


@pytest.mark.parametrize("content", ["{}", "[]", '{"starts": [{"total_s": null}]}', "no JSON"])
def test_a_file_without_a_start_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "starts.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"starts\.json holds no start"):
        startup_seconds(file)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"burst": 300, "rate": 100}, "go together"),
        ({"burst": 300, "startup": 60}, "needs rate"),
        ({"burst": 90, "startup": 60, "rate": 100}, "must be above rate"),
        ({"burst": "fast", "startup": 60, "rate": 100}, "300, or 1.5x"),
        ({"price": 2.0}, "give gpus"),
        ({"price": -2.0, "gpus": 1}, "price must be at least 0"),
        ({"gpus": 0}, "gpus must be at least 1"),
    ],
)
def test_settings_that_say_too_little_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        SizeSettings(ttft=300, **settings)


def test_a_height_in_times_is_that_of_the_load() -> None:
    assert SizeSettings(ttft=300, rate=200, burst="1.5x", startup=60).burst_per_s == 300


def sizing(batch: float) -> Sizing:
    from vllmperf.model.simulate import Outcome

    empty = np.zeros(1)
    outcome = Outcome(10.0, empty, empty, empty, 10.0, 100.0, batch=batch)
    return Sizing(10.0, 9.0, 11.0, "ttft", outcome, None, None, None)


def test_what_lies_beyond_what_the_fit_saw_is_called_extrapolated() -> None:
    unknown = Parameter(7.0, None, None)
    point = Point("1", 1, 128.0, 16.0, 1.0, 7.0, 7.0, 9.0, 10, "steps")
    fit = Fit(
        {"alpha": unknown, "beta": unknown},
        Quality(9, 7, None, None, None, 99),
        (point,),
        (1.0, 4.0),
        (100.0, 150.0),
    )
    inside, beyond = _basis(fit, REPLICA, Load(128, 16), sizing(3.0)), _basis(fit, REPLICA, LOAD, sizing(6.0))
    assert inside[0] == "a fit of 1 runs that saw batches of 1 to 4"
    assert not any("extrapolated" in one for one in inside)
    assert [one.split(":")[0] for one in beyond[1:]] == ["extrapolated", "extrapolated"]


def test_the_command_answers_for_a_burst_and_for_money(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "size",
        "--alpha",
        "7",
        "--beta",
        "0.5",
        "--gamma",
        "9",
        "--delta",
        "0.02",
        "--max-num-seqs",
        "8",
    ]
    words += [
        "--input-len",
        "256",
        "--output-len",
        "4",
        "--ttft",
        "300",
        "--rate",
        "100",
        "--burst",
        "2x",
        "--startup",
        "30",
    ]
    assert main([*words, "--gpus", "2", "--price", "3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["burst"]["rate_per_s"] == 200
    assert (
        data["burst"]["replicas_before"]
        <= data["burst"]["replicas"]["value"]
        <= data["burst"]["replicas_after"]
    )
    rate = data["max_rate_per_s"]["value"]
    assert data["cost"]["at_max_rate"]["per_million_tokens"] == pytest.approx(
        6 / 3600 / (rate * 260) * 1e6, rel=0.02
    )
    assert (
        data["cost"]["at_the_load"]["per_million_tokens"] >= data["cost"]["at_max_rate"]["per_million_tokens"]
    )
    assert data["rests_on"] == [
        "parameters given as numbers, without intervals: the interval is that of the simulation alone"
    ]
