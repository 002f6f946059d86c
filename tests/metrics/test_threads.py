"""The lags of each of the client's threads: which are told, and which thread is called late."""

from pathlib import Path
from typing import Any

import pytest
from synthetic import histogram, quiet_histograms, steady, write_run

import vllmperf as vp
from vllmperf import _engine
from vllmperf.metrics.summary import summarize
from vllmperf.metrics.threads import late_words
from vllmperf.record.reader import read
from vllmperf.report.content import report


def of_threads(name: str, *p99s_ms: float) -> dict[str, _engine.Histogram]:
    """What the engine gives of threads that were always so late, and their sum."""
    each = {f"{name}.{thread}": histogram(*[lag] * 100) for thread, lag in enumerate(p99s_ms)}
    total = _engine.Histogram()
    for one in each.values():
        total.merge(one)
    return {name: total, **each}


def summary_of(tmp_path: Path, histograms: dict[str, _engine.Histogram]) -> Any:
    path = write_run(
        tmp_path / "a.run", steady(200), histograms=quiet_histograms() | histograms, counters={"threads": 2}
    )
    return summarize(read(path))


def test_each_of_several_threads_has_its_lags(tmp_path: Path) -> None:
    found = summary_of(tmp_path, of_threads("loop", 0.1, 0.3) | of_threads("client_lag", 1.0, 2.0))
    first, second = found["client"]["by_thread"]
    assert (first["thread"], second["thread"]) == (0, 1)
    assert (first["client_lag_ms"]["p99"], second["loop_ms"]["p99"]) == pytest.approx((1.0, 0.3), rel=1e-3)
    assert second["schedule_lag_ms"] is None


def test_one_thread_has_no_lags_beside_those_of_the_run(tmp_path: Path) -> None:
    assert summary_of(tmp_path, {})["client"]["by_thread"] is None


def test_the_verdict_names_the_thread_that_is_late(tmp_path: Path) -> None:
    lags = of_threads("client_lag", 0.02, 60.0) | of_threads("loop", 0.01, 0.011)
    (reason,) = summary_of(tmp_path, lags)["verdict"]["reasons"]
    assert reason.endswith("; of threads 0 to 1 it was 1: p99 60 ms, of the others at most 0.02 ms")


@pytest.mark.parametrize(
    ("p99s_ms", "words"),
    [
        ((3.0, 4.0, 5.0), ""),
        (
            (9.0, 1.0, 8.0, 1.5, 1.0),
            "; of threads 0 to 4 they were 0, 2: p99 9 ms, of the others at most 1.5 ms",
        ),
    ],
)
def test_threads_are_late_against_the_one_in_the_middle(
    tmp_path: Path, p99s_ms: tuple[float, ...], words: str
) -> None:
    lags = of_threads("client_lag", *p99s_ms) | of_threads("loop", *p99s_ms)
    assert late_words(summary_of(tmp_path, lags)["client"], "client_lag_ms") == words


def test_the_report_gives_the_range_and_the_last_of_them(tmp_path: Path) -> None:
    lags = of_threads("client_lag", 0.5, 2.0) | of_threads("loop", 0.2, 0.1)
    shown = dict(report(summary_of(tmp_path, lags)).client_facts)
    assert (
        shown["threads"]
        == "2: client lag p99 0.500 to 2.00 ms (thread 1), loop time p99 0.100 to 0.200 ms (thread 0)"
    )


def test_the_lags_of_the_threads_are_all_lags_of_the_run() -> None:
    run = vp.bench(sim=True, num_prompts=20, max_concurrency=4, threads=2, input_len=4, output_len=4)
    rows = run.summary["client"]["by_thread"]
    assert [row["thread"] for row in rows] == [0, 1]
    for key in ("schedule_lag_ms", "client_lag_ms", "loop_ms"):
        assert sum(row[key]["n"] for row in rows if row[key]) == run.summary["client"][key]["n"]
