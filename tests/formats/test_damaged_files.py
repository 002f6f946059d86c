"""Results that are cut, empty, or hold something else where a number belongs: one line of error or a WRONG, never a traceback,
never a pass."""

from __future__ import annotations

import copy
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.formats import runs

VLLM: dict[str, Any] = {
    "num_prompts": 50, "request_rate": "inf", "max_concurrency": None, "duration": 5.0, "completed": 50,
    "total_input_tokens": 500, "total_output_tokens": 500, "request_throughput": 10.0, "output_throughput": 100.0,
    "total_token_throughput": 200.0, "mean_ttft_ms": 40.0, "median_ttft_ms": 40.0, "p99_ttft_ms": 60.0,
}  # fmt: skip
BLOCK = {
    "mean": 40.0,
    "std_dev": 1.0,
    "min": 38.0,
    "max": 44.0,
    "count": 50,
    "percentiles": {"p50": 40.0, "p99": 43.0},
}
GUIDELLM: dict[str, Any] = {
    "benchmarks": [
        {
            "duration": 5.0,
            "args": {"strategy": {"type_": "concurrent", "streams": 4}},
            "metrics": {
                "request_totals": {"successful": 50, "errored": 0, "incomplete": 0, "total": 50},
                "time_to_first_token_ms": {"successful": BLOCK},
                "output_token_count": {"successful": {**BLOCK, "mean": 10.0}},
            },
        }
    ]
}
AIPERF: dict[str, Any] = {
    "request_latency": {"unit": "ms", "avg": 100.0, "p50": 100.0},
    "request_count": {"unit": "requests", "avg": 50},
    "benchmark_duration": {"unit": "sec", "avg": 5.0},
    "input_config": {"phases": [{"kind": "profiling", "concurrency": 4}]},
}
CSV = "Provider,Model,Concurrency,Total Latency,Num Tokens,Num Requests,Qps\n"
ROW = "vllm,m,2,85.0,80.0,54,18.0\n"
NAN = math.nan


def at(data: dict[str, Any], value: Any, *path: str | int) -> str:
    """The file with another value there."""
    made = copy.deepcopy(data)
    part: Any = made
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return json.dumps(made)


