"""bench --repeat: several runs of one plan, and how much they differ."""

import json
from statistics import fmean

import pytest

import vllmperf as vp
from vllmperf import repeats as several
from vllmperf.cli import main
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen import repeated
from vllmperf.loadgen.task import Task
from vllmperf.metrics.difference import Estimate
from vllmperf.metrics.intervals import Interval
from vllmperf.metrics.repeats import repeat_interval
from vllmperf.report.repeats import sheet

QUICK = {"sim": {"ttft_ms": 5, "itl_ms": 1}, "max_concurrency": 4, "num_prompts": 12, "output_len": 3}
WORDS = [
    "bench",
    "--sim",
    "ttft_ms=5,itl_ms=1",
    "--max-concurrency",
    "4",
    "--num-prompts",
    "12",
    "--output-len",
    "3",
    "--no-progress",
]


def told(value, half):
    estimate = Estimate(value, Interval(value - half, value + half, 500.0, None, 12))
    return several.Told(0, 100, "trusted", {}, {"ttft_p99": estimate})


def made_up(monkeypatch, *found):
    """Repeats of runs that say this."""
    left = list(found)
    monkeypatch.setattr(several.Told, "of", classmethod(lambda _cls, _run: left.pop(0)))
    return several.Repeats([None] * len(found), len(found))


def test_each_run_has_a_seed_and_a_file_of_its_own(tmp_path):
    found = vp.repeat(None, 2, record=tmp_path / "run.vllmperf", seed=7, **QUICK)
    assert [run.path.name for run in found] == ["run.1.vllmperf", "run.2.vllmperf"]
    assert [vp.open_run(run.path).plan.workload.seed for run in found] == [7, 8]
    assert [told.completed for told in found.told] == [12, 12]
    values = found.ttft_mean.values
    assert found.ttft_mean.mean == pytest.approx(fmean(values))
    assert found.ttft_mean.interval == repeat_interval(values)


def test_the_command_prints_a_table_and_json(capsys):
    assert main([*WORDS, "--repeat", "2"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "2 runs, completed requests: 12, 12" in shown
    assert "TTFT" in shown
    assert main([*WORDS, "--repeat", "2", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert len(found["numbers"]["ttft_p99"]["values"]) == 2


def test_runs_that_differ_more_than_their_intervals_allow_are_named(monkeypatch):
    found = made_up(monkeypatch, told(100, 2), told(101, 2), told(150, 2))
    assert found.ttft_p99.differs
    assert "P99 TTFT: the runs differ more than their own intervals allow (100, 101, 150 ms" in " ".join(
        sheet(found).text().split()
    )


def test_runs_that_are_alike_are_not_named(monkeypatch):
    found = made_up(monkeypatch, told(100, 2), told(101, 2), told(99, 2))
    assert found.ttft_p99.differs is False
    assert "differ more" not in sheet(found).text()


def interrupting(monkeypatch, error):
    real, calls = repeated.record_run, []

    def record_run(*args, **named):
        calls.append(args)
        if len(calls) > 1:
            raise error
        return real(*args, **named)

    monkeypatch.setattr(repeated, "record_run", record_run)


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "interrupted"), (TargetError("nobody there"), "nobody there")]
)
def test_what_ends_the_series_keeps_the_runs_that_have_finished(monkeypatch, error, reason):
    interrupting(monkeypatch, error)
    found = vp.repeat(None, 3, **QUICK)
    assert len(found) == 1
    assert found.ended == reason
    assert f"1 run, completed requests: 12; 3 were asked for: {reason}" in sheet(found).text()


def test_ctrl_c_exits_with_130(monkeypatch, capsys):
    interrupting(monkeypatch, KeyboardInterrupt())
    assert main([*WORDS, "--repeat", "3"]) == 130
    assert "interrupted" in capsys.readouterr().out


def test_a_run_file_that_is_there_is_said_before_the_first_run(tmp_path):
    (tmp_path / "run.2.vllmperf").write_text("x")
    with pytest.raises(UsageError, match=r"run\.2\.vllmperf exists already"):
        repeated.repeat_run(Task.of(QUICK), 2, tmp_path / "run.vllmperf")
    assert not (tmp_path / "run.1.vllmperf").exists()


@pytest.mark.parametrize("more", [["--csv", "x.csv"], ["--html", "x.html"], ["--save-result"]])
def test_what_is_of_one_run_is_refused(more, capsys):
    assert main([*WORDS, "--repeat", "2", *more]) == 2
    assert "is of one: leave it out" in capsys.readouterr().err
    assert main([*WORDS, "--repeat", "1"]) == 2
