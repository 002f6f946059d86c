"""/metrics of a batching server, and the times that answers carry, against its truth file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from batching import LAW, MS, at_once, read
from test_sim_metrics import scrape
from wire import Wire, chat, complete, request

from vllmperf.sim import Server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], Any]:
    """Samples at the end of a load with waiting, preemptions and equal beginnings, and the truth."""
    path = tmp_path_factory.mktemp("metrics") / "truth"
    cache = {"block_size": 8, "num_gpu_blocks": 40, "max_model_len": 200, "max_num_seqs": 5}
    with Server(**LAW, **cache, mode="batching", truth=path) as server:
        bodies = [{"prompt": list(range(30)), "max_tokens": 20 + 2 * i, "n": 3} for i in range(6)]
        at_once([lambda body=body: complete(server.port, **body) for body in bodies])
        samples = scrape(server)
    return samples, read(path)


def test_counters_are_those_of_the_steps(run: tuple[dict[str, float], Any]) -> None:
    samples, truth = run
    steps, rows = truth.steps, truth.requests
    assert samples["num_preemptions_total"] == sum(step["preempted"] for step in steps)
    assert samples["generation_tokens_total"] == sum(row["completion_tokens"] for row in rows)
    assert samples["prompt_tokens_total"] == 18 * 30
    assert samples["prefix_cache_queries_total"] == 18 * 30
    assert samples["prefix_cache_hits_total"] == sum(row["cached_tokens"] for row in rows) > 0
    cached = samples['prompt_tokens_by_source_total{source="local_cache_hit"}']
    computed = samples['prompt_tokens_by_source_total{source="local_compute"}']
    assert (cached, cached + computed) == (samples["prefix_cache_hits_total"], 18 * 30)


def test_an_iteration_has_its_prompt_tokens_and_those_that_it_gave(run: tuple[dict[str, float], Any]) -> None:
    samples, truth = run
    assert samples["iteration_tokens_total_count"] == len(truth.steps)
    tokens = sum(step["prefill_tokens"] for step in truth.steps)
    assert samples["iteration_tokens_total_sum"] == tokens + samples["generation_tokens_total"]


def test_histograms_have_each_sequence_once(run: tuple[dict[str, float], Any]) -> None:
    samples, _ = run
    for name in ("queue", "prefill", "decode", "inference"):
        assert samples[f"request_{name}_time_seconds_count"] == 18
    assert samples["time_to_first_token_seconds_count"] == 18
    assert samples["inter_token_latency_seconds_count"] == samples["generation_tokens_total"] - 18


def test_times_of_requests_add_up(run: tuple[dict[str, float], Any]) -> None:
    samples, _ = run
    parts = {
        name: samples[f"request_{name}_time_seconds_sum"]
        for name in ("queue", "prefill", "decode", "inference")
    }
    assert parts["queue"] > 0
    assert parts["inference"] == pytest.approx(parts["prefill"] + parts["decode"])
    assert samples["e2e_request_latency_seconds_sum"] == pytest.approx(parts["queue"] + parts["inference"])
    assert samples["time_to_first_token_seconds_sum"] == pytest.approx(parts["queue"] + parts["prefill"])
    assert samples["inter_token_latency_seconds_sum"] == pytest.approx(parts["decode"])


def test_gauges_are_0_when_all_is_done(run: tuple[dict[str, float], Any]) -> None:
    samples, _ = run
    assert samples["num_requests_running"] == samples["num_requests_waiting"] == 0
    assert samples["kv_cache_usage_perc"] == 0


def test_gauges_show_who_runs_and_who_waits() -> None:
    body = {"prompt": [1] * 64, "max_tokens": 100_000, "stream": True, "n": 5}
    cache = {"block_size": 16, "num_gpu_blocks": 8192}
    with Server(mode="batching", max_num_seqs=3, **cache, enable_prefix_caching=False) as server:
        with Wire(server.port) as wire:
            wire.send(request("POST", "/v1/completions", body))
            wire.line()
            while scrape(server)["num_requests_running"] < 3:
                time.sleep(0.001)
            samples = scrape(server)
        assert samples["num_requests_waiting"] == 2
        assert samples['num_requests_waiting_by_reason{reason="capacity"}'] == 2
        blocks = samples["kv_cache_usage_perc"] * 8192
        assert blocks == pytest.approx(round(blocks))
        assert blocks >= 3 * 4
        while server.stats["running"]:
            time.sleep(0.001)
        after = scrape(server)
    assert (after["num_requests_running"], after["num_requests_waiting"]) == (0, 0)
    assert after["kv_cache_usage_perc"] == 0


def test_the_cache_is_described() -> None:
    with Server(mode="batching", block_size=32, num_gpu_blocks=5000) as server:
        samples = scrape(server)
    (info,) = [name for name in samples if name.startswith("cache_config_info")]
    for part in ('block_size="32"', 'num_gpu_blocks="5000"', 'enable_prefix_caching="True"'):
        assert part in info


# ---- what answers say of themselves ----


def test_a_body_carries_its_times(tmp_path: Path) -> None:
    settings = {**LAW, "mode": "batching", "enable_per_request_metrics": True, "truth": tmp_path / "truth"}
    with Server(**settings) as server:
        said = complete(server.port, stream=False, max_tokens=5).json["metrics"]
    truth = read(tmp_path / "truth")
    (row,) = truth.requests
    ends = [step["end_mono_ns"] for step in truth.steps]
    assert said["queue_time_ms"] == (row["scheduled_mono_ns"] - row["queued_mono_ns"]) / MS
    assert said["time_to_first_token_ms"] == (ends[0] - row["scheduled_mono_ns"]) / MS
    assert said["generation_time_ms"] == (ends[-1] - ends[0]) / MS
    assert said["mean_itl_ms"] == pytest.approx((ends[-1] - ends[0]) / MS / 4, abs=1e-5)
    assert said["tokens_per_second"] == pytest.approx(5e9 / (ends[-1] - row["scheduled_mono_ns"]), rel=1e-6)


@pytest.mark.parametrize("call", [complete, chat])
def test_a_stream_carries_its_times_beside_the_usage(call: Any) -> None:
    with Server(mode="batching", alpha_ms=2, beta_ms=0, enable_per_request_metrics=True) as server:
        events = call(server.port, stream_options={"include_usage": True}, max_tokens=3).events
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert events[-1]["metrics"]["mean_itl_ms"] == 2
    assert all("metrics" not in event for event in events[:-1])


def test_fixed_times_are_carried_too() -> None:
    with Server(ttft_ms=5, itl_ms=2, enable_per_request_metrics=True) as server:
        said = complete(server.port, stream=False, max_tokens=3).json["metrics"]
    assert said["queue_time_ms"] == 0
    assert (said["time_to_first_token_ms"], said["generation_time_ms"], said["mean_itl_ms"]) == (5, 4, 2)


def test_one_token_has_no_gap_and_several_choices_have_no_times() -> None:
    usage = {"stream_options": {"include_usage": True}}
    with Server(mode="batching", alpha_ms=1, enable_per_request_metrics=True) as server:
        one = complete(server.port, stream=False, max_tokens=1).json["metrics"]
        several = complete(server.port, stream=False, n=2).json
        stream_of_one = complete(server.port, max_tokens=1, **usage).events[-1]["metrics"]
        stream_of_several = complete(server.port, n=2, **usage).events[-1]
    assert (one["mean_itl_ms"], one["generation_time_ms"], one["speculative_decoding"]) == (None, 0, None)
    assert several["metrics"] is None
    assert stream_of_one.keys() == one.keys() - {"mean_itl_ms", "speculative_decoding"}
    assert "metrics" not in stream_of_several, "a stream leaves out what is null"


def test_usage_says_what_was_cached_of_a_prompt_when_asked_for() -> None:
    body: dict[str, Any] = {"prompt": list(range(40)), "n": 2, "max_tokens": 2}
    with Server(mode="batching", alpha_ms=1, enable_prompt_tokens_details=True) as server:
        first = complete(server.port, **body, stream=False).json["usage"]
        again = complete(server.port, **body, stream=False).json["usage"]
        stream = complete(server.port, **body, stream_options={"include_usage": True}).events[-1]["usage"]
    assert first["prompt_tokens_details"] is None
    assert again["prompt_tokens_details"] == stream["prompt_tokens_details"] == {"cached_tokens": 32}
    with Server(mode="batching", alpha_ms=1) as server:
        for _ in range(2):
            usage = complete(server.port, **body, stream=False).json["usage"]
    assert usage["prompt_tokens_details"] is None


def test_times_are_only_carried_when_asked_for() -> None:
    with Server(mode="batching", alpha_ms=1) as server:
        assert complete(server.port, stream=False).json["metrics"] is None
        assert "metrics" not in complete(server.port, stream_options={"include_usage": True}).events[-1]
