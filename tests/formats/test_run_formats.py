"""Runs in files: every format is recognised, read and written; what a file does not say is None."""

import csv
import json
import pickle
from pathlib import Path

import pytest
from synthetic import failed, steady, write_run

from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.formats import runs
from vllmperf.run import Run

PLAN = {
    "dataset_name": "random",
    "backend": "openai",
    "model": "tiny",
    "num_prompts": 40,
    "max_concurrency": 4,
    "request_rate": "inf",
    "burstiness": 1.0,
}
READ_BACK = ("vllm", "guidellm", "llm_bench", "json", "run_file")
PATHS = {"vllm": "r.json", "guidellm": "r.json", "llm_bench": "r.csv", "json": "r.json", "run_file": "r.run"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    requests = steady(40)
    requests[7] = failed(7, "http_error", "engine | died", sent=243, status=500)
    return Run(write_run(tmp_path / "a.run", requests, plan=PLAN))


def test_the_formats_are_the_modules_of_the_folder() -> None:
    assert {"csv", "guidellm", "html", "json", "llm_bench", "markdown", "run_file", "vllm"} <= set(
        runs.names()
    )
    assert set(runs.writable()) <= set(runs.names())


@pytest.mark.parametrize("name", READ_BACK)
def test_a_run_comes_back_from_every_format_that_is_read(name: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "out" / PATHS[name]
    path.parent.mkdir()
    runs.write(run, path, name)
    found = runs.read(path)
    assert found.summary["requests"]["completed"] == 39
    for key in ("ttft_ms", "e2el_ms"):
        row, wanted = found.summary["metrics"][key], run.summary["metrics"][key]
        if key == "ttft_ms" or name != "vllm":  # vLLM writes E2EL only where it is asked for
            assert row is not None
            assert wanted is not None
            to_the_end_ms = (
                1.0 if (name, key) == ("guidellm", "e2el_ms") else 0.0
            )  # guidellm's latency ends later
            assert row["mean"] == pytest.approx(wanted["mean"] + to_the_end_ms, rel=1e-6)
            assert row["p99"] == pytest.approx(wanted["p99"] + to_the_end_ms, rel=0.01)
    assert found.ttft.mean == pytest.approx(run.ttft.mean)
    assert found.summary["throughput"]["requests_per_s"] == pytest.approx(
        run.summary["throughput"]["requests_per_s"], rel=0.05
    )


@pytest.mark.parametrize("name", [name for name in READ_BACK if name != "run_file"])
def test_what_a_foreign_file_does_not_say_is_none(name: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / f"b{Path(PATHS[name]).suffix}"
    runs.write(run, path, name)
    found = runs.read(path)
    assert not found.has_requests
    if name != "json":
        assert found.summary["client"]["cpu_s"] is None
        assert found.summary["metrics"]["slot_wait_ms"] is None
        assert found.summary["verdict"]["level"] == "unknown"
    with pytest.raises(UsageError, match="no single requests"):
        _ = found.requests
    assert pickle.loads(pickle.dumps(found)).summary == found.summary


@pytest.mark.parametrize("name", ["csv", "run_file", "guidellm"])
def test_a_format_of_requests_is_refused_where_there_are_none(name: str, run: Run, tmp_path: Path) -> None:
    runs.write(run, tmp_path / "b.json", "vllm")
    with pytest.raises(UsageError, match="no single requests"):
        runs.write(runs.read(tmp_path / "b.json"), tmp_path / "c", name)
    assert not (tmp_path / "c").exists()


def test_the_command_writes_a_run_in_several_formats(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        word for name in ("markdown", "html", "csv") for word in ("--to", name, str(tmp_path / f"o.{name}"))
    ]
    assert main(["report", str(run.path), *words]) == 0
    assert capsys.readouterr().out == ""
    markdown = (tmp_path / "o.markdown").read_text()
    assert "| Latency, ms | mean |" in markdown
    assert "engine \\| died" in markdown
    assert "<table>" in (tmp_path / "o.html").read_text()
    assert len(list(csv.reader((tmp_path / "o.csv").read_text().splitlines()[1:]))) == 41


@pytest.mark.parametrize("name", READ_BACK)
def test_the_command_shows_a_run_of_any_format(
    name: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"b{Path(PATHS[name]).suffix}"
    runs.write(run, path, name)
    assert main(["report", str(path), "--json", str(tmp_path / "new.json")]) == 0
    assert "TTFT" in capsys.readouterr().out
    assert json.loads((tmp_path / "new.json").read_text())["requests"]["completed"] == 39


def test_a_foreign_run_is_written_in_the_formats_of_figures(run: Run, tmp_path: Path) -> None:
    runs.write(run, tmp_path / "a.json", "guidellm")
    foreign = runs.read(tmp_path / "a.json")
    for name in ("vllm", "llm_bench", "json", "html", "markdown"):
        runs.write(foreign, tmp_path / f"b.{name}", name)
    assert runs.read(tmp_path / "b.vllm").ttft.mean == pytest.approx(run.ttft.mean)


def test_lines_of_a_csv_are_runs_of_their_own(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    for _ in range(2):
        runs.write(run, path, "llm_bench")
    assert len(runs.read_all(path)) == 2
    with pytest.raises(UsageError, match="holds 2 runs"):
        runs.read(path)
    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out.count("Latency, ms") == 2
    assert main(["report", str(path), "--to", "json", str(tmp_path / "x.json")]) == 2


@pytest.mark.parametrize("text", ["", "hello", "{}", '{"a": 1}', "a,b\n1,2\n", "\x00\x01"])
def test_a_file_of_no_known_format_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    assert main(["report", str(path)]) == 2
    error = capsys.readouterr().err
    assert "holds no run in a known format" in error
    assert error.count("\n") == 1


def test_a_format_that_there_is_not_is_refused_with_those_that_there_are(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run.path), "--to", "xml", str(tmp_path / "a")]) == 2
    assert "known are csv" in capsys.readouterr().err
