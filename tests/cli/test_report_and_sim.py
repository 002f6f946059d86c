"""vllmperf report and vllmperf sim as commands."""

import csv
import json
import signal
import subprocess
import sys

import pytest

import vllmperf
from vllmperf.cli import main


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "run"
    sim = {"ttft_ms": 2, "itl_ms": 1, "faults": ["status@at=3"]}
    vllmperf.bench(sim=sim, num_prompts=12, concurrency=4, input_len=4, output_len=3, record=path)
    return path


def out_of(words, capsys):
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    assert "error" not in err
    return out


def test_the_table_names_outcomes_and_the_columns_that_are_asked_for(recorded, capsys):
    out = out_of(
        ["report", recorded, "--metric-percentiles", "25,99.9", "--percentile-metrics", "ttft,e2el"], capsys
    )
    assert "TTFT" in out
    assert "p25" in out
    assert "\n  ITL " not in out
    assert "http error 500        1" in out
    assert "\x1b" not in out


def test_csv_has_a_row_a_request(recorded, capsys, tmp_path):
    out = out_of(["report", recorded, "--csv", "-"], capsys)
    rows = list(csv.DictReader(out.splitlines()[1:]))
    assert [row["index"] for row in rows] == [str(i) for i in range(12)]
    assert [row["outcome"] for row in rows].count("http_error") == 1
    out_of(["report", recorded, "--csv", tmp_path / "csv"], capsys)
    assert (tmp_path / "csv").read_text().splitlines() == out.splitlines()


def test_html_is_one_file(recorded, capsys, tmp_path):
    out_of(["report", recorded, "--html", tmp_path / "html"], capsys)
    text = (tmp_path / "html").read_text()
    assert "TTFT" in text
    assert "src=" not in text


@pytest.mark.parametrize(
    "words",
    [["--metric-percentiles", "a"], ["--metric-percentiles", "101"], ["--percentile-metrics", "nonsense"]],
)
def test_bad_arguments_of_report_are_one_line(recorded, words, capsys):
    assert main(["report", str(recorded), *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sim_says_where_it_listens_serves_and_ends_on_a_signal(number, tmp_path, capsys):
    truth = tmp_path / "truth"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vllmperf",
            "sim",
            "--port",
            "0",
            "--ttft_ms=1",
            "--itl-ms",
            "1",
            "--truth",
            str(truth),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    greeting = process.stdout.readline()
    url = next(word for word in greeting.split() if word.startswith("http://"))
    words = ["bench", "--base-url", url, "--num-prompts", "5", "--input-len", "4", "--output-len", "3"]
    main([*words, "--max-concurrency", "5", "--no-progress", "--json"])
    assert json.loads(capsys.readouterr().out)["tokens"]["output"] == 15
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert truth.read_text().count("\n") >= 5
