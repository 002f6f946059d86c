"""Whole runs of llm_bench against the simulator: exit codes, what is printed, how many users there are."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vllmperf.sim
from vllmperf.dropin.llm_bench.main import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "llm_bench.py"
FAST = {"ttft_ms": 2, "itl_ms": 0.5}


def words(server, more):
    return f"-H {server.url} --provider vllm -m sim --headless --only-summary {more}".split()


def run(capsys, more, **settings):
    """(exit code, stdout, stderr) of a run against a simulator with these settings."""
    with vllmperf.sim.Server(**{**FAST, **settings}) as server:
        code = main(words(server, more))
    said = capsys.readouterr()
    return code, said.out, said.err


def value(out, name):
    return re.search(rf"^{re.escape(name)} *: (.*)$", out, re.MULTILINE).group(1)


def test_a_run_ends_with_tables_summary_and_a_line_of_csv(capsys, tmp_path):
    path = tmp_path / "summary.csv"
    for _ in range(2):
        code, out, err = run(capsys, f"-u 3 -r 3 -t 2s -p 40 -o 8 --summary-file {path}")
        assert code == 0
    assert out.startswith("************************ Provider vllm using model sim ***")
    assert out.rstrip().endswith("=" * 80)
    assert "Percentiles are not rounded" in err
    assert re.search(r"^POST     /v1/completions +\d+     0\(0.00%\)", err, re.MULTILINE)
    header, *lines = csv.reader(path.read_text().splitlines())
    assert len(lines) == 2
    assert dict(zip(header, lines[-1], strict=True))["Num Requests"] == value(out, "Num Requests")


def test_times_are_those_of_the_server(capsys):
    _, out, _ = run(capsys, "-u 2 -r 2 -t 2s -p 40 -o 9 --logprobs 1", ttft_ms=20, itl_ms=5)
    first, total = float(value(out, "Time To First Token")), float(value(out, "Total Latency"))
    assert 20 <= first < total - 39
    assert total < 5000  # a busy machine adds what it likes
    assert float(value(out, "Latency Per Token")) == pytest.approx(
        (total - first) / 9
    )  # 8 gaps over 9 tokens
    assert float(value(out, "Num Tokens")) == 9


def test_there_are_never_more_requests_than_users(capsys, tmp_path):
    truth = tmp_path / "truth.jsonl"
    code, out, _ = run(capsys, "-u 4 -r 2 -t 4s -p 40 -o 20", truth=str(truth))
    assert code == 0
    starts, ends = in_flight(truth)
    changes = sorted([(t, 1) for t in starts] + [(t, -1) for t in ends])
    levels = np.cumsum([step for _, step in changes])
    assert levels.max() == 4
    first_s = changes[0][0]
    early = [level for (t, _), level in zip(changes, levels, strict=True) if t < first_s + 0.2]
    assert max(early) <= 2  # the others start a second later
    assert int(value(out, "Concurrency")) == 4


def in_flight(truth):
    """Begin and end in s of each request by the simulator's own account."""
    rows = [json.loads(line) for line in truth.read_text().splitlines()]
    return [row["read_mono_ns"] / 1e9 for row in rows], [row["end_mono_ns"] / 1e9 for row in rows]


def test_a_fixed_rate_is_kept_and_statistics_begin_with_the_first_answer(capsys):
    code, out, err = run(capsys, "--qps 40 -u 20 -r 20 -t 3s -p 40 -o 4")
    assert code == 0
    assert out.count("Resetting stats after traffic reach a steady state") == 1
    assert value(out, "Concurrency") == "QPS 40.0 constant"
    assert 25 < float(value(out, "Qps")) < 60
    posts = int(re.search(r"^POST +\S+ +(\d+)", err, re.MULTILINE).group(1))
    assert posts == int(value(out, "Num Requests")) + 1


def test_too_few_users_for_the_rate_are_told(capsys):
    code, out, _ = run(capsys, "--qps 100 -u 1 -r 1 -t 1s -p 40 -o 4", ttft_ms=100)
    assert code == 0
    assert "WARNING: not enough locust users to keep up with the desired QPS." in out


