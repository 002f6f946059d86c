"""Each metric against numbers worked out by hand, and percentiles against NumPy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import MS, NONE, Request, failed, quiet_histograms, steady, write_run

from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.metrics import statistics
from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.summary import summarize
from vllmperf.record.reader import read


def summary_of(tmp_path: Path, requests: Sequence[Request], **run: Any) -> dict[str, Any]:
    return summarize(read(write_run(tmp_path / "a.run", requests, **run)))


def mean(summary: dict[str, Any], key: str) -> float:
    return float(summary["metrics"][key]["mean"])


def test_one_request_gives_each_metric_by_its_definition(tmp_path: Path) -> None:
    # sent at 5, tokens at 55, 65, 85, 95: TTFT 50, E2EL 90, TPOT 40/3, ITL 10, 20, 10
    request = Request(0, sent=5, ttft=50, gaps=[10, 20, 10], fields={"scheduled_ns": 3 * MS})
    summary = summary_of(tmp_path, [request])
    assert mean(summary, "ttft_ms") == 50
    assert mean(summary, "e2el_ms") == 90
    assert mean(summary, "tpot_ms") == pytest.approx(40 / 3)
    assert mean(summary, "itl_ms") == pytest.approx(40 / 3)
    assert mean(summary, "ttft_scheduled_ms") == 52
    assert mean(summary, "e2el_scheduled_ms") == 92
    assert summary["metrics"]["itl_ms"]["n"] == 3
    assert summary["metrics"]["itl_ms"]["p50"] == 10


def test_tpot_divides_by_tokens_not_by_chunks(tmp_path: Path) -> None:
    request = Request(0, gaps=[10, 10], fields={"output_tokens": 11})
    assert mean(summary_of(tmp_path, [request]), "tpot_ms") == 2


def test_tpot_of_several_choices_is_per_choice(tmp_path: Path) -> None:
    # two choices of 3 tokens each over 20 ms: 10 ms a token, not 20 / 5
    request = Request(0, gaps=[10, 10], fields={"output_tokens": 6, "choices": 2})
    assert mean(summary_of(tmp_path, [request]), "tpot_ms") == 10


def test_one_token_has_no_tpot_and_no_itl(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [Request(0, gaps=[])])
    assert summary["metrics"]["tpot_ms"] is None
    assert summary["metrics"]["itl_ms"] is None
    assert mean(summary, "ttft_ms") == mean(summary, "e2el_ms") == 50


def test_an_answer_that_came_in_one_read_has_no_tpot(tmp_path: Path) -> None:
    request = Request(0, gaps=[], fields={"output_tokens": 9, "chunks": 9, "coalesced": 9})
    assert summary_of(tmp_path, [request])["metrics"]["tpot_ms"] is None


def test_a_json_body_has_a_latency_but_no_first_token(tmp_path: Path) -> None:
    body = {
        "first_token_ns": NONE,
        "first_text_ns": NONE,
        "first_token_seen_ns": NONE,
        "chunks": 0,
        "output_tokens": 4,
    }
    summary = summary_of(tmp_path, [Request(0, ttft=70, gaps=[], fields=body)])
    assert summary["metrics"]["ttft_ms"] is None
    assert summary["metrics"]["tpot_ms"] is None
    assert mean(summary, "e2el_ms") == 70
    assert summary["tokens"]["output"] == 4


def test_a_closed_loop_has_no_metrics_from_a_schedule(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(4))
    assert summary["open_loop"] is False
    assert summary["metrics"]["ttft_scheduled_ms"] is None
    assert summary["metrics"]["e2el_scheduled_ms"] is None
    assert summary["metrics"]["slot_wait_ms"] is None


def test_only_completed_requests_count(tmp_path: Path) -> None:
    slow = Request(1, ttft=9000, gaps=[900], outcome="truncated")
    summary = summary_of(tmp_path, [Request(0), slow, failed(2, "refused", "no")])
    assert summary["metrics"]["ttft_ms"]["n"] == 1
    assert summary["metrics"]["itl_ms"]["max"] == 10
    assert summary["tokens"]["output"] == 4
    assert summary["requests"]["outcomes"] == {"completed": 1, "refused": 1, "truncated": 1}


def test_percentiles_are_those_of_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    requests = [
        Request(i, ttft=float(t), gaps=random.lognormal(2, 1, 7).tolist())
        for i, t in enumerate(random.gamma(3, 20, 101))
    ]
    recording = read(write_run(tmp_path / "a.run", requests))
    summary = summarize(recording, [12.5, 99.99])
    for key, samples in {
        "ttft_ms": (recording.requests["first_token_ns"] - recording.requests["sent_ns"]) / MS,
        "itl_ms": recording.gaps_ns.astype(np.float64) / MS,
    }.items():
        row = summary["metrics"][key]
        for percentile in (12.5, 50, 90, 95, 99, 99.9, 99.99):
            assert row[f"p{percentile:g}"] == pytest.approx(np.percentile(samples, percentile), rel=1e-6)
        assert row["std"] == pytest.approx(np.std(samples))
        assert (row["min"], row["max"]) == pytest.approx((samples.min(), samples.max()))


def test_percentiles_of_the_plan_are_added(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(4), plan={"metric_percentiles": [25, 99.99]})
    row = summary["metrics"]["ttft_ms"]
    assert [key for key in row if key.startswith("p")] == [
        "p25",
        "p50",
        "p90",
        "p95",
        "p99",
        "p99.9",
        "p99.99",
    ]


def test_beyond_the_cap_percentiles_come_from_a_histogram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "EXACT_UP_TO", 5)
    summary = summary_of(tmp_path, [Request(0, gaps=[10, 11, 12, 13, 14, 15, 16])])
    row = summary["metrics"]["itl_ms"]
    assert row["p50"] == pytest.approx(13, rel=5e-4)
    assert row["mean"] == pytest.approx(13, rel=1e-6)
    assert row["n"] == 7
    assert summary["gaps"]["percentiles"] == "histogram, ±0.049 %"


# ---- tokens per chunk ----


def test_itl_per_token_spreads_a_gap_over_its_tokens(tmp_path: Path) -> None:
    request = Request(0, gaps=[30, 10], tokens=[3, 1], fields={"output_tokens": 5})
    row = summary_of(tmp_path, [request])["metrics"]["itl_token_ms"]
    assert row["n"] == 4
    assert row["mean"] == row["max"] == 10


def test_itl_per_token_is_not_guessed(tmp_path: Path) -> None:
    request = Request(0, gaps=[30, 10], tokens=[3, 0], fields={"output_tokens": 9})
    assert summary_of(tmp_path, [request])["metrics"]["itl_token_ms"] is None


def test_as_many_chunks_as_usage_tokens_means_one_each(tmp_path: Path) -> None:
    row = summary_of(tmp_path, steady(4))["metrics"]["itl_token_ms"]
    assert (row["n"], row["mean"]) == (12, 10)


def test_chunks_counted_as_tokens_say_nothing_about_tokens_per_chunk(tmp_path: Path) -> None:
    chunks = _engine.TOKENS_SOURCES.index("chunks")
    summary = summary_of(tmp_path, [Request(0, fields={"tokens_source": chunks})])
    assert summary["metrics"]["itl_token_ms"] is None
    assert summary["tokens"]["source"] == "chunks"


# ---- sums ----


def test_throughput_is_completed_work_over_first_sent_to_last_end(tmp_path: Path) -> None:
    # 2 x 4 tokens; last end at 100 + 80 + 1 ms, first sent at 20 ms
    summary = summary_of(tmp_path, [Request(0, sent=20), Request(1, sent=100)])
    assert summary["duration_s"] == pytest.approx(0.161)
    assert summary["throughput"]["requests_per_s"] == pytest.approx(2 / 0.161)
    assert summary["throughput"]["output_tokens_per_s"] == pytest.approx(8 / 0.161)
    assert summary["throughput"]["total_tokens_per_s"] == pytest.approx(40 / 0.161)


def test_failures_stretch_the_time_but_do_not_count_as_work(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [Request(0), failed(1, "reset", "", sent=995)])
    assert summary["duration_s"] == pytest.approx(1.0)
    assert summary["throughput"]["requests_per_s"] == pytest.approx(1.0)


def test_unknown_prompt_tokens_are_null_not_zero(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [Request(0, fields={"prompt_tokens": NONE})])
    assert summary["tokens"]["prompt"] is None
    assert summary["throughput"]["total_tokens_per_s"] is None
    assert summary["throughput"]["output_tokens_per_s"] is not None


def test_token_sources_are_counted(tmp_path: Path) -> None:
    ids = _engine.TOKENS_SOURCES.index("token_ids")
    summary = summary_of(tmp_path, [Request(0), Request(1), Request(2, fields={"tokens_source": ids})])
    assert summary["tokens"]["source"] == "mixed"
    assert summary["tokens"]["sources"] == {"usage": 2, "token_ids": 1}


def test_in_flight_is_a_mean_over_time(tmp_path: Path) -> None:
    # 0..81 and 40.5..121.5: one, two, one, each 40.5 ms
    summary = summary_of(tmp_path, [Request(0), Request(1, sent=40.5)])
    assert summary["in_flight"] == {"asked": 2, "mean": pytest.approx(4 / 3), "max": 2, "mean_sending": 1.0}


def test_a_request_sent_when_another_ends_does_not_overlap_it(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [Request(0), Request(1, sent=81)])
    assert summary["in_flight"]["max"] == 1


def test_coalesced_share_is_of_chunks_and_shared_share_of_gaps(tmp_path: Path) -> None:
    request = Request(0, gaps=[5, 5, 10, 10], shared=[1, 1, 0, 0], fields={"coalesced": 2})
    summary = summary_of(tmp_path, [request])
    assert summary["client"]["coalesced_share"] == pytest.approx(2 / 5)
    shares = {name: summary["gaps"][name] for name in ("n", "shared", "shared_share", "percentiles")}
    assert shares == {"n": 4, "shared": 2, "shared_share": 0.5, "percentiles": "exact"}
    assert mean(summary, "itl_ms") == pytest.approx(30 / 4)


def test_the_clients_lags_come_from_the_engines_histograms(tmp_path: Path) -> None:
    client = summary_of(tmp_path, steady(4), histograms=quiet_histograms())["client"]
    assert client["client_lag_ms"]["max"] == pytest.approx(0.08)
    assert client["schedule_lag_ms"]["p50"] == pytest.approx(0.02, rel=1e-3)
    assert client["cpu_s"] == 0.25
    assert client["connections_opened"] == 2


def test_lags_that_were_not_measured_are_null(tmp_path: Path) -> None:
    client = summary_of(tmp_path, steady(4), histograms={})["client"]
    assert client["client_lag_ms"] is client["schedule_lag_ms"] is client["loop_ms"] is None


# ---- goodput ----


@pytest.mark.parametrize(
    ("objectives", "met"),
    [
        ({"ttft": 50.0}, 2),  # equal is met
        ({"ttft": 49.9}, 0),
        ({"ttft": 100.0, "e2el": 79.0}, 1),
        ({"tpot": 10.0}, 2),
        (["ttft:50", "tpot:5"], 1),
    ],
)
def test_goodput_counts_requests_that_met_every_objective(tmp_path: Path, objectives: Any, met: int) -> None:
    requests = [
        Request(0),
        Request(1, gaps=[]),
        failed(2, "refused", ""),
    ]  # e2el 80 and 50; the second has no TPOT
    good = summary_of(tmp_path, requests, plan={"goodput": objectives})["goodput"]
    assert good["met"] == met
    assert good["share"] == pytest.approx(met / 3)


def test_goodput_names_an_objective_that_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'itl'.*ttft, ttft_scheduled,.*tpot, e2el"):
        summary_of(tmp_path, [Request(0)], plan={"goodput": {"itl": 5}})


def test_without_objectives_there_is_no_goodput(tmp_path: Path) -> None:
    assert summary_of(tmp_path, [Request(0)], plan={"goodput": {}})["goodput"] is None


def test_every_metric_says_what_it_is() -> None:
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.key == f"{metric.name}_{metric.unit}"
        assert all((metric.short, metric.label, metric.formula, metric.source, metric.needs))
        assert (metric.of_request is None) != (metric.samples is None)
