"""The drop-in from its command line to its files, on the simulated server."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving import arrivals, command, flags, plots
from vllmperf.dropin.benchmark_serving.answers import Answer
from vllmperf.dropin.benchmark_serving.metrics import calculate
from vllmperf.dropin.benchmark_serving.profiles import PROFILES
from vllmperf.dropin.benchmark_serving.results import Outcome, result
from vllmperf.formats import vllm_file
from vllmperf.formats.vllm_table import metric_section, row
from vllmperf.formats.vllm_timeline import Bar, page
from vllmperf.run import Run
from vllmperf.sim import Server

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark_serving.py"
TABLE_06 = """\
============ Serving Benchmark Result ============
Successful requests:                     N
Benchmark duration (s):                  N
Total input tokens:                      N
Total generated tokens:                  N
Request throughput (req/s):              N
Output token throughput (tok/s):         N
Total Token throughput (tok/s):          N
---------------Time to First Token----------------
Mean TTFT (ms):                          N
Median TTFT (ms):                        N
P99 TTFT (ms):                           N
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          N
Median TPOT (ms):                        N
P99 TPOT (ms):                           N
---------------Inter-token Latency----------------
Mean ITL (ms):                           N
Median ITL (ms):                         N
P99 ITL (ms):                            N
----------------End-to-end Latency----------------
Mean E2EL (ms):                          N
Median E2EL (ms):                        N
P99 E2EL (ms):                           N
==================================================
"""


@pytest.fixture(scope="module")
def target(model):
    with Server(ttft_ms=5, itl_ms=1, model=f"{model}/") as server:
        yield server


@pytest.fixture
def conversations(tmp_path):
    path = tmp_path / "sharegpt.json"
    turns = [f"river number {i} carries the narrow lantern" for i in range(30)]
    rows = [{"conversations": [{"value": turns[i]}, {"value": turns[i + 1]}]} for i in range(29)]
    path.write_text(json.dumps(rows))
    return path


def call(folder, *words, **environment):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )


def guide(model, target, conversations):
    """The arguments of a guide to benchmark_serving.py, but for the server's port."""
    return (
        *("--backend", "vllm", "--model", f"{model}/", "--tokenizer", f"{model}/"),
        *("--dataset-name", "sharegpt", "--dataset-path", conversations, "--num-prompts", 20),
        *("--port", target.url.rpartition(":")[2], "--host", "127.0.0.1", "--endpoint", "/v1/completions"),
        *("--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result"),
    )


def test_the_guides_lines_are_where_its_sed_and_tail_look_for_them(model, target, conversations, tmp_path):
    done = call(tmp_path, *guide(model, target, conversations))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.split("\n")[:-1]
    assert lines[1].startswith("Namespace(backend='vllm', ")
    assert lines[4] == "Traffic request rate: inf"
    assert lines[5] == "Burstiness factor: 1.0 (Poisson process)"
    table = "".join(line + "\n" for line in lines[-25:])
    assert re.sub(r"(?<=: )( *)[\d.]+ *$", r"\1N", table, flags=re.M) == TABLE_06
    (path,) = tmp_path.glob("vllm-infqps--*.json")
    assert re.fullmatch(r"vllm-infqps--\d{8}-\d{6}\.json", path.name)
    found = json.loads(path.read_text())
    assert found["request_goodput:"] is None
    assert found["best_of"] == 1
    assert len(found["itls"]) == 20


def test_a_result_without_details_has_no_entry_a_request_since_0_8(model, target, conversations, tmp_path):
    words = ("--profile", "vllm-0.8", *guide(model, target, conversations), "--result-filename", "r.json")
    assert call(tmp_path, *words).returncode == 0
    assert "ttfts" not in json.loads((tmp_path / "r.json").read_text())
    assert call(tmp_path, *words, "--save-detailed", "--append-result").returncode == 0
    first, second = (json.loads(line) for line in (tmp_path / "r.json").read_text().split("\n"))
    assert len(second["ttfts"]) == 20
    assert set(second) - set(first) == {
        "input_lens",
        "output_lens",
        "ttfts",
        "itls",
        "generated_texts",
        "errors",
    }


