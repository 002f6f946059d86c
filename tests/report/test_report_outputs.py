"""HTML, CSV, plots, the Run object, the live panel, and the command `vllmperf report`."""

import argparse
import builtins
import csv
import io
import json
import os
import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_runs import PLAN, closed_loop, summary_of
from synthetic import Request, batch, failed, steady, write_run

from vllmperf.cli import report as command
from vllmperf.errors import UsageError
from vllmperf.loadgen.progress import Snapshot
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.record.reader import read
from vllmperf.record.writer import RunWriter
from vllmperf.report import console, html, live, svg
from vllmperf.report import csv as csv_report
from vllmperf.run import Run, open_run


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return write_run(tmp_path / "a.run", closed_loop(), plan=PLAN)


def parsed(fragment: str) -> ET.Element:
    """The fragment as XML: proves that every tag is closed and every text escaped."""
    return ET.fromstring(fragment.replace(" class=bad", ' class="bad"'))


# ---- HTML ----


def test_the_fragment_is_well_formed_and_needs_nothing_from_outside(run_file: Path) -> None:
    text = Run(run_file)._repr_html_()
    parsed(text)
    assert "<script" not in text
    assert not re.search(r"(src|href|url\()", text)
    assert "trusted" in text


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    requests = [*steady(4), failed(4, "reset", "<script>alert(1)</script>&\"'")]
    summary = summary_of(tmp_path, requests, {"model": "<b>&model", "goodput": {"ttft": 1}})
    text = html.fragment(summary)
    parsed(text)
    assert "<script>" not in text
    assert "&lt;b&gt;&amp;model" in text


def test_an_empty_run_has_a_page_too(tmp_path: Path) -> None:
    parsed(Run(write_run(tmp_path / "a.run", []))._repr_html_())


def test_a_cdf_rises_from_left_to_right() -> None:
    samples = np.random.default_rng(1).lognormal(17, 0.3, 1000)
    text = svg.cdf("TTFT", samples)
    points = re.search(r'points="([^"]+)"', text)
    assert points
    x, y = np.array([pair.split(",") for pair in points[1].split()], dtype=float).T
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) <= 0).all()
    assert x.min() >= svg.LEFT
    assert x.max() <= svg.WIDTH - svg.RIGHT
    parsed(text)


@pytest.mark.parametrize("samples", [[], [5.0], [5.0, 5.0]])
def test_without_two_different_samples_there_is_no_plot(samples: list[float]) -> None:
    assert svg.cdf("TTFT", np.array(samples)) == ""


# ---- CSV ----


def csv_of(run: Run) -> tuple[str, list[dict[str, str]]]:
    """Its first line, and the rows."""
    file = io.StringIO()
    csv_report.write(run, file)
    first, _, rest = file.getvalue().partition("\n")
    return first, list(csv.DictReader(io.StringIO(rest)))


def test_the_csv_has_a_row_a_request(run_file: Path) -> None:
    _, rows = csv_of(Run(run_file))
    assert len(rows) == 200
    assert (rows[0]["index"], rows[0]["outcome"], rows[0]["ttft_ms"]) == ("0", "completed", "50.000000")
    assert rows[0]["scheduled_ns"] == rows[0]["ttft_scheduled_ms"] == ""
    assert (rows[7]["outcome"], rows[7]["ttft_ms"], rows[7]["status"]) == ("http_error", "", "500")
    assert "engine [core] died" in rows[7]["error"]


