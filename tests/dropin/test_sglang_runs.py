"""scripts/benchmark.py on the simulated server, as the prefix-aware guide calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vllmperf.run import Run
from vllmperf.sim import Server

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def server(model, tmp_path):
    with Server(ttft_ms=5, itl_ms=1, model=str(model), truth=str(tmp_path / "truth.jsonl")) as found:
        yield found


def call(folder, *words):
    """`python -m benchmark` with the scripts' folder on the path."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def guide(model, server, tmp_path):
    """The guide's own command, with fewer prompts and a file in the place of its link."""
    file = tmp_path / "long.json"
    rows = [{"conversations": [{"value": f"c{i} river m{j}"} for j in range(16)]} for i in range(4)]
    file.write_text(json.dumps(rows))
    return (
        *("--backend", "vllm", "--model", model, "--host", "127.0.0.1", "--port", server.port),
        *("--dataset-name", "sharegpt", "--dataset-link", f"{file},", "--output-file", "results.jsonl"),
        *("--min-output-len", 3, "--max-output-len", 6, "--max-concurrency", 8, "--request-rate", 500),
        *("--disable-ignore-eos", "false", "--disable-stream", "false"),
        *("--max-conversations", 40, "--num-prompts", 20),
    )


def test_the_guides_command_gives_its_line_and_the_truth_agrees(guide, server, tmp_path):
    done = call(tmp_path, *guide, "--with-warmup", "false")
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["completed"], found["max_concurrency"], found["request_rate"]) == (20, 8, 500.0)
    assert 5 <= found["median_ttft_ms"] <= found["median_e2e_latency_ms"]
    server.stop()  # now the truth is complete
    sent = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert len(sent) == 21
    assert found["total_output_tokens"] == sum(request["completion_tokens"] for request in sent[1:])
    assert "num_conversations: 64\n" in done.stdout
    assert " Serving Benchmark Result " in done.stdout


def test_a_warm_up_runs_everything_twice_and_writes_one_line(guide, tmp_path):
    done = call(tmp_path, *guide, "--with-warmup", "True")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" Serving Benchmark Result ") == 2
    assert done.stdout.index("Running warmup...") < done.stdout.index("Running benchmark...")
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_both_shows_our_figures_beside_sglangs_and_record_keeps_the_run(guide, tmp_path):
    done = call(tmp_path, *guide, "--both", "--record", "run.vllmperf")
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run.vllmperf").summary["requests"]["outcomes"] == {"completed": 20}
    beside = done.stdout.rpartition("=" * 50)[2]
    assert "sglang" in beside
    assert "vllmperf" in beside
    assert "E2EL" in beside
    (tokens,) = [line.split() for line in beside.splitlines() if line.startswith("Output tokens  ")]
    assert tokens[2] == tokens[3]  # what was asked for: the server ignores the end of a text


def test_the_body_may_ask_for_no_stream(guide, tmp_path):
    done = call(tmp_path, *guide, "--extra-request-body", '{"stream": false}')
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.jsonl").read_text())
    assert found["completed"] == 20
    assert found["median_ttft_ms"] == found["median_e2e_latency_ms"] > 5
    assert found["total_output_tokens"] <= 20 * 6