def test_2026_with_ramp_up_adapters_probes_and_warm_ups(model, target, tmp_path):
    words = f"""--profile vllm-2026 --tokenizer {model} --base-url {target.url} --label ramp
        --dataset-name random --random-input-len 12 --random-output-len 4 --num-prompts 20
        --ramp-up-strategy linear --ramp-up-start-rps 20 --ramp-up-end-rps 60 --max-concurrency 8
        --probe-request-rate 10 --num-warmups 2 --ready-check-timeout-sec 5
        --lora-modules {model}/ {model}/ --lora-assignment round-robin
        --percentile-metrics ttft,client_queue_time --save-result --result-dir out"""
    done = call(tmp_path, *words.split())
    assert "Traffic ramp-up strategy: linear." in done.stdout, done.stdout
    for line in ("Initial test run completed.", "Warmup run completed.", "Probe request rate: 10.0 req/s"):
        assert f"\n{line}\n" in done.stdout
    (path,) = (tmp_path / "out").glob("ramp-ramp-up-linear-20qps-60qps-concurrency8--*.json")
    found = json.loads(path.read_text())
    assert [step["rps"] for step in found["rps_change_events"]] == list(range(20, 61))
    assert found["probe_completed"] >= 1
    assert "mean_client_queue_time_ms" in found
    assert (found["num_prompts"], found["completed"], found["label"]) == (20, 20, "ramp")


def test_burstiness_counts_in_a_ramp_up_and_is_idle_without_a_rate(model, target, tmp_path):
    words = f"""--profile vllm-2026 --tokenizer {model} --base-url {target.url} --dataset-name random
        --random-input-len 12 --random-output-len 2 --num-prompts 4 --burstiness 0.5"""
    done = call(tmp_path, *words.split())
    assert done.returncode == 0, done.stdout
    assert "Successful requests:                     4 " in done.stdout
    ramp = "--ramp-up-strategy linear --ramp-up-start-rps 50 --ramp-up-end-rps 60"
    assert call(tmp_path, *words.split(), *ramp.split()).returncode == 0


def test_embeddings_have_rate_changes_and_probes_but_no_timeline(tmp_path):
    profile = PROFILES["vllm-2026"]
    args = flags.parse(profile, ["--save-result", "--save-detailed", "--plot-timeline"])
    answers = [Answer(3, success=True, ttft_s=0.1, latency_s=0.1)]
    outcome = Outcome(
        metrics=calculate(answers, 1.0, None, [99.0], {}),
        answers=answers,
        sections=["e2el"],
        is_pooling=True,
        probes={"probe_completed": 2},
        rate_changes=[{"rps": 5, "timestamp": "t"}],
    )
    found = list(result(profile, args, outcome, "date"))
    behind = found.index("errors") + 1
    assert found[behind : behind + 2] == ["probe_completed", "rps_change_events"]
    plots.save(args, outcome, tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_the_servers_own_times_are_left_out_without_details():
    profile = PROFILES["vllm-2026"]
    answers = [Answer(3, success=True, ttft_s=0.1, latency_s=0.1, output_tokens=1, server_ttft_ms=4.0)]
    outcome = Outcome(calculate(answers, 1.0, None, [99.0], {}), answers, ["ttft"])
    names = {"server_queue_times", "server_ttfts"}
    for words, kept in (([], set()), (["--save-detailed"], names)):
        found = result(profile, flags.parse(profile, ["--save-result", *words]), outcome, "date")
        assert names & set(found) == kept


def test_a_trace_with_its_own_times_passes_no_rate_but_the_first():
    args = argparse.Namespace(ramp_up_strategy="linear", ramp_up_start_rps=5)
    planned = arrivals.of_trace([Sample("p", 1, 1, time_s=0.5)])
    (only,) = command.rate_changes(args, planned, datetime(2026, 1, 1))
    assert only == {"rps": 5, "timestamp": "2026-01-01T00:00:00"}


def test_failures_have_reasons_and_a_count_in_2026(model, tmp_path):
    with Server(ttft_ms=1, itl_ms=1, faults=["status:code=503@every=2"]) as target:
        done = call(
            tmp_path,
            *("--profile", "vllm-2026", "--model", "sim", "--tokenizer", model, "--base-url", target.url),
            *("--random-input-len", 12, "--random-output-len", 4, "--num-prompts", 10, "--temperature", 0),
        )
    assert done.returncode == 0
    assert "Error 0: Service Unavailable\n" in done.stdout
    assert re.search(r"^Failed requests: +5 +$", done.stdout, re.M)


def test_a_server_that_is_not_there_is_one_line_and_exit_code_3(model, conversations, tmp_path):
    done = call(
        tmp_path,
        *("--model", "m", "--tokenizer", model, "--dataset-path", conversations, "--num-prompts", 2),
        *("--host", "127.0.0.1", "--port", 9),
    )
    assert done.returncode == 3
    assert done.stdout.endswith("\n")
    assert done.stdout.count("Traceback") == 0
    assert "Initial test run failed" in done.stdout.splitlines()[-1]


def test_both_rules_stand_side_by_side_for_a_stream_with_errors_in_it(model, tmp_path):
    with Server(ttft_ms=5, itl_ms=10, tokens_per_chunk=4, faults=["stream_error:after=1@every=4"]) as target:
        done = call(
            tmp_path,
            *("--profile", "vllm-2026", "--model", "sim", "--tokenizer", model, "--base-url", target.url),
            *("--random-input-len", 12, "--random-output-len", 16, "--num-prompts", 20, "--both"),
            *("--record", tmp_path / "both.run"),
        )
    assert re.search(r"^Successful requests +20 +15 +-25\.0%$", done.stdout, re.M), done.stdout
    assert "vllm-2026 follows the rule" in done.stdout
    assert "vllmperf: chunks brought several tokens" in done.stdout
    plan = Run(tmp_path / "both.run").summary["plan"]
    assert (plan["dataset_name"], plan["input_len"], plan["output_len"]) == ("random", 12, 16)


def test_our_side_counts_tokens_by_the_tokenizer_where_the_server_says_nothing(
    model, conversations, tmp_path
):
    with Server(model=f"{model}/", ttft_ms=1, itl_ms=4, tokens_per_chunk=4) as target:
        words = ("--profile", "vllm-0.6", *guide(model, target, conversations), "--both")
        done = call(tmp_path, *words, "--record", tmp_path / "both.run")
    assert done.returncode == 0, done.stdout
    tokens = re.search(r"^Output tokens +(\d+) +(\d+) ", done.stdout, re.M)
    assert tokens, done.stdout
    assert tokens[1] == tokens[2]
    assert int(tokens[1]) > Run(tmp_path / "both.run").summary["tokens"]["output"]
    assert "counted as" not in done.stdout


def test_the_pytorch_benchmark_file_has_a_record_a_metric(model, target, conversations, tmp_path):
    words = ("--profile", "vllm-0.8", *guide(model, target, conversations), "--result-filename", "r.json")
    done = call(
        tmp_path, *words, "--metadata", "tensor_parallel_size=2", SAVE_TO_PYTORCH_BENCHMARK_FORMAT="1"
    )
    assert done.returncode == 0, done.stdout
    records = json.loads((tmp_path / "r.pytorch.json").read_text())
    assert [record["metric"]["name"] for record in records][:2] == ["median_ttft_ms", "mean_ttft_ms"]
    assert records[0]["benchmark"]["extra_info"]["args"]["tensor_parallel_size"] == "2"
    assert records[0]["benchmark"]["extra_info"]["args"]["request_rate"] == "inf"


def test_without_one_of_its_metrics_there_is_no_pytorch_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
    vllm_file.write_pytorch(tmp_path / "r.json", {}, {"mean_e2el_ms": 1.0}, has_compile=True)
    assert list(tmp_path.iterdir()) == []
    vllm_file.write_pytorch(tmp_path / "r.json", {}, {"mean_ttft_ms": 1.0}, has_compile=True)
    assert [path.name for path in tmp_path.iterdir()] == ["r.pytorch.json"]


def test_no_percentile_metric_is_none_in_old_versions_and_the_usual_ones_in_2026(model, target, tmp_path):
    for profile, has_rows in (("vllm-0.8", False), ("vllm-2026", True)):
        words = f"""--profile {profile} --model {model}/ --tokenizer {model} --base-url {target.url}
            --dataset-name random --random-input-len 12 --random-output-len 2 --num-prompts 2"""
        done = call(tmp_path, *words.split(), "--percentile-metrics", "")
        assert done.returncode == 0, done.stdout
        assert ("Mean TTFT (ms):" in done.stdout) == has_rows


def test_the_vllmperf_command_takes_the_profile_too(model, target, tmp_path):
    words = ["bench", "--profile", "vllm-2026", "--base-url", target.url, "--tokenizer", str(model)]
    words += ["--random-input-len", "12", "--random-output-len", "3", "--num-prompts", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "vllmperf", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Model not specified, fetching first model from server..." in done.stdout


def test_rows_are_40_and_10_wide_and_percentiles_are_words():
    assert row("Successful requests:", 7) == "Successful requests:                     7         "
    assert row("Mean TTFT (ms):", 1234567890.123) == "Mean TTFT (ms):                          1234567890.12"

    class Found:
        mean, median = 1.0, 2.0
        percentiles = ((99.0, 3.0), (99.9, 4.0))

    assert [name for name, _ in metric_section("tpot", Found()).rows][2:] == [
        "P99 TPOT (ms):",
        "P99.9 TPOT (ms):",
    ]


def test_a_timeline_and_the_lengths_are_drawn_beside_the_result(model, target, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    words = f"""--profile vllm-2026 --tokenizer {model} --base-url {target.url} --random-input-len 12
        --random-output-len 6 --num-prompts 4 --save-result --result-filename r.json --plot-timeline
        --plot-dataset-stats --timeline-itl-thresholds 0.1,1000"""
    done = call(tmp_path, *words.split())
    assert done.returncode == 0, done.stdout
    drawn = (tmp_path / "r.timeline.html").read_text()
    assert drawn.count("<title>request") == 4
    assert "gaps below 0.1 ms" in drawn
    assert (tmp_path / "r.dataset_stats.png").read_bytes().startswith(b"\x89PNG")


def test_neighbouring_gaps_of_one_colour_are_one_part_of_a_bar():
    text = page([Bar(0.0, 0.1, [0.01, 0.01, 0.2, 0.01], 3, 5)], (25.0, 50.0))
    assert text.count("<rect") == 4, "waiting, good, bad, good"
    assert page([Bar(0.0, 0.1, [], 3, 1)], (25.0, 50.0)).count("<rect") == 1


def test_an_interrupted_run_prints_what_came_and_ends_with_130(model, target, tmp_path):
    words = f"""--profile vllm-2026 --tokenizer {model} --base-url {target.url} --random-input-len 12
        --random-output-len 3 --num-prompts 100 --request-rate 4 --disable-tqdm --save-result
        --save-detailed --result-filename r.json"""
    command = [sys.executable, str(SCRIPT), *words.split()]
    before = target.stats["finished"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            if line.startswith("Maximum request concurrency"):
                break
        while target.stats["finished"] < before + 4:
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == 130
    assert "Serving Benchmark Result" in rest
    found = json.loads((tmp_path / "r.json").read_text())
    assert 0 < found["completed"] < 100
    assert found["completed"] + found["failed"] == 100
    assert found["errors"].count("not sent: the run was interrupted") == found["failed"]