def test_a_text_of_several_lines_stays_one_row(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", [failed(0, "http_error", 'a\n"b",c')])
    first, rows = csv_of(Run(path))
    assert [row["error"] for row in rows] == ['a\n"b",c']
    assert (
        first == "# 95 % intervals: requests_per_s 0 [-]; output_tokens_per_s - [-]; total_tokens_per_s - [-]"
    )


def test_the_first_line_of_the_csv_has_each_number_and_its_interval_or_what_it_would_take(
    run_file: Path,
) -> None:
    run = Run(run_file)
    first, _ = csv_of(run)
    low, high = run.summary["metrics"]["ttft_ms"]["ci95"]["mean"]
    assert first.isascii()
    assert f"ttft_ms mean {run.ttft.mean:.2f} [{low:.2f} {high:.2f}]" in first
    assert re.search(r"requests_per_s [\d.]+ \[[\d.]+ [\d.]+\]", first)
    assert re.search(r"p99.9 [\d.]+ \[needs \d{4,}\]", first)


# ---- Run ----


def test_a_run_gives_a_data_frame(run_file: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = Run(run_file).frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc[0, "outcome"] == "completed"
    assert frame["ttft_ms"].count() == 198
    assert frame["ttft_ms"].mean() == 50
    assert np.isnan(frame.loc[0, "scheduled_ns"])
    assert frame["last_token_ns"].max() > 0
    assert "engine [core] died" in frame.loc[7, "error"]


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if a package were not installed."""
    real = builtins.__import__

    def refuse(wanted: str, *more: Any, **named: Any) -> Any:
        if wanted.split(".")[0] == name:
            raise ImportError(wanted)
        return real(wanted, *more, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_the_requests_are_an_array_whose_columns_name_their_units(run_file: Path) -> None:
    requests = Run(run_file).requests
    assert requests["index"].tolist() == list(range(200))
    assert np.isnan(requests["scheduled_ns"]).all()
    assert np.nanmax(requests["ttft_ms"]) == 50
    assert np.isnan(requests["ttft_ms"][7])
    assert requests["outcome"].tolist().count("completed") == 198


def test_without_pandas_the_frame_says_what_to_install(
    run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "pandas")
    with pytest.raises(UsageError, match="pip install"):
        Run(run_file).frame()


def test_each_metric_is_an_attribute_with_its_statistics(run_file: Path) -> None:
    run = Run(run_file)
    row = run.summary["metrics"]["ttft_ms"]
    assert row is not None
    assert (run.ttft.n, run.ttft.mean, run.ttft.std, run.ttft.p50) == (
        row["n"],
        row["mean"],
        row["std"],
        row["p50"],
    )
    assert (run.itl.p99, run.itl.p99_9, run.itl.max) == (10, 10, 10)
    assert run.itl.percentile(99.95) == 10
    assert set(BY_NAME) <= set(dir(run))
    assert repr(run.ttft) == "TTFT, ms: mean 50.00, p50 50.00, p99 50.00, max 50.00 (n = 198)"


def test_a_metric_without_samples_is_nan_and_says_what_it_needs(run_file: Path) -> None:
    metric = Run(run_file).ttft_scheduled
    assert metric.n == 0
    assert np.isnan([metric.mean, metric.std, metric.min, metric.max, metric.p99]).all()
    assert "needs a streamed answer and a schedule" in repr(metric)


def test_what_is_no_metric_and_no_statistic_is_named(run_file: Path) -> None:
    with pytest.raises(AttributeError, match="its metrics are ttft, "):
        _ = Run(run_file).speed
    for name in ("median", "p101", "p"):
        with pytest.raises(AttributeError, match="p0 to p100"):
            getattr(Run(run_file).ttft, name)


def test_a_run_shows_its_numbers(run_file: Path) -> None:
    text = repr(Run(run_file))
    assert "198 of 200 requests completed" in text
    assert "TTFT p50 50.00 p99 50.00 ms" in text
    assert text.endswith("trusted")


def test_a_run_can_be_pickled_by_its_path_or_with_its_file(run_file: Path) -> None:
    run = Run(run_file)
    assert pickle.loads(pickle.dumps(run)).summary == run.summary
    packed = pickle.dumps(Run(run_file, keep_alive=object()))
    run_file.unlink()
    again = pickle.loads(packed)
    assert again.summary == run.summary
    assert again.path != run_file


def test_a_run_as_a_dictionary_is_its_summary_in_json(run_file: Path) -> None:
    assert json.loads(json.dumps(Run(run_file).to_dict()))["requests"]["completed"] == 198


def test_two_runs_are_compared(run_file: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "b.run", steady(100), plan=PLAN)
    found = Run(run_file).compare(Run(other))
    changes = {row.key: row.change for row in found.rows}
    assert changes["completed"] == pytest.approx(100 / 198 - 1)
    assert changes["mean_ttft_ms"] == 0
    assert "Output tokens/s" in repr(found)
    parsed(found._repr_html_())


def test_gaps_are_in_ms(run_file: Path) -> None:
    gaps = Run(run_file).gaps
    assert gaps.shape == (594,)
    assert (gaps == 10).all()


def test_a_run_is_saved_as_a_copy_that_is_never_written_over(run_file: Path, tmp_path: Path) -> None:
    run = Run(run_file)
    saved = run.save(tmp_path / "b.run")
    assert Run(saved).summary["requests"] == run.summary["requests"]
    with pytest.raises(UsageError, match="exists already"):
        run.save(saved)
    assert run.save(run_file) == run_file


def test_what_is_no_run_is_named_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run file /nope"):
        open_run("/nope")
    (tmp_path / "a.run").write_text("no run")
    with pytest.raises(UsageError, match="not a run file"):
        open_run(tmp_path / "a.run")


# ---- plots ----


@pytest.mark.parametrize("name", ["ttft", "itl", "tpot", "e2el"])
def test_plots_draw_the_distribution(run_file: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    axes = getattr(Run(run_file).plot, name)()
    assert axes.lines[0].get_ydata()[-1] == 1
    assert "ms" in axes.get_xlabel()
    assert getattr(Run(run_file).plot, name)(ax=axes) is axes
    assert axes._repr_png_().startswith(b"\x89PNG"), "a notebook shows it"


def test_a_plot_leaves_the_backend_alone(run_file: Path) -> None:
    pytest.importorskip("matplotlib")
    code = (
        "import sys, vllmperf; ax = vllmperf.open_run(sys.argv[1]).plot.ttft(); import matplotlib; "
        "print(matplotlib.get_backend(auto_select=False), 'matplotlib.pyplot' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(run_file)]
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["None", "False"]


def test_without_matplotlib_the_error_says_what_to_install(
    run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "matplotlib")
    for name in [name for name in sys.modules if name.startswith("vllmperf.report.plots")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"pip install 'vllmperf\[plots\]'"):
        Run(run_file).plot.ttft()


def test_a_metric_that_the_run_does_not_have_cannot_be_drawn(run_file: Path) -> None:
    with pytest.raises(UsageError, match="no samples of ttft_scheduled"):
        Run(run_file).plot.cdf("ttft_scheduled")
    with pytest.raises(UsageError, match="no metric 'speed'"):
        Run(run_file).plot.cdf("speed")


# ---- live ----

SNAPSHOT = Snapshot(
    elapsed_s=20.0,
    asked=1000,
    sent=400,
    in_flight=8,
    done=392,
    completed=390,
    errors={"http_error": 2},
    output_tokens_per_s=1630.4,
    ttft_ms_p50=51.23,
    ttft_ms_p99=70.0,
    client_lag_ms_p99=0.1234,
    time_left_s=30.0,
    state="running",
)


def test_the_plain_line_tells_everything() -> None:
    assert live.line(SNAPSHOT) == (
        "vllmperf: 20 s, sent 400 of 1,000, in flight 8, done 392, errors 2 (http error 2), 1,630 tok/s, "
        "TTFT p50 51.2 p99 70.0 ms, client lag p99 0.123 ms, 30 s left"
    )


def test_the_panel_tells_the_same() -> None:
    text = live.panel(SNAPSHOT).plain
    assert len(text.splitlines()) == 3
    for part in (
        "running",
        "40 %",
        "sent 400 of 1,000",
        "errors 2 (http error 2)",
        "1,630 tok/s",
        "30 s left",
    ):
        assert part in text


def test_nothing_known_yet_is_no_error() -> None:
    first = Snapshot(elapsed_s=0.0, asked=None, sent=0, in_flight=0, done=0, completed=0, state="warming")
    assert "sent 0" in live.panel(first).plain
    assert live.line(first) == "vllmperf: 0 s, sent 0, in flight 0, done 0, errors 0"


def test_without_a_terminal_there_is_a_line_every_ten_seconds_at_most() -> None:
    file = io.StringIO()
    with live.Live(file) as show:
        for tenth in range(350):
            show(Snapshot(elapsed_s=tenth / 10, asked=None, sent=0, in_flight=0, done=0, completed=0))
    assert [line.split(",")[0] for line in file.getvalue().splitlines()] == [
        "vllmperf: 10 s",
        "vllmperf: 20 s",
        "vllmperf: 30 s",
    ]


def test_quiet_is_quiet() -> None:
    file = io.StringIO()
    with live.Live(file, quiet=True) as show:
        show(SNAPSHOT)
    assert file.getvalue() == ""


def test_the_panel_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    with live.Live(file) as show:
        show(SNAPSHOT)
    text = file.getvalue()
    assert "sent 400 of 1,000" in text
    assert text.count("\x1b[2K") >= 3  # each line of the panel is wiped
    assert text.rstrip("\n").endswith("\x1b[2K") or "\x1b[?25h" in text


# ---- the command ----


def run_command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    return command.run(parser.parse_args(["report", *words]))


def test_the_command_prints_the_table(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(str(run_file)) == 0
    assert capsys.readouterr().out == console.table(Run(run_file).summary)


def test_the_command_prints_json(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(str(run_file), "--json", "--metric-percentiles", "99.99")
    summary = json.loads(capsys.readouterr().out)
    assert summary["schema"] == 1
    assert "p99.99" in summary["metrics"]["ttft_ms"]


def test_the_command_writes_csv_and_html(
    run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(str(run_file), "--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.html"))
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 202
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert "wrote" in capsys.readouterr().err


def test_csv_can_go_to_stdout(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(str(run_file), "--csv", "-")
    assert capsys.readouterr().out.startswith("# 95 % intervals: ")


def test_a_file_that_cannot_be_written_is_named(run_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        run_command(str(run_file), "--csv", str(tmp_path / "no" / "a.csv"))


@pytest.mark.parametrize("text", ["fast", "50,200", "-1"])
def test_a_bad_percentile_is_refused(run_file: Path, text: str) -> None:
    with pytest.raises(SystemExit):
        run_command(str(run_file), f"--metric-percentiles={text}")


def test_the_command_says_that_a_run_was_killed(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
        writer.append(batch([Request(0)]))
        writer._put_meta(writer={"pid": 2**22 + 1, "host": read(tmp_path / "a.run").meta["writer"]["host"]})
    words = [sys.executable, "-m", "vllmperf", "report", str(tmp_path / "a.run")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "this run was killed: 1 request was recorded; those in flight are lost" in done.stdout


def test_a_bad_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "vllmperf", "report", str(tmp_path / "no.run")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("vllmperf: error: cannot read ")
