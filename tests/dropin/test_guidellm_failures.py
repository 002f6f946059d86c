"""What goes wrong in a command of guidellm: exit codes, lines on stderr, and what is kept."""

import os
import signal
import subprocess
import sys
import time

import pytest
from guidellm_commands import FAST, ONCE, only, run, words

from vllmperf.cli import main as vllmperf
from vllmperf.formats import guidellm_file
from vllmperf.sim import Server


def as_process(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "vllmperf", *arguments]


def test_failed_requests_are_errored_rows_and_the_exit_code_stays_0(tmp_path):
    more = "--rate-type synchronous --max-requests 10 --disable-progress"
    code, report = run(tmp_path, more, faults=["status:code=500@every=3"])
    found = only(report)
    assert code == 0
    assert found["request_totals"]["errored"] >= 3
    assert found["requests"]["errored"][0]["error"].startswith("http_error 500")
    assert found["requests"]["errored"][0]["output_tokens"] == 0


def test_a_server_that_is_gone_does_not_fill_the_report_for_the_rest_of_the_time(tmp_path, recorder, capsys):
    url, _, own = recorder
    began = time.monotonic()
    own.good_for = 20
    more = (
        "--profile kind=concurrent,streams=4 --max-seconds 1000 --disable-progress --disable-console-outputs"
    )
    assert vllmperf(words(url, more, tmp_path / "a.json")) == 1
    said = capsys.readouterr().err
    assert "given up after 1000 failed requests in a row, the last: http_error 503" in said
    found = only(guidellm_file.load(tmp_path / "a.json"))
    assert found["request_totals"]["errored"] >= 1000
    assert found["request_totals"]["successful"] > 0
    assert time.monotonic() - began < 500


def test_no_server_is_exit_code_3_with_one_line(tmp_path, capsys):
    code = vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / "a.json"))
    said = capsys.readouterr().err
    assert code == 3
    assert said.count("\n") == 1
    assert "127.0.0.1:9" in said
    assert "--target" in said
    assert not (tmp_path / "a.json").exists()


def test_a_server_that_wants_a_key_is_exit_code_3_and_says_where_to_give_it(tmp_path, recorder, capsys):
    url, _, own = recorder
    own.do_GET = lambda self: self.send_error(401)
    assert vllmperf(words(url, ONCE, tmp_path / "a.json")) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "401" in said
    assert "GUIDELLM__OPENAI__API_KEY" in said


def test_a_model_that_the_server_has_not_is_exit_code_3(tmp_path, capsys):
    code, _ = run(tmp_path, ONCE + " --model other")
    assert code == 3
    assert "other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("--rate-type constant", "--rate"),
        ("--rate-type synchronous --rate 3", "--rate"),
        ('--rate-type synchronous --backend-args {"extra_query":{"a":1}}', "extra_query"),
        ("--rate-type synchronous --output-path out.xlsx", "out.xlsx"),
        ("--rate-type synchronous --data hub/set", "--data is given more than once"),
        ("--rate-type synchronous --unknown-flag 1", "--unknown-flag"),
    ],
)
def test_refusals_are_exit_code_2_and_name_what_is_wrong(tmp_path, capsys, more, word):
    assert vllmperf(words("http://127.0.0.1:9", more, tmp_path / "a.json")) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("target", ["localhost:8000", "ftp://host"])
def test_a_target_that_is_no_address_is_named_by_guidellms_flag(tmp_path, capsys, target):
    assert vllmperf(words(target, ONCE, tmp_path / "a.json")) == 2
    assert f"--target is '{target}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing.json", "report.txt", "text.json"])
def test_what_is_no_report_is_said_in_one_line(tmp_path, capsys, name):
    (tmp_path / "report.txt").write_text("{}")
    (tmp_path / "text.json").write_text("hello")
    assert vllmperf(["guidellm", "benchmark", "from-file", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert "--output-path" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "word"),
    [("no/file.jsonl", "no/file.jsonl"), ("turns=2,prompt_tokens=4,output_tokens=4", "turns is not known")],
)
def test_data_that_cannot_be_used_are_named_before_the_server_is_asked(tmp_path, capsys, data, word):
    assert vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / "a.json", data)) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "instead"),
    [("preprocess dataset a.csv b.jsonl", "--data prompt_tokens"), ("mock-server", "vllmperf sim")],
)
def test_other_commands_of_guidellm_are_refused_with_what_to_do(capsys, command, instead):
    assert vllmperf(["guidellm", *command.split()]) == 2
    said = capsys.readouterr().err
    assert command.split()[0] in said
    assert instead in said
    assert said.count("\n") == 1


def test_config_prints_the_variables(capsys, monkeypatch):
    monkeypatch.setenv("GUIDELLM__MAX_CONCURRENCY", "64")
    assert vllmperf(["guidellm", "config"]) == 0
    assert 'GUIDELLM__MAX_CONCURRENCY="64"' in capsys.readouterr().out


def test_ctrl_c_keeps_what_came(tmp_path):
    path = tmp_path / "out.json"
    with Server(**FAST) as server:
        command = as_process(words(server.url, "--rate-type synchronous --max-seconds 600", path))
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        for line in process.stdout:
            if line.startswith("Created loader"):
                break
        while server.stats["finished"] < 9:  # one after the other: the first have been read
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Benchmarks Stats:" in out
    assert out.rstrip().endswith("Benchmarking interrupted.")
    assert only(guidellm_file.load(path))["request_totals"]["successful"] > 0


@pytest.mark.parametrize("place", ["file/a.json", "folder/b.json", "/proc/nothing/a.json"])
def test_a_place_that_cannot_be_written_is_said_before_the_run(tmp_path, capsys, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "b.json").mkdir(parents=True)
    (tmp_path / "folder" / "b.json" / "benchmarks.json").mkdir()
    assert vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / place)) == 2
    said = capsys.readouterr().err
    assert "--output-path" in said
    assert said.count("\n") == 1


def test_what_stands_in_a_file_stays_until_there_is_something_else_to_write(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    assert vllmperf(words("http://127.0.0.1:9", ONCE, path)) == 3
    assert path.read_text() == "old"
    assert vllmperf(words("http://127.0.0.1:9", ONCE, tmp_path / "new" / "a.json")) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_reader_that_goes_away_does_not_cost_the_report(tmp_path):
    path = tmp_path / "out.json"
    with Server(**FAST) as server:
        command = as_process(words(server.url, "--rate-type synchronous --max-seconds 1", path))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        process.wait(timeout=120)
    assert b"Traceback" not in said
    assert only(guidellm_file.load(path))["request_totals"]["successful"] > 0