def test_statistics_of_2026_begin_when_all_users_are_there(capsys, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n')
    more = f"--profile 2026-06 --no-chat --dataset @{rows} -u 2 -r 1 -t 1s -o 4"
    code, out, err = run(capsys, more)
    assert code == 0
    assert "Resetting stats after traffic reached a steady state" in err
    assert "Response received" not in out
    per_s = float(value(out, "Qps"))
    assert int(value(out, "Num Requests")) == pytest.approx(per_s, rel=0.35)  # of the last second, not of two


def test_a_number_of_requests_ends_a_run_of_2026(capsys, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n')
    began_s = time.monotonic()
    code, out, _ = run(capsys, f"--profile 2026-06 --no-chat --dataset @{rows} --max-requests 5 -t 300s -o 4")
    assert code == 0
    assert int(value(out, "Num Requests")) >= 5
    assert time.monotonic() - began_s < 200


def test_requests_and_answers_are_shown_on_demand(capsys, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "what is shown"}\n')
    more = f"--no-chat --dataset @{rows} -t 2s -o 4 --show-request --show-response"
    _, _, err = run(capsys, f"--profile 2026-06 {more}")
    assert '"prompt": "what is shown"' in err
    _, out, _ = run(capsys, "-t 2s -p 40 -o 4 --show-response")
    assert re.search(r"^Response received: .*\n---\n.+\n---$", out, re.MULTILINE)


# ---- failures ----


def test_refused_requests_of_2024_are_exceptions_and_the_exit_code_alone_tells(capsys):
    code, out, err = run(capsys, "-u 2 -r 2 -t 2s -p 40 -o 4", faults=["status:code=503@every=3"])
    assert code == 1
    assert int(value(out, "Num Requests")) > 10
    assert re.search(r"^POST +\S+ +\d+     0\(0.00%\)", err, re.MULTILINE)
    assert "Error in response" in err


def test_errors_within_a_stream_fail_the_run(capsys):
    code, out, err = run(capsys, "-u 2 -r 2 -t 2s -p 40 -o 8", faults=["stream_error@every=4"])
    assert code == 1
    assert "Failed to parse response" in out
    assert "Summary" not in out
    assert int(re.search(r"^POST +\S+ +\d+ +(\d+)\(", err, re.MULTILINE).group(1)) > 0


def test_refused_requests_of_2026_are_failures_without_a_summary(capsys, tmp_path):
    rows, path = tmp_path / "rows.jsonl", tmp_path / "summary.csv"
    rows.write_text('{"prompt": "a"}\n')
    more = f"--profile 2026-06 --no-chat --dataset @{rows} -u 2 -r 2 -t 2s -o 4 --summary-file {path}"
    code, out, err = run(capsys, more, faults=["status:code=503@every=3"])
    assert code == 1
    assert out == ""
    assert not path.exists()
    assert re.search(r"Test failed: \d+/\d+ requests failed", err)
    assert "Error report" in err


def test_when_nothing_succeeds_there_is_no_summary(capsys):
    code, out, _ = run(capsys, "-u 2 -r 2 -t 3s -p 40 -o 4", faults=["status:code=503"])
    assert code == 1
    assert "Summary" not in out
    assert out.endswith("Test failed due to failed requests\n")


def test_equal_errors_are_shown_a_few_times(capsys):
    _, _, err = run(capsys, "-u 2 -r 2 -t 2s -p 40 -o 4", faults=["status:code=503"])
    assert err.count("Error in response") == 10


def test_the_exit_code_after_errors_can_be_chosen(capsys):
    code, _, _ = run(
        capsys, "-u 2 -r 2 -t 2s -p 40 -o 4 --exit-code-on-error 0", faults=["status:code=503@every=3"]
    )
    assert code == 0


def test_without_a_server_there_is_one_line_and_exit_code_3(capsys):
    assert main(["-H", "http://127.0.0.1:1"]) == 3
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "-H" in said.err


def test_model_and_provider_are_asked_for_when_they_are_not_given(capsys):
    with vllmperf.sim.Server(**FAST) as server:
        code = main(f"-H {server.url} -u 1 -r 1 -t 2s -p 40 -o 4 --only-summary".split())
    said = capsys.readouterr()
    assert code == 0
    assert value(said.out, "Provider") == "vllm"
    assert re.search(r"^GET      /v1/models +1 ", said.err, re.MULTILINE)


def test_ctrl_c_ends_a_run_with_its_summary():
    with vllmperf.sim.Server(**FAST) as server:
        command = [sys.executable, str(SCRIPT), *words(server, "-u 2 -r 2 -p 40 -o 4")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in child.stdout:
            if line.startswith("Response received"):
                break
        os.kill(child.pid, signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert int(value(out, "Num Requests")) > 0
