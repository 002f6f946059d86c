"""The JSON summary to the letter, the help of each command, and runs beside asyncio and threads."""

import json
import subprocess
import sys
import threading
import time

import pytest

import vllmperf
from vllmperf.cli import COMMANDS, main
from vllmperf.errors import UsageError, VllmperfError

FEW = ["--num-prompts", "12", "--input-len", "4", "--output-len", "3", "--no-progress"]
SIM = ["bench", "--sim", "ttft_ms=2,itl_ms=1", *FEW]
SHORT = {
    "sim": {"ttft_ms": 2, "itl_ms": 1},
    "num_prompts": 12,
    "concurrency": 4,
    "input_len": 4,
    "output_len": 3,
}
STATISTICS = {"n", "mean", "std", "min", "p50", "p90", "p95", "p99", "p99.9", "max", "ci95", "ci95_needs"}
KEYS = {
    "tool": {"name", "version"},
    "requests": {"asked", "sent", "completed", "outcomes"},
    "tokens": {"prompt", "output", "source"},
    "throughput": {"requests_per_s", "output_tokens_per_s", "total_tokens_per_s"},
    "in_flight": {"asked", "mean", "max"},
    "metrics": {"ttft_ms", "ttft_scheduled_ms", "tpot_ms", "itl_ms", "e2el_ms", "e2el_scheduled_ms"},
    "client": {
        "schedule_lag_ms",
        "client_lag_ms",
        "loop_ms",
        "coalesced_share",
        "connections_opened",
        "silent_retries",
        "cpu_s",
    },
    "verdict": {"level", "reasons"},
}


def refuse(name):
    raise AssertionError(f"{name} is no JSON")


def summary_of(words, capsys):
    code = main(words)
    return code, json.loads(capsys.readouterr().out, parse_constant=refuse)


# ---- the summary ----


@pytest.mark.parametrize("load", [["--max-concurrency", "4"], ["--request-rate", "300"]])
def test_the_summary_has_every_key_that_is_promised(load, capsys):
    code, found = summary_of([*SIM, *load, "--json"], capsys)
    assert code in (0, 1)
    assert next(iter(found)) == "schema"
    assert (found["schema"], found["profile"]) == (1, "vllmperf")
    assert {"started_at", "duration_s", "plan", "environment"} <= set(found)
    for name, keys in KEYS.items():
        assert keys <= set(found[name]), name
    apart = found["client"]["coalesced_share"] < 1  # a busy machine may read each answer at once
    for name, known in {"ttft_ms": True, "tpot_ms": apart, "itl_ms": apart, "e2el_ms": True}.items():
        assert set(found["metrics"][name] or ()) == (STATISTICS if known else set()), name
    for name in ("schedule_lag_ms", "client_lag_ms", "loop_ms"):
        assert {"p50", "p99", "max"} <= set(found["client"][name])
    is_open = "--request-rate" in load
    assert (found["metrics"]["ttft_scheduled_ms"] is None) != is_open
    assert found["requests"]["outcomes"] == {"completed": 12}
    assert found["started_at"].endswith("Z")


def test_percentiles_that_are_asked_for_come_under_the_same_naming(capsys):
    _, found = summary_of(
        [*SIM, "--max-concurrency", "4", "--json", "--metric-percentiles", "25,99.99,100"], capsys
    )
    assert set(found["metrics"]["e2el_ms"]) == STATISTICS | {"p25", "p99.99", "p100"}


def test_what_was_not_measured_is_null(capsys):
    code, found = summary_of(
        ["bench", "--base-url", "http://127.0.0.1:9", "--model", "m", "--json", *FEW], capsys
    )
    assert code == 3
    assert set(found["metrics"].values()) == {None}
    assert found["requests"]["completed"] == 0
    assert found["verdict"]["level"] == "untrusted"


def test_report_says_of_a_file_what_bench_said_of_the_run(tmp_path, capsys):
    path = tmp_path / "run"
    _, first = summary_of([*SIM, "--max-concurrency", "4", "--json", "--record", str(path)], capsys)
    _, again = summary_of(["report", str(path), "--json"], capsys)
    assert first == again
    assert vllmperf.open_run(path).summary == again


