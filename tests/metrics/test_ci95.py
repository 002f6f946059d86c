"""Each metric of a run, its throughput and its goodput carry their 95 % intervals, or say how many requests would do."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import Request, write_run

from vllmperf.metrics import intervals, upper_bound
from vllmperf.metrics.ci95 import with_upper_bounds
from vllmperf.report import console, html
from vllmperf.report.margins import is_beyond, margin
from vllmperf.report.show import show
from vllmperf.run import Run

RANDOM = np.random.default_rng(11)


def made(folder: Path, count: int, in_order: bool = True, **plan: object) -> Run:
    """One at a time, TTFT drawn from a gamma distribution, three gaps of 10 ms."""
    requests, at = [], 0.0
    for i, ttft in enumerate(RANDOM.gamma(4, 10, count).tolist()):
        requests.append(Request(i if in_order else count - i, at, ttft))
        at += ttft + 31
    return Run(write_run(folder / "a.run", requests, plan={"max_concurrency": 1, **plan}))


def test_the_bounds_are_those_of_the_values_in_order_of_send(tmp_path: Path) -> None:
    run = made(tmp_path, 1000, in_order=False)
    row = run.summary["metrics"]["ttft_ms"]
    assert row is not None
    order = np.argsort(run.recording.requests["sent_ns"])
    values = run.recording.requests["first_token_ns"][order] - run.recording.requests["sent_ns"][order]
    level = np.ones(1000)
    mean = intervals.mean_interval(values.astype(float), in_flight=level)
    p90 = intervals.percentile_intervals(values.astype(float), [90], in_flight=level)[0]
    assert row["ci95"]["mean"] == pytest.approx([mean.low / 1e6, mean.high / 1e6])
    assert row["ci95"]["p90"] == pytest.approx([p90.low / 1e6, p90.high / 1e6])
    assert run.ttft.ci95() == pytest.approx(tuple(row["ci95"]["mean"]))
    assert run.ttft.ci95("p90") == pytest.approx(tuple(row["ci95"]["p90"]))
    assert run.ttft.interval(90).half == pytest.approx(p90.half / 1e6)


def test_a_percentile_that_200_requests_do_not_carry_names_how_many_would(tmp_path: Path) -> None:
    run = made(tmp_path, 200)
    row = run.summary["metrics"]["ttft_ms"]
    assert row is not None
    assert row["ci95"]["p99.9"] is None
    assert row["ci95_needs"]["p99.9"] == intervals.needed(99.9)
    assert run.ttft.ci95("p99.9") is None
    assert run.ttft.interval("p99.9").needed == row["ci95_needs"]["p99.9"]
    assert is_beyond(row, "p99.9")
    assert not is_beyond(row, "p50")
    text = console.table(run.summary, metric_percentiles=[50, 99.9])
    line = next(line for line in text.splitlines() if line.startswith("  TTFT"))
    assert "–" in line
    assert f"{row['ci95_needs']['p99.9']:,} for p99.9" in " ".join(text.split())


def test_throughput_and_goodput_have_bounds_around_them(tmp_path: Path) -> None:
    run = made(tmp_path, 1000, goodput={"ttft": 40})
    summary = run.summary
    for name in ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s"):
        low, high = summary["throughput"]["ci95"][name]
        assert 0.9 * summary["throughput"][name] < low < summary["throughput"][name] < high
    good = summary["goodput"]
    assert good is not None
    assert good["ci95"]["share"][0] < good["share"] < good["ci95"]["share"][1]
    assert good["ci95"]["requests_per_s"][0] < good["requests_per_s"] < good["ci95"]["requests_per_s"][1]


def test_gaps_belong_to_their_requests(tmp_path: Path) -> None:
    requests = [
        Request(i, i * 200.0, gaps=[gap] * 20) for i, gap in enumerate(RANDOM.gamma(4, 2, 300).tolist())
    ]
    run = Run(write_run(tmp_path / "a.run", requests))
    low, high = run.itl.ci95() or (0, 0)
    means = run.tpot.samples
    assert high - low == pytest.approx(3.9 * means.std() / np.sqrt(300), rel=0.4), (
        "not as if 6,000 gaps were independent"
    )


def test_margins_have_the_digits_of_their_figure() -> None:
    assert margin(12.31, [12.23, 12.39], 2) == "±0.08"
    assert margin(1040.0, [1039.99, 1040.01], 0) == "±1", "never less than the last digit that is shown"
    assert margin(10.0, [9.9, 11.0], 1) == "−0.1 +1.0"
    assert margin(10.0, None, 1) == ""


@pytest.mark.parametrize("width", [80, 100])
def test_margins_stand_behind_the_figures_or_below_them(tmp_path: Path, width: int) -> None:
    text = console.table(made(tmp_path, 1000).summary, width=width)
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("  TTFT"))
    assert ("±" in lines[place]) == (width == 100)
    assert ("±" in lines[place + 1].split("±")[0] + lines[place + 1]) or width == 100
    assert max(map(len, lines)) <= width


def test_the_page_has_the_margins(tmp_path: Path) -> None:
    assert "±" in html.of_run(made(tmp_path, 1000))


def test_what_has_no_interval_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path, 60)
    with pytest.raises(ValueError, match="mean and p0 to p100"):
        run.ttft.ci95("max")
    with pytest.raises(ValueError, match="within 0 and 100"):
        run.ttft.interval(101)


def test_the_bound_of_mlcommons_stands_beside_ours_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path, 1000)
    show(run, mlperf=True)
    out = capsys.readouterr().out
    assert "p99 ≤" in out
    row = with_upper_bounds(run.summary, run.done)["metrics"]["ttft_ms"]
    place = 1000 - upper_bound.discarded(1000, 99)
    assert row["mlcommons"]["p99"] == pytest.approx(np.sort(run.ttft.samples)[place])
    assert row["mlcommons"]["p99"] >= row["p99"]
    show(run, html_to=str(tmp_path / "page"), mlperf=True)
    assert "p99 ≤" in (tmp_path / "page").read_text()
    show(run)
    assert "≤" not in capsys.readouterr().out
