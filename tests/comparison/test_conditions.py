"""--fail-if on compare and report, and its JUnit file."""

import json
import math
import re
from xml.etree import ElementTree

import pytest
from loaded_runs import PLAN, loaded_run
from synthetic import Request, write_run

from vllmperf.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    a = loaded_run(folder / "a.vllmperf", 0, traffic=1)
    same = loaded_run(folder / "same.vllmperf", 1, traffic=1)
    slow = loaded_run(folder / "slow.vllmperf", 2, traffic=1, slower=1.1)
    return {"a": str(a), "same": str(same), "slow": str(slow)}


@pytest.mark.parametrize(
    ("other", "condition", "code"),
    [
        ("slow", "itl_mean +5%", 1),
        ("slow", "itl_mean +20%", 0),
        ("slow", "itl_mean -5%", 0),
        ("same", "itl_mean +0%", 0),
        ("slow", "itl_mean>1ms", 1),
        ("slow", "itl_mean>1s", 0),
        ("slow", "itl_mean < 1 s", 1),
        ("slow", "requests_per_s<1", 0),
        ("slow", "requests_per_s<1000/s", 1),
        ("slow", "ttft_p99.9 +5%", 4),  # nobody can tell with so few requests
        ("slow", "goodput_share<99%", 4),  # not measured
    ],
)
def test_a_condition_that_holds_ends_with_1_one_that_nobody_can_judge_with_4_and_each_with_a_line(
    runs, capsys, other, condition, code
):
    assert main(["compare", runs["a"], runs[other], "--fail-if", condition]) == code
    (line,) = capsys.readouterr().err.splitlines()
    outcome = {0: "passed", 1: "FAILED", 4: "cannot tell"}[code]
    assert line.startswith(f"vllmperf: {outcome} {condition}: {other}.vllmperf: ")


def test_how_many_requests_would_do_is_what_the_runs_show_and_more_than_they_have(runs, tmp_path, capsys):
    """Times that drift tell less than as many independent ones."""
    drift = [20.0 + 15 * math.sin(i / 60) for i in range(200)]
    for name in ("b", "c"):
        requests = [Request(i, sent=50.0 * i, ttft=value) for i, value in enumerate(drift)]
        write_run(tmp_path / f"{name}.vllmperf", requests, PLAN | {"seed": name, "num_prompts": 200})
    paths = [str(tmp_path / f"{name}.vllmperf") for name in ("b", "c")]
    assert main(["compare", *paths, "--fail-if", "ttft_mean +5%"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    (count,) = re.findall(r"too few requests to tell it from chance; about ([\d,]+) requests", line)
    assert int(count.replace(",", "")) > 200


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("tftf_p99>5ms", "did you mean ttft_p99?"),
        ("ttft_p99", "is no condition: write ttft_p99>500ms"),
        ("ttft_p99>5parsecs", "ttft_p99 is in ms, not in 'parsecs'"),
        ("requests_per_s>5ms", "requests_per_s is in requests/s, not in 'ms'"),
        ("ttft_p99 5%", "is no condition"),
    ],
)
def test_a_bad_condition_is_one_line_and_2(runs, capsys, condition, message):
    assert main(["compare", runs["a"], runs["same"], "--fail-if", condition]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_change_of_files_of_figures_alone_cannot_be_told_from_chance(tmp_path, runs, capsys):
    (tmp_path / "v.json").write_text('{"duration": 1.0, "completed": 2, "mean_ttft_ms": 4.0}')
    assert main(["compare", str(tmp_path / "v.json"), runs["a"], "--fail-if", "ttft_mean +5%"]) == 2
    assert "v.json has figures only" in capsys.readouterr().err
    assert main(["compare", runs["a"], str(tmp_path / "v.json"), "--fail-if", "ttft_mean>5ms"]) == 0


def test_the_junit_file_has_a_case_for_each_condition(tmp_path, runs):
    file = tmp_path / "junit.xml"
    conditions = ["itl_mean +5%", "itl_mean>1s", "ttft_p99.9 +5%"]
    words = [word for one in conditions for word in ("--fail-if", one)]
    assert main(["compare", runs["a"], runs["slow"], *words, "--junit", str(file)]) == 1
    root = ElementTree.parse(file).getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    assert (suite.tag, suite.get("tests"), suite.get("failures"), suite.get("errors")) == (
        "testsuite",
        "3",
        "1",
        "1",
    )
    assert [case.get("name") for case in suite] == conditions
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["system-out"], ["error"]]
    assert all(case.get("classname") for case in suite)
    assert "beyond chance" in suite[0][0].get("message")


def test_a_condition_that_holds_outweighs_one_that_nobody_can_judge(runs, capsys):
    words = [
        "compare",
        runs["a"],
        runs["slow"],
        "--fail-if",
        "ttft_p99.9 +5%",
        "--fail-if",
        "itl_mean +5%",
        "--json",
    ]
    assert main(words) == 1
    told = json.loads(capsys.readouterr().out)["conditions"]
    assert [one["outcome"] for one in told] == ["cannot tell", "failed"]
    assert main(["report", runs["a"], "--fail-if", "goodput_share<99%", "--fail-if", "itl_mean>1s"]) == 4


def test_a_run_and_itself_do_not_differ_however_few_the_requests(tmp_path, capsys):
    path = tmp_path / "\x1b[31mfew.vllmperf"
    write_run(path, [Request(i, sent=50.0 * i, ttft=20.0 + i) for i in range(5)], PLAN | {"num_prompts": 5})
    for condition in ("ttft_mean +5%", "ttft_p99 +0%"):
        assert main(["compare", str(path), str(path), "--fail-if", condition]) == 0
    assert main(["check", str(path)]) in (0, 1)
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err  # nor may a file's name reach the terminal as it is


def test_report_takes_absolute_conditions_and_sends_relative_ones_to_compare(runs, capsys):
    assert main(["report", runs["a"], "--fail-if", "itl_p90>1ms"]) == 1
    assert "FAILED itl_p90>1ms: P90 ITL is" in capsys.readouterr().err
    assert main(["report", runs["a"], "--fail-if", "itl_p90>10s"]) == 0
    assert main(["report", runs["a"], "--fail-if", "itl_p90 +5%"]) == 2
    assert "vllmperf compare BASELINE RUN" in capsys.readouterr().err


def test_a_percentile_that_the_summary_does_not_have_is_computed(runs, capsys):
    assert main(["report", runs["a"], "--fail-if", "itl_p97>1ms"]) == 1
    assert "P97 ITL is" in capsys.readouterr().err


def test_junit_without_a_condition_is_one_line(runs, capsys):
    assert main(["compare", runs["a"], runs["same"], "--junit", "x.xml"]) == 2
    assert "--fail-if" in capsys.readouterr().err


def test_bench_ends_with_1_when_a_condition_holds(capsys):
    words = ["bench", "--sim", "ttft_ms=2", "--num-prompts=5", "--output-len=4", "--no-progress"]
    assert main([*words, "--fail-if", "ttft_mean>0.1ms"]) == 1
    assert "FAILED ttft_mean>0.1ms: Mean TTFT is" in capsys.readouterr().err
    assert main([*words, "--fail-if", "ttft_mean +5%"]) == 2
