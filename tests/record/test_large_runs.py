"""Runs whose gaps are too many to be held: the same figures in passes over the run file, without an array of them."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import NONE, Request, write_run

from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.metrics import in_flight, intervals, statistics, view
from vllmperf.metrics.definitions import BY_NAME
from vllmperf.record import gaps, reader
from vllmperf.record.table import SINCE, narrow, table, wide
from vllmperf.report import csv
from vllmperf.run import Run

HELD = 1_000
"""Gaps; the runs of these tests have more."""
NEAR = pytest.approx


def some_requests(count: int = 400) -> list[Request]:
    """Of one to sixty tokens, some with bursts, several tokens a chunk, shared reads; some failed, none in order of send."""
    drawn = np.random.default_rng(3)
    found = []
    for i in range(count):
        lengths = drawn.lognormal(2.3, 0.4, int(drawn.integers(1, 60)))
        lengths[: int(drawn.integers(0, 3))] = 0.01
        n = len(lengths)
        found.append(
            Request(
                i,
                sent=float(i * 11 + (300 if i % 3 == 0 else 0)),
                ttft=float(drawn.lognormal(4, 0.2)),
                gaps=lengths.tolist(),
                tokens=drawn.integers(1, 4, n).tolist() if i % 2 else [1] * n,
                shared=drawn.integers(0, 2, n).tolist() if i % 5 == 0 else [],
                outcome="http_error" if i % 50 == 7 else "completed",
            )
        )
    return found


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return write_run(tmp_path / "a.run", some_requests(), {"report_interval": 1.0, "max_concurrency": 20})


@pytest.fixture
def few_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "HELD_UP_TO", HELD)
    monkeypatch.setattr(statistics, "EXACT_UP_TO", HELD)
    monkeypatch.setattr(intervals, "EXACT_UP_TO", HELD)
    monkeypatch.setattr(gaps, "GAPS_AT_A_TIME", 300)


def plain(summary: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(summary))
    return found


def test_a_run_that_is_not_held_has_the_same_figures(run_file: Path, request: pytest.FixtureRequest) -> None:
    exact = plain(Run(run_file).summary)
    request.getfixturevalue("few_are_held")
    streamed = plain(Run(run_file).summary)
    assert streamed["gaps"].pop("percentiles") == "histogram, ±0.049 %"
    assert exact["gaps"].pop("percentiles") == "exact"
    for key in ("itl_ms", "itl_token_ms"):
        ours, theirs = (summary["metrics"].pop(key) for summary in (streamed, exact))
        assert ours["n"] == theirs["n"] > HELD
        assert ours["ci95_needs"] == theirs["ci95_needs"]
        for name, value in theirs.items():
            if isinstance(value, float):
                assert ours[name] == NEAR(value, rel=1e-3), name
        for name, bounds in theirs["ci95"].items():
            assert ours["ci95"][name] == (None if bounds is None else NEAR(bounds, rel=2e-3)), name
    streamed.pop("verdict"), exact.pop("verdict")
    assert streamed == exact


def test_a_report_of_a_large_run_makes_no_array_of_all_gaps(
    run_file: Path, few_are_held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("all gaps were read at once")

    monkeypatch.setattr(gaps, "held", refuse)
    run = Run(run_file)
    assert run.summary["metrics"]["itl_ms"]["n"] > HELD
    assert len(BY_NAME["itl"].values(run.done)) == run.summary["gaps"]["n"]


def test_all_gaps_are_there_for_who_asks(run_file: Path, request: pytest.FixtureRequest) -> None:
    held = Run(run_file).gaps
    request.getfixturevalue("few_are_held")
    assert np.array_equal(Run(run_file).gaps, held)


def test_gaps_that_are_read_later_must_be_those_of_the_requests(run_file: Path, few_are_held: None) -> None:
    run = Run(run_file)
    assert len(run.recording.requests) == 400
    run_file.unlink()
    write_run(run_file, some_requests(390))
    with pytest.raises(UsageError, match="was changed while it was read"):
        list(run.recording.gap_blocks())


def test_a_report_takes_less_than_2500_bytes_a_request_of_100_tokens(tmp_path: Path) -> None:
    count = 8_000
    path = write_run(tmp_path / "a.run", [Request(i, sent=10.0 * i, gaps=[10.0] * 99) for i in range(count)])
    assert Run(path).summary["requests"]["completed"] == count  # what is imported once is not of the run
    tracemalloc.start()
    try:
        assert Run(path).summary["requests"]["completed"] == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / count < 2_500  # 7 bytes a gap, and 20 MB whatever the run


def peak_of(run: Run, put_out: Callable[[Run], object]) -> int:
    tracemalloc.start()
    try:
        put_out(run)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rows_of(run: Run) -> None:
    with Path(os.devnull).open("w") as nowhere:
        csv.write(run, nowhere)


@pytest.mark.parametrize(("put_out", "most_bytes"), [(lambda run: run.summary, 130), (rows_of, 130)])
def test_each_request_more_takes_few_bytes_of_a_report(
    put_out: Callable[[Run], object],
    most_bytes: int,
    tmp_path: Path,
    few_are_held: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view, "ROWS_AT_A_TIME", 500)
    monkeypatch.setattr(csv, "ROWS_AT_A_TIME", 500)
    monkeypatch.setattr(reader, "ROWS_AT_A_TIME", 50)
    for module in (intervals, in_flight):
        monkeypatch.setattr(module, "AT_A_TIME", 500)
    few, many = 8_000, 20_000
    peaks = []
    for count in (few, few, many):  # what is imported once is not of the run
        path = tmp_path / f"{len(peaks)}.run"
        write_run(
            path, [Request(i, sent=10.0 * i, ttft=50 + i % 7, gaps=[10.0 + i % 5]) for i in range(count)]
        )
        peaks.append(peak_of(Run(path), put_out))
    assert (peaks[2] - peaks[1]) / (many - few) < most_bytes, peaks


@pytest.mark.parametrize(
    "values",
    [
        [5, 5, 5],
        [NONE, NONE, NONE],
        [-128, -128, NONE],
        [NONE, -128, -128],
        [0, 127, NONE, -127],
        [1, 40_000, NONE, -5],
        [2**40, NONE, 1],
        [-(2**15), NONE, 2**31 - 1, -(2**31)],
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 10])
def test_a_table_gives_the_numbers_that_were_read(values: list[int], rows: int) -> None:
    column = np.array(values, dtype=np.int64)
    assert wide(narrow(column), np.dtype(np.int64)).tolist() == values
    blocks = [column[i : i + rows, None] for i in range(0, len(values), rows)]
    found = table(blocks, np.dtype([("sent_ns", "<i8")]), len(values))
    assert found["sent_ns"].tolist() == values
    assert found["sent_ns"].dtype == np.int64
    mask = column != NONE
    assert found[mask]["sent_ns"].tolist() == column[mask].tolist()
    assert found[mask][::-1]["sent_ns"].tolist() == column[mask][::-1].tolist()
    assert [row["sent_ns"] for row in found] == values
    assert found.copy().tolist() == [(value,) for value in values]


@pytest.mark.parametrize("longest_ns", [100, 10**6, 10**10])
def test_instants_are_given_as_they_were_whatever_happened_before_them(longest_ns: int) -> None:
    names = [*SINCE, "sent_ns"]
    drawn = np.random.default_rng(1)
    instants = 10**12 + drawn.integers(-longest_ns, longest_ns, (600, len(names)))
    instants[drawn.random(instants.shape) < 0.3] = NONE
    found = table([instants[:100], instants[100:]], np.dtype([(name, "<i8") for name in names]), 600)
    some = drawn.random(600) < 0.5
    for name, column in zip(names, instants.T, strict=True):
        assert np.array_equal(found[name], column)
        assert np.array_equal(found[some][name], column[some])
        assert np.array_equal(found[some][5:50][name], column[some][5:50])
        assert np.array_equal(found[7:90][name], column[7:90])


def test_instants_of_a_request_take_half_as_much_as_those_since_the_start_of_the_run() -> None:
    names = [*SINCE, "sent_ns"]
    sent_ns = np.arange(10_000)[:, None] * 10**9
    instants = sent_ns + np.arange(10)[::-1] * 1_000_000 + sent_ns % 7
    tracemalloc.start()
    try:
        found = table([instants], np.dtype([(name, "<i8") for name in names]), len(instants))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / found["sent_ns"].nbytes < 1 + (len(names) - 1) / 2


def test_a_table_reads_as_the_records_do(run_file: Path) -> None:
    requests = Run(run_file).recording.requests
    records = requests.copy()
    assert records.dtype == requests.dtype == np.dtype(_engine.RECORD_DTYPE)
    for name in records.dtype.names:
        assert np.array_equal(records[name], requests[name])
        assert records[name].dtype == requests[name].dtype
    assert requests[3] == records[3]
