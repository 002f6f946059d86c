"""What a run begins and ends with is left out of its figures by a stated rule, and nothing else is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import Request, failed, steady, write_run

import vllmperf
from vllmperf.metrics.summary import summarize
from vllmperf.metrics.trim import settled_at, view
from vllmperf.metrics.view import Completed
from vllmperf.metrics.window import Trim
from vllmperf.record.reader import Recording, read
from vllmperf.report.words import left_out
from vllmperf.run import Run

MS = 1_000_000


def recorded(folder: Path, requests: Sequence[Request], **run: Any) -> Recording:
    return read(write_run(folder / "a.run", requests, **run))


def slow_start(count: int = 408) -> list[Request]:
    """Eight at a time: the first eight take 23,031 ms, all others 331 ms, the last 1 ms of them after the last token."""
    first = [Request(i, ttft=23_000) for i in range(8)]
    return [
        *first,
        *(Request(i, sent=23_031 + (i - 8) // 8 * 331, ttft=300) for i in range(8, count)),
    ]


def open_loop(count: int = 400, every_ms: float = 50, ttft: float = 2_000) -> list[Request]:
    """Sent evenly; each takes ttft and 31 ms more."""
    sent = [i * every_ms for i in range(count)]
    return [Request(i, at, ttft, fields={"scheduled_ns": int(at * MS)}) for i, at in enumerate(sent)]


def test_a_first_wave_that_took_23_s_is_left_out(tmp_path: Path) -> None:
    summary = summarize(recorded(tmp_path, slow_start(), plan={"max_concurrency": 8, "num_prompts": 408}))
    trim = summary["trim"]
    assert trim is not None
    assert (trim["warmup_s"], trim["requests_left_out"], trim["drain_s"]) == (pytest.approx(23.031), 8, 0)
    assert (trim["found_by"], trim["median_ms"]) == ("ttft", [23_000, 300])
    ttft = summary["metrics"]["ttft_ms"]
    assert ttft is not None
    assert (ttft["n"], ttft["mean"], ttft["max"]) == (400, 300, 300)
    # 400 requests of 4 tokens in 50 waves of 331 ms
    assert summary["throughput"]["requests_per_s"] == pytest.approx(8 / 0.331, rel=1e-3)
    assert summary["throughput"]["output_tokens_per_s"] == pytest.approx(32 / 0.331, rel=1e-3)
    assert summary["in_flight"]["mean"] == pytest.approx(8)
    assert summary["duration_s"] == pytest.approx(23.031 + 50 * 0.331)


def test_counts_are_of_the_whole_run(tmp_path: Path) -> None:
    requests = slow_start()
    requests[3] = failed(3, "reset", "gone")
    summary = summarize(recorded(tmp_path, requests))
    assert summary["trim"] is not None
    assert summary["trim"]["requests_left_out"] == 8
    assert summary["requests"]["outcomes"] == {"completed": 407, "reset": 1}
    assert summary["requests"]["sent"] == 408
    assert summary["tokens"]["output"] == 407 * 4


def test_without_the_rule_everything_counts(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.run", slow_start())
    run = Run(path)
    whole = run.untrimmed
    assert (run.ttft.n, whole.ttft.n, len(run.requests)) == (400, 408, 408)
    assert whole.summary["trim"] == {
        "warmup_s": 0.0,
        "drain_s": 0.0,
        "requests_left_out": 0,
        "rule": "off",
        "found_by": None,
        "requests_unlike": None,
        "median_ms": None,
        "drift": None,
    }
    assert whole.ttft.mean == pytest.approx((8 * 23_000 + 400 * 300) / 408)
    assert Run(path, trim=False).summary["metrics"] == whole.summary["metrics"]
    assert run.requests["left_out"].sum() == 8
    assert whole.requests["left_out"].sum() == 0


@pytest.mark.parametrize("requests", [steady(50), steady(200), steady(2_000, 16), slow_start(48)])
def test_a_short_run_and_one_that_is_steady_lose_nothing(tmp_path: Path, requests: list[Request]) -> None:
    trim = summarize(recorded(tmp_path, requests))["trim"]
    assert trim is not None
    assert (trim["warmup_s"], trim["drain_s"], trim["requests_left_out"]) == (0, 0, 0)


def test_an_open_loop_is_measured_between_its_ramp_and_its_drain(tmp_path: Path) -> None:
    """The 41 requests of the first 2.031 s fill it up (90 % of them have ended at 3.88 s), from 19.95 s on it drains."""
    summary = summarize(recorded(tmp_path, open_loop(), plan={"max_concurrency": None}))
    trim = summary["trim"]
    assert trim is not None
    assert (trim["found_by"], trim["drain_s"]) == ("ramp", pytest.approx(2.031))
    assert 2.0 < trim["warmup_s"] < 4.1
    assert summary["throughput"]["requests_per_s"] == pytest.approx(20, rel=0.02)
    assert summary["in_flight"]["mean"] == pytest.approx(20 * 2.031, rel=0.02)
    row = summary["metrics"]["ttft_ms"]
    assert row is not None
    assert row["n"] == 400 - trim["requests_left_out"], (
        "what was sent before the drain counts, however late it ended"
    )


def test_an_open_loop_whose_ends_are_short_loses_nothing(tmp_path: Path) -> None:
    trim = summarize(recorded(tmp_path, open_loop(ttft=50), plan={"max_concurrency": None}))["trim"]
    assert trim is not None
    assert (trim["warmup_s"], trim["drain_s"], trim["requests_left_out"]) == (0, 0, 0)


def test_a_run_that_never_settles_is_kept_whole_and_the_verdict_says_so(tmp_path: Path) -> None:
    requests = [Request(i, sent=i * 400.0, ttft=100 + i) for i in range(200)]
    summary = summarize(recorded(tmp_path, requests, plan={"max_concurrency": None}))
    trim = summary["trim"]
    assert trim is not None
    assert trim["requests_left_out"] == 0
    assert trim["drift"] == {"of": "ttft_ms", "first_half": 149.5, "second_half": 249.5}
    assert summary["verdict"]["reasons"] == [
        "TTFT was 150 ms in the first half of the run, 250 ms in the second: it never settled, so that the figures depend on "
        "how long the run was"
    ]


def test_a_request_counts_by_the_part_of_its_tokens_within_the_time(tmp_path: Path) -> None:
    # tokens at 50, 60, 70, 80 ms; the time that counts is 65 to 165 ms: half of it, and all of the second request
    recording = recorded(tmp_path, [Request(0), Request(1, sent=66), Request(2, sent=200)])
    done = Completed(recording, Trim(0, 65 * MS, 165 * MS, 281 * MS, left_out=1, found_by="ttft"))
    assert done.shares.tolist() == [0.5, 1.0, 0.0]
    assert done.work_per_s() == pytest.approx(15)
    assert done.output_tokens_per_s == pytest.approx(60)
    assert done.requests["index"].tolist() == [1, 2]


def test_goodput_is_of_what_counts(tmp_path: Path) -> None:
    good = summarize(recorded(tmp_path, slow_start(), plan={"goodput": {"ttft": 1000}}))["goodput"]
    assert good is not None
    assert (good["met"], good["share"]) == (400, 1.0)


# ---- the rule on series ----

RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize("count", [60, 400, 10_000])
def test_a_long_start_is_found(count: int) -> None:
    values = np.concatenate([np.full(8, 76.0), 1 + 0.2 * RANDOM.random(count - 8)])
    assert settled_at(values) in (8, 9, 10), "groups of five, and of the last one what is unlike the rest"


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.0, 2.0])
def test_long_tails_are_no_warm_up(sigma: float) -> None:
    cuts = [settled_at(np.exp(sigma * RANDOM.normal(size=300))) for _ in range(100)]
    assert sum(cut != 0 for cut in cuts) <= 5


def test_single_stalls_are_no_warm_up() -> None:
    cuts = [settled_at(np.where(RANDOM.random(300) < 0.01, 50.0, 1.0)) for _ in range(100)]
    assert sum(cut != 0 for cut in cuts) <= 5


def test_a_trend_never_settles() -> None:
    assert settled_at(np.linspace(1, 2, 300) + 0.1 * RANDOM.random(300)) is None


# ---- against the simulator ----


def test_a_slow_first_wave_of_a_real_run_is_left_out() -> None:
    slow = "slow_headers:byte_us=5000@at=0,1,2,3,4,5,6,7"
    run = vllmperf.bench(
        sim={"ttft_ms": 20, "itl_ms": 2, "faults": [slow]},
        num_prompts=240,
        concurrency=8,
        input_len=4,
        output_len=5,
    )
    trim = run.summary["trim"]
    assert trim is not None
    assert trim["warmup_s"] > 0.5, "150 bytes at 5 ms each"
    assert run.requests["left_out"][:7].all()
    assert run.ttft.max < run.untrimmed.ttft.max
    assert run.summary["requests"]["completed"] == 240


# ---- in words ----


def test_the_table_says_what_was_left_out(tmp_path: Path) -> None:
    whole = recorded(tmp_path, slow_start())
    words = dict(left_out(summarize(whole)["trim"]))
    assert words == {"left out": "the first 23 s: 8 requests took 23 s to the first token, then 300 ms"}
    assert left_out(summarize(whole, trim=False)["trim"]) == ()


def test_slow_requests_are_told_apart_from_quick_ones_of_that_time(tmp_path: Path) -> None:
    requests = [Request(i, sent=25 * i, ttft=3_000 if i < 8 else 30) for i in range(500)]
    ((_, words),) = left_out(summarize(recorded(tmp_path, requests))["trim"])[:1]
    assert "8 requests took 3 s to the first token, then 30 ms; 1" in words
    assert words.endswith("requests were sent in that time")


def test_the_time_that_is_left_out_is_shaded(tmp_path: Path) -> None:
    from vllmperf.report import html

    run = Run(write_run(tmp_path / "a.run", slow_start()))
    assert html.of_run(run).count("left out of the figures") == 1
    assert "left out of the figures" not in html.of_run(run.untrimmed)


def test_the_view_of_an_empty_run_is_empty(tmp_path: Path) -> None:
    assert view(recorded(tmp_path, [])).trim is None
