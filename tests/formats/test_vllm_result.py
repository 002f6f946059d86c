"""The result JSON: names, order, units and file name of vLLM 0.33.0, numbers of our own."""

import json
from datetime import datetime

import numpy as np
import pytest

import vllmperf
from vllmperf.formats.vllm_result import file_name, result, save

NOW = datetime(2026, 11, 24, 7, 47, 4)

BRIEF = [
    "date",
    "endpoint_type",
    "backend",
    "label",
    "model_id",
    "tokenizer_id",
    "num_prompts",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "duration",
    "completed",
    "failed",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "request_goodput",
    "output_throughput",
    "total_token_throughput",
    "latencies",
    "queue_times",
    "max_output_tokens_per_s",
    "max_concurrent_requests",
    "rtfx",
    "mean_ttft_ms",
    "median_ttft_ms",
    "std_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "std_tpot_ms",
    "p99_tpot_ms",
    "mean_itl_ms",
    "median_itl_ms",
    "std_itl_ms",
    "p99_itl_ms",
    "profile",
    "tool",
]
DETAILS = [
    "input_lens",
    "output_lens",
    "ttfts",
    "itls",
    "latencies",
    "start_times",
    "queue_times",
    "generated_texts",
    "errors",
]


@pytest.fixture(scope="module")
def run():
    return vllmperf.bench(
        sim={"ttft_ms": 20, "itl_ms": 2, "faults": ["status:code=500@at=3"]},
        num_prompts=10,
        concurrency=4,
        input_len=8,
        output_len=5,
        keep_text=True,
        goodput={"ttft": 1e6},
    )


def test_a_plain_result_has_the_keys_of_vllm_in_their_order(run):
    assert list(result(run, NOW)) == BRIEF


def test_a_detailed_result_has_an_entry_for_each_request_in_order(run):
    found = result(run, NOW, detailed=True)
    at = list(found).index("total_token_throughput") + 1
    assert list(found)[at : at + len(DETAILS)] == DETAILS
    assert all(len(found[name]) == 10 for name in DETAILS)
    assert found["output_lens"].count(5) == 9
    reads = run.recording.requests["reads"][np.argsort(run.recording.requests["index"])]
    # a busy reader may find a whole answer at once: then its gaps are unknown
    assert list(map(len, found["itls"])) == [4 if n > 1 else 0 for n in reads]
    assert sum(text != "" for text in found["generated_texts"]) == 9
    assert sum("500" in error or "rror" in error for error in found["errors"]) == 1
    assert all(isinstance(length, int) for length in found["input_lens"])


def test_times_are_in_seconds_and_statistics_in_ms(run):
    found = result(run, NOW, detailed=True)
    assert max(found["ttfts"]) == pytest.approx(0.02, abs=0.3)
    assert found["mean_ttft_ms"] == run.untrimmed.summary["metrics"]["ttft_ms"]["mean"] >= 20
    assert found["median_itl_ms"] == run.untrimmed.summary["metrics"]["itl_ms"]["p50"]
    ends = [start + latency for start, latency in zip(found["start_times"], found["latencies"], strict=True)]
    assert max(ends) - min(found["start_times"]) <= found["duration"] + 0.1


def test_totals_are_those_of_the_summary(run):
    found, summary = result(run, NOW), run.untrimmed.summary
    assert (found["completed"], found["failed"]) == (9, 1)
    assert found["total_output_tokens"] == 45
    assert found["total_input_tokens"] == 72
    assert found["request_throughput"] == summary["throughput"]["requests_per_s"]
    assert found["request_goodput"] == pytest.approx(found["request_throughput"])
    assert found["max_concurrent_requests"] == 4
    assert 9 <= found["max_output_tokens_per_s"] <= 45  # 45 when all came within a second
    assert (found["request_rate"], found["max_concurrency"], found["profile"]) == ("inf", 4, "vllmperf")


def test_only_the_metrics_and_percentiles_that_are_asked_for_are_written():
    run = vllmperf.bench(
        sim={"ttft_ms": 2, "itl_ms": 1},
        num_prompts=3,
        output_len=3,
        rate=100,
        percentile_metrics=("e2el", "ttft"),
        metric_percentiles=(50.0, 99.9),
        metadata={"gpu": "none"},
    )
    found = result(run, NOW)
    assert {"p50_e2el_ms", "p99.9_ttft_ms"} <= set(found)
    assert not [name for name in found if name.endswith(("_tpot_ms", "_itl_ms"))]
    assert found["gpu"] == "none"
    assert found["request_rate"] == 100.0


def test_what_was_not_measured_is_0_as_in_vllm():
    run = vllmperf.bench(url="http://127.0.0.1:9", model="m", num_prompts=2)
    found = result(run, NOW, detailed=True)
    assert (found["completed"], found["failed"], found["mean_ttft_ms"], found["p99_itl_ms"]) == (
        0,
        2,
        0.0,
        0.0,
    )
    assert found["ttfts"] == found["latencies"] == [0.0, 0.0]
    assert found["request_goodput"] is None
    assert found["max_output_tokens_per_s"] == 0.0


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (
            {"backend": "openai", "model": "org/tiny-1b", "request_rate": "inf"},
            "openai-infqps-tiny-1b-20261124-074704.json",
        ),
        (
            {
                "backend": "openai",
                "model": "tiny-1b/",
                "request_rate": 10.0,
                "max_concurrency": 4,
                "label": "a/b",
            },
            "a_b-10.0qps-concurrency4-tiny-1b-20261124-074704.json",
        ),
    ],
)
def test_the_file_name_is_that_of_vllm(plan, name):
    assert file_name(plan, NOW) == name


def test_the_file_is_strict_json(run, tmp_path):
    path = save(run, tmp_path / "a" / "b", None, detailed=True)
    assert path.parent == tmp_path / "a" / "b"

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(path.read_text(), parse_constant=refuse)["completed"] == 9