METRICS = ("benchmarks", 0, "metrics")
WRONG = {
    "vllm NaN": at(VLLM, NAN, "mean_ttft_ms"),
    "vllm NaN requests": at(VLLM, NAN, "completed"),
    "vllm hundreds of digits": at(VLLM, 10**400, "completed"),
    "vllm infinite": at(VLLM, math.inf, "duration"),
    "guidellm NaN": at(GUIDELLM, NAN, *METRICS, "time_to_first_token_ms", "successful", "mean"),
    "guidellm NaN requests": at(GUIDELLM, NAN, *METRICS, "request_totals", "successful"),
    "guidellm NaN tokens": at(GUIDELLM, NAN, *METRICS, "output_token_count", "successful", "mean"),
    "guidellm text": at(GUIDELLM, "x", *METRICS, "time_to_first_token_ms", "successful", "mean"),
    "guidellm text duration": at(GUIDELLM, "x", "benchmarks", 0, "duration"),
    "aiperf NaN": at(AIPERF, NAN, "request_count", "avg"),
    "aiperf text": at(AIPERF, "x", "request_latency", "p50"),
    "llm_bench NaN": CSV + ROW.replace("54", "nan"),
    "llm_bench infinite": CSV + ROW.replace("18.0", "1e999"),
    "first of two lines": at(VLLM, 1e6, "request_goodput") + "\n" + json.dumps(VLLM),
}
COUNTED = [
    name
    for name in VLLM
    if name.startswith(("completed", "total_", "request_thr", "output_", "mean", "med", "p99"))
]
ODD = {
    "guidellm no metrics": at(GUIDELLM, None, *METRICS),
    "guidellm text for objects": at(GUIDELLM, "x", "benchmarks", 0, "args"),
    "guidellm text for percentiles": at(
        GUIDELLM, "x", *METRICS, "time_to_first_token_ms", "successful", "percentiles"
    ),
    "guidellm text totals": at(GUIDELLM, "x", *METRICS, "request_totals"),
    "aiperf phases": at(AIPERF, 5, "input_config", "phases"),
    "indented": json.dumps(VLLM, indent=2),
    "nothing completed": json.dumps(VLLM | dict.fromkeys(COUNTED, 0)),
}
REFUSED = {
    "": "it is empty",
    "{}": "holds no run in a known format",
    "[1]": "holds no run in a known format",
    "null": "holds no run in a known format",
    json.dumps(VLLM)[:90]: "it begins as JSON and is broken: ",
    json.dumps(VLLM) + "\n" + json.dumps(VLLM)[:-90]: " in line 2, column ",
    at(VLLM, "5", "completed"): 'completed is no number but "5"',
    at(VLLM, None, "duration"): "duration is no number but null",
    at(GUIDELLM, None, "benchmarks", 0): "benchmark 1 is no object",
    at(GUIDELLM, [], "benchmarks"): "holds no run",
    CSV: "holds no run",
    CSV + ROW[:12]: "line 2 is cut",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = vp.bench(sim={"ttft_ms": 3, "itl_ms": 1}, num_prompts=30, max_concurrency=4, output_len=5)
    folder = tmp_path_factory.mktemp("sound")
    for name in ("run_file", "json"):
        runs.write(run, folder / name, name)
    return {"run": str(folder / "run_file"), "summary": json.loads((folder / "json").read_text())}


def readers(path: Path, sound: dict[str, Any]) -> list[list[str]]:
    return [
        ["compare", str(path), sound["run"]],
        ["reconcile", str(path), sound["run"]],
        ["report", str(path)],
    ]


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_no_number_is_wrong_for_check_and_missing_for_the_others(
    tmp_path: Path, sound: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result"
    path.write_text(text)
    assert main(["check", str(path)]) == 1
    assert "WRONG" in capsys.readouterr().out
    for words in readers(path, sound):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert words[0] == "reconcile" or "nan" not in shown  # which says what check doubts


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_what_is_missing_or_of_another_kind_is_not_measured(
    tmp_path: Path, sound: dict[str, Any], text: str
) -> None:
    path = tmp_path / "result"
    path.write_text(text)
    for words in (["check", str(path)], *readers(path, sound)):
        assert main(words) == 0


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_holds_no_run_is_refused_in_one_line_that_says_why(
    tmp_path: Path, sound: dict[str, Any], text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result"
    path.write_text(text)
    for words in (["check", str(path)], ["explain", str(path)], *readers(path, sound)):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_folder_a_packed_file_and_figures_for_explain_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(VLLM))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(VLLM).encode()))
    for words, message in (
        (["check", str(tmp_path)], "Is a directory"),
        (["compare", str(tmp_path / "a.json.gz"), str(tmp_path / "a.json")], "unpack it first"),
        (["explain", str(tmp_path / "a.json")], "a.json (vllm) holds no single requests: give a run file"),
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


@pytest.mark.parametrize("name", ["plan", "requests", "metrics", "identities", "verdict"])
def test_a_summary_of_ours_without_a_part_or_of_a_later_version_is_refused(
    tmp_path: Path, sound: dict[str, Any], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.json"
    for value in (None, [1]):
        path.write_text(json.dumps({**sound["summary"], name: value}))
        for words in (["check", str(path)], *readers(path, sound)):
            assert main(words) == 2
            assert f"no whole summary of vllmperf: {name}" in capsys.readouterr().err
    path.write_text(json.dumps({**sound["summary"], "schema": 999}))
    assert main(["check", str(path)]) == 2
    assert "a later vllmperf" in capsys.readouterr().err


def test_an_indented_result_of_vllm_is_no_pasted_table(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(VLLM, indent=2))
    assert [run.tool for run in vp.check(path)] == ["vllm"]


def test_each_line_of_an_appended_result_is_a_run_and_compare_takes_the_last(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**VLLM, "completed": 40}) + "\n" + json.dumps(VLLM))
    assert [run.completed for run in vp.check(path)] == [40, 50]
    assert vp.compare(path, path).first.values["completed"] == 50


def test_a_header_that_comes_again_is_no_run(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(CSV + ROW + CSV + ROW)
    assert [run.completed for run in vp.check(path)] == [54, 54]


@pytest.mark.parametrize("condition", ["ttft_mean>5ms", "ttft_mean<5ms"])
def test_a_condition_on_what_is_no_number_cannot_be_told(tmp_path: Path, condition: str) -> None:
    for name, value in (("a", 40.0), ("b", NAN)):
        (tmp_path / name).write_text(at(VLLM, value, "mean_ttft_ms"))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--fail-if", condition]) == 4


def test_a_folder_for_junit_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "--sim", "ttft_ms=2", "--num-prompts=5", "--no-progress", "--fail-if", "ttft_mean>5ms"]
    assert main([*words, "--junit", str(tmp_path)]) == 2
    assert capsys.readouterr().out == ""
