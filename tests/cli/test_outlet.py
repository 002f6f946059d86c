"""stdout and stderr that are closed, full, slow or narrow: the command goes on, and one line says what was lost."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vllmperf.cli import main

BENCH = ["bench", "--sim", "ttft_ms=2,itl_ms=1", "--num-prompts", "8", "--max-concurrency", "2", "--input-len", "4",
         "--output-len", "4", "--no-progress"]  # fmt: skip
PYTHON = [sys.executable, "-c"]
TRUSTED_OR_NOT = (0, 1)  # a busy machine may not be trusted


def started(words, **streams):
    command = [sys.executable, "-m", "vllmperf", *map(str, words)]
    return subprocess.run(command, timeout=120, check=False, **streams)


def with_closed_pipe(words):
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = started(words, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    return ended


def test_a_reader_that_goes_away_is_one_line_and_no_error(tmp_path):
    ended = with_closed_pipe([*BENCH, "--record", tmp_path / "run", "--csv", tmp_path / "csv"])
    assert ended.returncode in TRUSTED_OR_NOT
    said = ended.stderr.decode().splitlines()
    assert "stdout was closed" in said[-1]
    assert not any("Traceback" in line for line in said)
    assert len((tmp_path / "csv").read_text().splitlines()) == 10
    assert main(["report", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("words", [["--help"], ["bench", "--help"]])
def test_help_into_a_closed_pipe_is_fine(words):
    ended = with_closed_pipe(words)
    assert ended.returncode == 0
    assert ended.stderr.decode().count("\n") == 1


@pytest.mark.parametrize(
    "words", [[*BENCH], [*BENCH, "--json"], [*BENCH, "--csv", "-"], ["--help"], ["bench", "--help"]]
)
def test_a_full_stdout_is_one_line_and_exit_code_1(words, tmp_path):
    more = (
        ["--save-result", "--result-dir", tmp_path, "--result-filename", "r.json"] if "--sim" in words else []
    )
    with Path("/dev/full").open("w") as full:
        ended = started([*words, *more], stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    said = ended.stderr.decode().splitlines()
    assert "stdout cannot be written (No space left on device)" in said[-1]
    assert sum("error" in line for line in said) == 1
    if more:
        assert json.loads((tmp_path / "r.json").read_text())["completed"] == 8


def test_an_stdout_that_was_never_open_loses_nothing_but_the_table(tmp_path):
    command = f"exec {sys.executable} -m vllmperf {' '.join(BENCH)} --csv {tmp_path / 'csv'} >&-"
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=120, check=False)
    assert ended.returncode in TRUSTED_OR_NOT
    assert "stdout was closed" in ended.stderr.decode().splitlines()[-1]
    assert len((tmp_path / "csv").read_text().splitlines()) == 10


@pytest.mark.parametrize("stream", ["2>/dev/full", "2>&-"])
def test_an_stderr_that_takes_nothing_does_not_disturb_the_run(stream):
    words = [word for word in BENCH if word != "--no-progress"]
    command = f"exec {sys.executable} -m vllmperf {' '.join(words)} --json {stream}"
    ended = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, timeout=120, check=False)
    assert ended.returncode in TRUSTED_OR_NOT
    assert json.loads(ended.stdout)["requests"]["completed"] == 8


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "cp1252"])
def test_what_an_encoding_lacks_is_said_plainer(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = started([*BENCH, "--label", "größer – 模型"], env=environment, **pipes)
    assert ended.returncode in TRUSTED_OR_NOT
    assert ended.stderr == b""
    assert "Throughput" in ended.stdout.decode(encoding.partition(":")[0])


def test_json_loses_nothing_where_the_encoding_is_narrow():
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    ended = started([*BENCH, "--json", "--label", "größer – 模型"], env=environment, stdout=subprocess.PIPE)
    assert json.loads(ended.stdout.decode("latin-1"))["plan"]["label"] == "größer – 模型"


def test_a_pipe_that_does_not_block_is_waited_for():
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_NONBLOCK)
    code = (
        "import sys; from vllmperf.cli import guarded; sys.exit(guarded(lambda: print('x' * 300_000) or 0))"
    )
    process = subprocess.Popen([*PYTHON, code], stdout=write_end)
    os.close(write_end)
    time.sleep(0.2)  # by then the pipe is full
    with os.fdopen(read_end, "rb") as reader:
        assert len(reader.read()) == 300_001
    assert process.wait(timeout=60) == 0


def test_streams_that_somebody_put_in_their_place_are_left_alone(capsys):
    assert main(["report", "/nowhere"]) == 2
    assert "cannot read /nowhere" in capsys.readouterr().err
