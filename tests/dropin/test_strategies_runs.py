"""scripts/sweep_strategies.py with strategies that are routers of the simulator."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep_strategies.py"
SERVE_HEADER = (
    "gpu_type,model_name,num_servers,enable_prefix_caching,enable_chunked_prefill,benchmark_label,scheduler_strategy,"
    "min_output_len,max_output_len,max_concurrency,request_rate,with_warmup,disable_ignore_eos,disable_stream,"
    "max_conversations,num_prompts,"
)
CLIENT_HEADER = SERVE_HEADER + (
    "duration,completed,request_throughput,input_throughput,output_throughput,mean_ttft_ms,median_ttft_ms,std_ttft_ms,"
    "p99_ttft_ms,mean_tpot_ms,median_tpot_ms,std_tpot_ms,p99_tpot_ms,mean_itl_ms,median_itl_ms,std_itl_ms,p99_itl_ms,"
    "mean_e2e_latency_ms,median_e2e_latency_ms"
)
VLLM_HEADER = SERVE_HEADER + (
    "prompt_tokens_total,generation_tokens_total,request_success_total,time_to_first_token_seconds,"
    "time_per_output_token_seconds,e2e_request_latency_seconds,request_queue_time_seconds,request_inference_time_seconds,"
    "request_prefill_time_seconds,request_decode_time_seconds"
)


@pytest.fixture
def words(model, tmp_path):
    drawn = random.Random(1)
    turns = ["river", "lantern", "engine", "garden", "ladder", "mountain", "letter", "window", "kettle"]
    rows = [
        {"conversations": [{"value": " ".join(drawn.choices(turns, k=40))} for _ in range(16)]}
        for _ in range(9)
    ]
    (tmp_path / "long.json").write_text(json.dumps(rows))
    given = {
        "server-command": "simulator",
        "model-name": model,
        "gpu-type": "none",
        "num-servers": 2,
        "dataset-link": "long.json",
        "num-prompts": 40,
        "max-conversations": 144,
        "min-prompt-len": 64,
        "max-output-len": 14,
        "request-rate": 200,
    }
    return [str(word) for name, value in given.items() for word in (f"--{name}", value)]


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def run(folder, *words):
    process = start(folder, *words)
    out, errors = process.communicate(timeout=900)
    return process.returncode, out, errors


def read(folder, what):
    """The header, and the rows by column."""
    text = (folder / f"{what}_sharegpt_sweep_results.csv").read_text()
    return text.splitlines()[0], list(csv.DictReader(text.splitlines()))


def test_each_strategy_gets_a_row_in_both_files_and_they_agree(words, tmp_path):
    strategies = (
        "--scheduler-strategies-dict",
        "pow_of_2=pow2",
        "prefix_aware=x.y.PrefixAwareReplicaScheduler",
    )
    code, out, errors = run(tmp_path, *words, *strategies)
    assert code == 0, errors
    (client_header, client), (server_header, server) = read(tmp_path, "serve"), read(tmp_path, "vllm")
    assert (client_header, server_header) == (CLIENT_HEADER, VLLM_HEADER)
    assert [row["scheduler_strategy"] for row in client] == ["pow_of_2", "prefix_aware"]
    for mine, theirs in zip(client, server, strict=True):
        assert mine["completed"] == "40"
        assert float(theirs["request_success_total"]) == 41  # with the test request
        assert float(theirs["time_to_first_token_seconds"]) * 1000 < 2 * float(mine["mean_ttft_ms"])
        assert (
            0 < float(theirs["request_prefill_time_seconds"]) < float(theirs["e2e_request_latency_seconds"])
        )
    shares = [
        float(line.rpartition("(")[2].rstrip("%)\n")) for line in out.splitlines() if "prefix cache" in line
    ]
    assert shares[0] < shares[1], "the prefix router finds more in the caches"
    names = {
        f"{name}_{stream}.log" for name in ("pow_of_2", "prefix_aware") for stream in ("stdout", "stderr")
    }
    assert {path.name for path in (tmp_path / "logs").iterdir()} == names
    assert not list(tmp_path.glob("*.jsonl"))


def test_histograms_without_sums_leave_the_times_empty_and_give_their_bounds(words, tmp_path):
    command = (
        f"{sys.executable} -m vllmperf sim --port {{port}} --model {{model}} --replicas {{replicas}} "
        "--router {router} --metrics ray"
    )
    more = ("--server-command", command, "--scheduler-strategies-dict", "pow2")
    code, out, errors = run(tmp_path, *words, *more)
    assert code == 0, errors
    (row,) = read(tmp_path, "vllm")[1]
    assert row["time_to_first_token_seconds"] == row["request_queue_time_seconds"] == ""
    assert float(row["request_success_total"]) == 41
    (line,) = [line for line in out.splitlines() if line.startswith("time_to_first_token_seconds")]
    low, high = (float(word) for word in line.split()[1::2])
    assert low < high


def test_a_strategy_that_fails_is_reported_and_the_others_go_on(words, tmp_path):
    strategies = ("--scheduler-strategies-dict", "broken=no_such_router", "round_robin")
    code, _, errors = run(tmp_path, *words, *strategies)
    assert code == 1
    assert "strategy broken failed: the server ended with exit code 2" in errors
    assert "1 of 2 strategies failed: broken" in errors
    assert [row["scheduler_strategy"] for row in read(tmp_path, "serve")[1]] == ["round_robin"]


def test_a_server_that_never_gets_ready_is_given_up_and_ended(words, tmp_path, port):
    command = f"{sys.executable} -m http.server --bind 127.0.0.1 {port}"
    more = ("--server-command", command, "--router-port", str(port), "--ready-timeout", "2")
    code, _, errors = run(tmp_path, *words, *more, "--scheduler-strategies-dict", "pow2")
    assert code == 1
    assert "was not ready within 2 s" in errors
    assert not is_open(port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["Waiting for the server", "Starting initial single prompt test run..."])
def test_ctrl_c_leaves_no_server_behind_in_a_start_and_in_a_run(words, tmp_path, port, when, number):
    never = f"{sys.executable} -m http.server --bind 127.0.0.1 {port}"
    more = ("--server-command", never) if "Waiting" in when else ("--request-rate", "2")
    with start(tmp_path, *words, *more, "--router-port", str(port)) as process:
        try:
            while not process.stdout.readline().startswith(when):
                assert process.poll() is None
            until(lambda: is_open(port))
            process.send_signal(number)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    until(lambda: not is_open(port))


def test_a_server_that_a_killed_sweep_left_is_ended_by_the_next_one(words, tmp_path, port):
    never = f"{sys.executable} -m http.server --bind 127.0.0.1 {port}"
    with start(tmp_path, *words, "--server-command", never, "--router-port", str(port)) as process:
        until(lambda: is_open(port))
        process.kill()
        process.communicate()
    assert is_open(port)
    code, _, errors = run(tmp_path, *words, "--scheduler-strategies-dict", "pow2")
    assert code == 0, errors
    assert "ended the server that an earlier call left" in errors
    assert not is_open(port)
    assert not (tmp_path / "logs/server.json").exists()


def until(is_so):
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def is_open(port):
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def test_rows_are_added_and_a_file_with_other_columns_stops_the_sweep_before_it_starts(words, tmp_path):
    strategies = ("--scheduler-strategies-dict", "pow2")
    assert run(tmp_path, *words, *strategies)[0] == 0
    assert run(tmp_path, *words, *strategies, "--with-warmup", "true")[0] == 0
    rows = read(tmp_path, "vllm")[1]
    assert [row["with_warmup"] for row in rows] == ["False", "True"]
    assert [float(row["request_success_total"]) for row in rows] == [
        41,
        41,
    ]  # the warm-up is not in the window
    (tmp_path / "serve_sharegpt_sweep_results.csv").write_text("a,b\n1,2\n")
    code, out, errors = run(tmp_path, *words, *strategies)
    assert code == 2
    assert "has other columns: move it away" in errors
    assert out == ""
