"""`vllmperf check`: counts, shares and peaks that cannot be, in files of every kind that has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.formats import runs

SOUND: dict[str, Any] = {
    "num_prompts": 200, "request_rate": "inf", "max_concurrency": 20, "duration": 20.0, "completed": 200, "failed": 0,
    "total_input_tokens": 20000, "total_output_tokens": 20200, "request_throughput": 10.0, "request_goodput": 9.0,
    "output_throughput": 1010.0, "total_token_throughput": 2010.0, "max_output_tokens_per_s": 1100.0,
    "max_concurrent_requests": 20, "mean_ttft_ms": 50.0, "median_ttft_ms": 45.0, "std_ttft_ms": 10.0, "p99_ttft_ms": 80.0,
    "mean_tpot_ms": 10.0, "median_tpot_ms": 10.0, "std_tpot_ms": 1.0, "p99_tpot_ms": 12.0, "mean_itl_ms": 10.0,
    "median_itl_ms": 9.9, "std_itl_ms": 3.0, "p99_itl_ms": 20.0, "mean_e2el_ms": 1050.0, "median_e2el_ms": 1040.0,
    "std_e2el_ms": 50.0, "p99_e2el_ms": 1190.0,
}  # fmt: skip


def wrong(path: Path) -> dict[str, str]:
    return {
        one.name: one.status
        for run in vp.check(path)
        for one in run.checks
        if one.status in ("broken", "doubt")
    }


def of_vllm(tmp_path: Path, **change: Any) -> dict[str, str]:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(SOUND | change))
    return wrong(path)


def test_a_sound_result_breaks_nothing(tmp_path: Path) -> None:
    assert of_vllm(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"request_goodput": 10.2}, "goodput", "broken"),
        (
            {"request_goodput:": 10.2, "request_goodput": None},
            "goodput",
            "broken",
        ),  # as vLLM wrote it up to 0.8
        ({"total_token_throughput": 900.0, "total_input_tokens": None}, "output_part", "broken"),
        ({"request_goodput": -1.0}, "numbers", "broken"),
        ({"duration": float("nan")}, "numbers", "broken"),
        ({"p99_ttft_ms": float("nan")}, "numbers", "broken"),
        ({"std_itl_ms": -3.0}, "numbers", "broken"),
        ({"output_throughput": float("inf")}, "numbers", "broken"),
        ({"completed": float("nan")}, "numbers", "broken"),
        ({"failed": 3}, "counts", "broken"),
        ({"num_prompts": 150}, "counts", "broken"),
        ({"max_concurrent_requests": 300}, "in_flight", "broken"),
        ({"max_concurrent_requests": 5}, "little_peak", "broken"),
        ({"std_ttft_ms": 0.0}, "std", "broken"),
        ({"max_output_tokens_per_s": 500.0}, "peak_rate", "doubt"),
        ({"max_output_tokens_per_s": 30000.0}, "peak_rate", "doubt"),
        ({"duration": 0.0}, "not_zero", "broken"),
        ({"request_throughput": 0.0}, "not_zero", "broken"),
        (
            {"mean_itl_ms": 0.0},
            "order",
            "broken",
        ),  # vLLM writes 0 for what was not measured, but then for all of it
        ({"completed": 0, "total_output_tokens": 0, "total_input_tokens": 0}, "counts", "broken"),
    ],
)
def test_a_count_share_or_peak_that_cannot_be_is_named(
    tmp_path: Path, change: dict[str, Any], name: str, status: str
) -> None:
    assert of_vllm(tmp_path, **change).get(name) == status


@pytest.mark.parametrize(
    "change",
    [
        {"request_goodput": 10.0},
        {"request_goodput": 10.0, "duration": 19.999},  # computed from another reading of the clock
        {"completed": 190, "failed": 10, "request_throughput": 9.5, "max_concurrent_requests": 20},
        {"max_concurrent_requests": 24},  # vLLM counts all that were in flight within a second
        {"num_prompts": None},
        {"completed": 0, "failed": 200, **{name: 0 for name in SOUND if "_ms" in name or "through" in name},
         "request_goodput": 0, "total_output_tokens": 0, "total_input_tokens": 0, "max_output_tokens_per_s": 0,
         "max_concurrent_requests": 0},
    ],
)  # fmt: skip
def test_what_may_be_is_not_wrong(tmp_path: Path, change: dict[str, Any]) -> None:
    assert "broken" not in {
        status
        for name, status in of_vllm(tmp_path, **change).items()
        if name
        in ("goodput", "counts", "in_flight", "little_peak", "numbers", "std", "not_zero", "output_part")
    }


def test_statistics_without_spread_that_differ_are_wrong_however_few_the_requests(tmp_path: Path) -> None:
    few = {"num_prompts": 4, "completed": 4, "std_ttft_ms": 0.0}
    assert of_vllm(tmp_path, **few)["std"] == "broken"
    same = {"mean_ttft_ms": 45.0, "median_ttft_ms": 45.0, "p99_ttft_ms": 45.0}
    assert "std" not in of_vllm(tmp_path, **few | same)


def test_goodput_and_peaks_of_a_pasted_table_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "============ Serving Benchmark Result ============\n"
        "Successful requests:                     200\nBenchmark duration (s):                  20.00\n"
        "Request throughput (req/s):              10.00\nRequest goodput (req/s):                 10.50\n"
        "Peak concurrent requests:                300.00\nMean TTFT (ms):                          nan\n"
        + "="
        * 50
    )
    assert wrong(path) == {"numbers": "broken", "goodput": "broken", "in_flight": "broken"}
    path.write_text(
        path.read_text().replace("10.50", "10.00").replace("300.00", "20.00").replace("nan", "5.0")
    )
    assert wrong(path) == {}


def test_fields_of_a_page_have_goodput_too(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    names = ("duration", "completed", "request_throughput", "request_goodput", "max_concurrent_requests")
    rows = [f"| {name} | {SOUND[name]} |" for name in names]
    path.write_text("| Field | Value |\n|---|---|\n" + "\n".join(rows).replace("9.0", "19.0"))
    assert wrong(path) == {"goodput": "broken"}


def test_goodput_of_aiperf_is_held_against_its_requests(tmp_path: Path) -> None:
    def block(value: float, unit: str) -> dict[str, object]:
        return {"unit": unit, "avg": value}

    path = tmp_path / "profile_export_aiperf.json"
    path.write_text(
        json.dumps(
            {
                "request_latency": {"unit": "ms", "avg": 100.0, "p50": 100.0},
                "request_count": block(200, "requests"),
                "benchmark_duration": block(20.0, "sec"),
                "request_throughput": block(10.0, "requests/sec"),
                "goodput": block(11.0, "requests/sec"),
            }
        )
    )
    assert wrong(path) == {"goodput": "broken"}


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("goodput", "requests_per_s"), 1e6, "goodput"),
        (("goodput", "share"), 1.5, "numbers"),
        (("throughput", "requests_per_s"), 1e6, "request_rate"),
        (("metrics", "ttft_ms", "p99"), 0.001, "order"),
        (("metrics", "itl_ms", "max"), 1e5, "longest_part"),
        (("tokens", "cached"), 10**9, "cached_part"),
        (("in_flight", "mean"), 50.0, "in_flight"),
        (("requests", "completed"), 5000, "counts"),
    ],
)
def test_our_own_summary_is_checked_by_the_sums_of_its_figures(
    own: dict[str, Any], tmp_path: Path, path: tuple[str, ...], value: float, name: str
) -> None:
    changed: Any = json.loads(json.dumps(own))
    part = changed
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (tmp_path / "own.json").write_text(json.dumps(changed))
    (tmp_path / "sound.json").write_text(json.dumps(own))
    assert broken_ones(tmp_path / "own.json") - broken_ones(tmp_path / "sound.json") >= {name}


def broken_ones(path: Path) -> set[str]:
    return {name for name, status in wrong(path).items() if status == "broken"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = vp.bench(
        sim={"ttft_ms": 3, "itl_ms": 1},
        num_prompts=60,
        max_concurrency=4,
        output_len=5,
        goodput={"ttft": 1e6},
    )
    path = tmp_path_factory.mktemp("own") / "own.json"
    runs.write(run.untrimmed, path, "json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_report_of_a_result_with_goodput_names_no_limits_that_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(SOUND))
    assert main(["report", str(tmp_path / "result.json")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "good requests" in line]
    assert "met" not in line