# ---- help and errors ----


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    out, err = capsys.readouterr()
    assert caught.value.code == 0
    assert f"usage: vllmperf {name}" in out
    assert err == ""


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--sim", "nonsense=1"],
        ["bench", "--sim", "ttft_ms=-1"],
        ["bench", "--sim", "faults=nonsense"],
        ["bench", "--sim", "--duration", "0"],
        ["bench", "--sim", "--num-prompts", "0"],
        ["bench", "--sim", "--num-prompts", "2.5"],
        ["bench", "--sim", "--max-concurrency", "-1"],
        ["bench", "--sim", "--request-rate", "nan"],
        ["bench", "--sim", "--request-rate", "0"],
        ["bench", "--sim", "--goodput", "ttft"],
        ["bench", "--sim", "--goodput", "ttft:-5"],
        ["bench", "--sim", "--goodput", "nonsense:5"],
        ["bench", "--sim", "--extra-body", "[1]"],
        ["bench", "--sim", "--header", "novalue"],
        ["bench", "--sim", "--dataset-name", "custom"],
        ["bench", "--sim", "--dataset-name", "custom", "--dataset-path", "/nonexistent"],
        ["bench", "--sim", "--tokenizer", "/nonexistent"],
        ["bench", "--sim", "--arrival", "trace", "--arrival-file", "/nonexistent"],
        ["bench", "--sim", "--metric-percentiles", "101"],
        ["bench", "--sim", "--seed", "-1"],
        ["bench", "--sim", "--record", "/nonexistent/run"],
        ["bench", "--sim", "--threads", "nonsense"],
        ["bench", "--base-url", "ftp://h"],
        ["bench", "--base-url", "http://h:99999"],
        ["bench", "--api-key-file", "/nonexistent"],
        ["report"],
        ["report", "/nonexistent"],
        ["sim", "--port", "99999"],
        ["sim", "--fault", "nonsense"],
        ["nonsense"],
        ["--nonsense"],
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(words, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vllmperf: error: ")
    assert err.count("\n") == 1
    assert len(err) < 400


# ---- where notebooks and services call it ----


def test_several_runs_at_once_do_not_mix():
    found = {}

    def work(n):
        run = vllmperf.bench(**{**SHORT, "num_prompts": n, "output_len": n})
        found[n] = (run.summary["requests"]["completed"], run.summary["tokens"]["output"])

    threads = [threading.Thread(target=work, args=[n]) for n in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: (n, n * n) for n in range(2, 8)}


def test_what_the_progress_function_raises_ends_the_run_and_comes_out():
    def fail(_snapshot):
        raise KeyError("mine")

    began = time.monotonic()
    with pytest.raises(KeyError, match="mine"):
        vllmperf.bench(**{**SHORT, "sim": {"ttft_ms": 600_000}}, progress=fail)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"url": "http://h", "sim": True},
        {"sim": True, "rate": -1},
        {"sim": {"nonsense": 1}},
        {"sim": True, "input_len": 0},
    ],
)
def test_bad_arguments_are_usage_errors(settings):
    with pytest.raises(UsageError):
        vllmperf.bench(**settings)


def test_every_error_for_people_has_an_exit_code():
    from vllmperf import errors

    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, VllmperfError)]
    assert sorted(kind.exit_code for kind in kinds) == [1, 1, 2, 2, 3]


def test_a_run_goes_with_its_last_reference_and_can_be_saved_before(tmp_path):
    run = vllmperf.bench(**SHORT)
    path = run.path
    assert path.exists()
    run.save(tmp_path / "kept")
    with pytest.raises(UsageError, match="exists"):
        run.save(tmp_path / "kept")
    del run
    assert not path.exists()
    assert vllmperf.open_run(tmp_path / "kept").summary["requests"]["completed"] == 12


def test_the_end_of_the_interpreter_in_the_middle_of_a_run_is_no_crash():
    code = (
        "import threading, time, vllmperf\n"
        "work = lambda: vllmperf.bench(sim={'ttft_ms': 60000}, num_prompts=4, concurrency=4)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.8)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr
