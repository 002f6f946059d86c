"""The JSON lines of SGLang's client as runs."""

import json

from vllmperf.formats import runs

LINE = {
    "backend": "vllm",
    "request_rate": float("inf"),
    "max_concurrency": 4,
    "duration": 2.0,
    "completed": 10,
    "total_input_tokens": 100,
    "total_output_tokens": 50,
    "request_throughput": 5.0,
    "output_throughput": 25.0,
    "mean_e2e_latency_ms": 80.0,
    "median_e2e_latency_ms": 79.0,
    "std_e2e_latency_ms": 1.0,
    "p99_e2e_latency_ms": 90.0,
    "mean_ttft_ms": 20.0,
    "median_ttft_ms": 19.0,
}


def test_each_line_is_a_run_with_its_latencies(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps({**LINE, "completed": n}) + "\n" for n in (10, 11)))
    first, second = runs.read_all(path)
    assert (first.tool, first.e2el.mean, first.e2el.p99, first.ttft.p50) == ("sglang", 80.0, 90.0, 19.0)
    assert second.summary["requests"]["completed"] == 11
    assert first.summary["throughput"]["output_tokens_per_s"] == 25.0


def test_a_file_of_one_line_is_one_run(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    assert runs.read(path).summary["plan"]["max_concurrency"] == 4
