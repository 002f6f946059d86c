"""/metrics: names and buckets of vLLM's V1 engine, with what really happened."""

from __future__ import annotations

import re
import time

import pytest
from wire import Wire, ask, chat, complete, request

from vllmperf.sim import Server

SAMPLE = re.compile(r"([a-zA-Z0-9_:]+)\{(.*)\} (\S+)")
TOKEN_SECONDS = "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 +Inf"
BUCKETS = {
    "time_to_first_token_seconds": "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 "
    "10.0 20.0 40.0 80.0 160.0 640.0 2560.0 +Inf",
    "inter_token_latency_seconds": TOKEN_SECONDS,
    "request_time_per_output_token_seconds": TOKEN_SECONDS,
    "e2e_request_latency_seconds": "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 "
    "240.0 480.0 960.0 1920.0 7680.0 +Inf",
    "request_prompt_tokens": "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 1000.0 2000.0 +Inf",
    "request_params_n": "1.0 2.0 5.0 10.0 20.0 +Inf",
    "iteration_tokens_total": "1.0 8.0 16.0 32.0 64.0 128.0 256.0 512.0 1024.0 2048.0 4096.0 8192.0 16384.0 "
    "+Inf",
}


def scrape(server: Server) -> dict[str, float]:
    """Samples by name and what labels they have besides engine and model."""
    samples = {}
    for line in ask(server.port, "GET", "/metrics").body.decode().splitlines():
        if match := SAMPLE.fullmatch(line):
            name, labels, value = match.groups()
            rest = [label for label in labels.split(",") if not label.startswith(("engine=", "model_name="))]
            samples[name.removeprefix("vllm:") + ("{" + ",".join(rest) + "}" if rest else "")] = float(value)
    return samples


def test_the_text_is_well_formed(fast: Server) -> None:
    reply = ask(fast.port, "GET", "/metrics")
    assert reply.header("content-type") == "text/plain; version=1.0.0; charset=utf-8"
    for line in reply.body.decode().splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.fullmatch(line)


@pytest.mark.parametrize("name", list(BUCKETS))
def test_histograms_have_the_buckets_of_vllm(fast: Server, name: str) -> None:
    text = ask(fast.port, "GET", "/metrics").body.decode()
    assert " ".join(re.findall(rf'vllm:{name}_bucket{{engine="0",le="([^"]+)"', text)) == BUCKETS[name]


def test_tokens_and_requests_are_counted(fast: Server) -> None:
    complete(fast.port, prompt=[1] * 10, max_tokens=5)
    complete(fast.port, prompt=[1] * 10, max_tokens=5, stream=False)
    chat(fast.port, max_tokens=7)
    complete(fast.port, max_tokens=0)
    samples = scrape(fast)
    assert samples["prompt_tokens_total"] == 10 + 10 + 10
    assert samples["generation_tokens_total"] == 5 + 5 + 7
    assert samples['request_success_total{finished_reason="length"}'] == 3
    assert samples['request_success_total{finished_reason="stop"}'] == 0
    assert samples["time_to_first_token_seconds_count"] == 3
    assert samples["inter_token_latency_seconds_count"] == 4 + 4 + 6
    assert samples["e2e_request_latency_seconds_count"] == 3
    assert samples["request_generation_tokens_sum"] == 17
    assert samples["request_prompt_tokens_sum"] == 30
    assert samples["iteration_tokens_total_sum"] == 17
    assert samples["num_requests_running"] == samples["num_requests_waiting"] == 0
    assert samples['http_requests_total{handler="/v1/completions",method="POST",status="2xx"}'] == 2
    assert samples['http_requests_total{handler="/v1/completions",method="POST",status="4xx"}'] == 1


def test_choices_count_each_as_a_request_of_the_engine(fast: Server) -> None:
    complete(fast.port, prompt=[1] * 10, n=2, max_tokens=5)
    samples = scrape(fast)
    assert samples["prompt_tokens_total"] == 20
    assert samples['request_success_total{finished_reason="length"}'] == 2
    assert (samples["request_params_n_count"], samples["request_params_n_sum"]) == (1, 2)


def test_times_are_those_of_the_answers() -> None:
    with Server(ttft_ms=30, itl_ms=20) as server:
        complete(server.port, max_tokens=4)
        samples = scrape(server)
    assert samples["time_to_first_token_seconds_sum"] >= 0.03
    assert samples["inter_token_latency_seconds_sum"] >= 0.05
    total = samples["request_prefill_time_seconds_sum"] + samples["request_decode_time_seconds_sum"]
    assert samples["e2e_request_latency_seconds_sum"] == pytest.approx(total)
    assert samples['time_to_first_token_seconds_bucket{le="0.02"}'] == 0
    assert samples['time_to_first_token_seconds_bucket{le="+Inf"}'] == 1


def test_running_requests_show_and_those_that_hang_up_are_counted_nowhere() -> None:
    with Server(ttft_ms=1, itl_ms=20) as server:
        with Wire(server.port) as wire:
            wire.send(request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 500, "stream": True}))
            assert wire.line() == b"HTTP/1.1 200 OK"
            assert scrape(server)["num_requests_running"] == 1
        while server.stats["running"]:
            time.sleep(0.01)
        samples = scrape(server)
    assert samples["num_requests_running"] == 0
    assert sum(value for name, value in samples.items() if name.startswith("request_success_total")) == 0
