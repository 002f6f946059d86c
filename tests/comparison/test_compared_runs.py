"""Runs against each other: what chance allows, which runs are pairs, and what else differs."""

import json

import pytest
from loaded_runs import loaded_run
from synthetic import failed, steady, write_run

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.comparison.setup import setup


def marked(found):
    return [row.key for row in found.rows if row.is_beyond_chance]


@pytest.mark.parametrize("paired", [False, True])
def test_equal_runs_are_called_different_in_at_most_one_of_ten_comparisons(tmp_path, paired):
    alarms, pairs = 0, 10
    for i in range(pairs):
        a, b = (
            loaded_run(tmp_path / f"{i}{name}.vllmperf", 2 * i + j, traffic=i if paired else None)
            for j, name in enumerate("ab")
        )
        found = vp.compare(a, b)
        assert found.is_paired == paired
        assert any(row.p is not None for row in found.rows)
        alarms += bool(marked(found))
    assert alarms <= 1


@pytest.mark.parametrize("paired", [False, True])
def test_ten_percent_longer_steps_are_beyond_chance(tmp_path, paired):
    for i in range(4):
        a = loaded_run(tmp_path / f"{i}a.vllmperf", 2 * i, traffic=i if paired else None)
        b = loaded_run(tmp_path / f"{i}b.vllmperf", 2 * i + 1, traffic=i if paired else None, slower=1.1)
        found = vp.compare(a, b)
        (itl,) = (row for row in found.rows if row.key == "mean_itl_ms")
        assert itl.is_beyond_chance
        assert itl.tested.low > 0
        assert itl.change > 0.09


def test_pairs_know_more_than_independent_runs(tmp_path):
    a, b = (loaded_run(tmp_path / f"{i}.vllmperf", i, traffic=1) for i in range(2))
    c, d = (loaded_run(tmp_path / f"{i}{i}.vllmperf", i) for i in range(2))
    widths = []
    for pair in ((a, b), (c, d)):
        (row,) = (row for row in vp.compare(*pair).rows if row.key == "mean_e2el_ms")
        widths.append(row.tested.high - row.tested.low)
    assert widths[0] < widths[1] / 4


def test_the_table_says_what_is_beyond_chance_and_fits_80_columns(tmp_path, capsys, monkeypatch):
    from vllmperf.report.compare import text

    a = loaded_run(tmp_path / "before.vllmperf", 0, traffic=1)
    b = loaded_run(tmp_path / "after.vllmperf", 1, traffic=1, slower=1.1)
    found = vp.compare(a, b)
    narrow, wide = text(found, 80), text(found, 120)
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.splitlines()[0].split() == ["A", "before.vllmperf"]
    (line,) = (line for line in wide.splitlines() if line.strip().startswith("Mean ITL"))
    assert line.endswith("worse")
    assert "%*" in line
    assert "times of requests are paired" in narrow.replace("\n  ", " ")


def test_the_json_keeps_its_keys_and_gains_the_interval(tmp_path, capsys):
    a, b = (
        str(loaded_run(tmp_path / f"{name}.vllmperf", i, traffic=1, slower=1 + i / 10))
        for i, name in enumerate("ab")
    )
    assert main(["compare", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    row = found["figures"]["mean_itl_ms"]
    assert list(row) == ["a", "b", "change", "difference", "ci95", "change_ci95", "p", "beyond_chance"]
    assert row["ci95"][0] <= row["difference"] <= row["ci95"][1]
    assert row["beyond_chance"] is True
    assert list(found["figures"]["completed"]) == ["a", "b", "change"]
    assert found["paired"] is True
    assert found["differs"] == {"plan": {}, "environment": {}}


def test_more_than_two_runs_are_each_held_against_the_first_with_fewer_false_alarms(tmp_path, capsys):
    paths = [str(loaded_run(tmp_path / f"{name}.vllmperf", i, traffic=1)) for i, name in enumerate("abc")]
    assert main(["compare", *paths, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"]
    assert [(one["a"]["name"], one["b"]["name"]) for one in found] == [
        ("a.vllmperf", "b.vllmperf"),
        ("a.vllmperf", "c.vllmperf"),
    ]
    alone = vp.compare(paths[0], paths[1]).to_dict()["figures"]["mean_itl_ms"]["p"]
    assert found[0]["figures"]["mean_itl_ms"]["p"] == pytest.approx(min(2 * alone, 1.0))
    assert repr(vp.compare(*paths)).count("Mean ITL") == 2


def test_what_differs_in_plan_and_machine_is_listed_and_readings_of_the_moment_are_not():
    plan = {
        "seed": 0,
        "dataset_name": "random",
        "request_rate": 10.0,
        "label": "x",
        "simulator": {"itl_ms": "2"},
    }
    other = plan | {
        "request_rate": 20.0,
        "label": "y",
        "simulator": {"itl_ms": "3"},
        "request_id_prefix": "z",
    }
    here = {"kernel": "Linux 1", "load_average": [1], "selftest": {"at": 1}}
    there = {"kernel": "Linux 2", "load_average": [9], "selftest": {"at": 2}}
    found = setup({"plan": plan, "environment": here}, {"plan": other, "environment": there})
    assert list(map(str, found.plan)) == ["request_rate 10 → 20", "simulator.itl_ms 2 → 3"]
    assert list(map(str, found.environment)) == ["kernel Linux 1 → Linux 2"]
    assert not found.is_paired


def test_the_port_that_a_simulator_got_is_no_difference():
    sides = ({"seed": 0, "simulator": {}, "base_url": f"http://127.0.0.1:{port}"} for port in (1, 2))
    first, second = ({"plan": plan, "environment": {}} for plan in sides)
    assert setup(first, second).plan == ()


def test_runs_of_another_seed_are_no_pairs_and_that_is_a_difference(tmp_path):
    a, b = (loaded_run(tmp_path / f"{i}.vllmperf", i) for i in range(2))
    found = vp.compare(a, b)
    assert not found.is_paired
    assert list(map(str, found.setup.plan)) == ["seed 0 → 1"]
    assert "The plan differs: seed 0 → 1" in repr(found)


def test_runs_that_completed_other_requests_are_compared_as_independent_ones(tmp_path):
    plan = {"seed": 0, "dataset_name": "random"}
    a = write_run(tmp_path / "a.vllmperf", steady(100), plan)
    b = write_run(tmp_path / "b.vllmperf", steady(200)[100:], plan)
    (row,) = (row for row in vp.compare(a, b).rows if row.key == "mean_ttft_ms")
    assert row.change == 0.0
    assert not row.is_beyond_chance


def test_a_run_without_completed_requests_has_no_chance(tmp_path):
    a = write_run(tmp_path / "a.vllmperf", [], {"seed": 0, "dataset_name": "random"})
    found = vp.compare(a, a)
    assert [row for row in found.rows if row.tested] == []
    assert "Failed requests" in repr(found)


def test_failures_stand_in_the_table(tmp_path):
    plan = {"seed": 0, "dataset_name": "random"}
    a = write_run(tmp_path / "a.vllmperf", steady(100), plan)
    b = write_run(tmp_path / "b.vllmperf", [*steady(99), failed(99, "refused", "no", sent=4_000.0)], plan)
    (line,) = (line for line in repr(vp.compare(a, b)).splitlines() if "Failed requests" in line)
    assert line.split()[2:4] == ["0", "1"]
