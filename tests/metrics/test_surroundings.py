"""The verdict on what was around a run: its load, the machine, the server's own counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import Request, steady, write_run

from vllmperf.metrics.drift import rank_sum_z
from vllmperf.metrics.growth import growth_of
from vllmperf.metrics.summary import summarize
from vllmperf.record.reader import read

QUIET = {
    "throttled_periods_share": 0.0,
    "steal_share": 0.0,
    "clock_steps": 0,
    "asleep_s": 0.0,
    "seconds": 10.0,
}


def summary_of(tmp_path: Path, requests: list[Request], **run: Any) -> dict[str, Any]:
    return summarize(read(write_run(tmp_path / "a.run", requests, **run)))


def names(summary: dict[str, Any]) -> list[str]:
    return [finding["name"] for finding in summary["verdict"]["findings"]]


def level(summary: dict[str, Any], name: str) -> str:
    return next(one["level"] for one in summary["verdict"]["findings"] if one["name"] == name)


def open_loop(count: int, every_ms: float, ttft_of: Any, gaps: Any = (10.0,) * 3) -> list[Request]:
    return [
        Request(
            i,
            sent=i * every_ms,
            ttft=ttft_of(i),
            gaps=gaps,
            fields={"scheduled_ns": round(i * every_ms * 1e6)},
        )
        for i in range(count)
    ]


# ---- the load ----


def test_no_more_requests_pile_up_than_come() -> None:
    assert growth_of([10.0 * i for i in range(8)], 4.0, 10.0) == 1.0


def test_a_queue_that_grows_without_end_is_told_with_its_share(tmp_path: Path) -> None:
    # 100/s come, 80/s are served: each request waits 2.5 ms longer than the one before
    summary = summary_of(tmp_path, open_loop(1000, 10.0, lambda i: 50.0 + 2.5 * i))
    assert summary["growth"]["share"] == pytest.approx(0.2, abs=0.02)
    assert "growing" in names(summary)
    reason = next(one["reason"] for one in summary["verdict"]["findings"] if one["name"] == "growing")
    assert "waiting for a first token" in reason


def test_a_queue_far_over_the_capacity_makes_the_run_untrusted(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, open_loop(1000, 10.0, lambda i: 50.0 + 10.0 * i))
    assert level(summary, "growing") == "untrusted"


def test_the_ramp_of_long_answers_is_no_growing_queue(tmp_path: Path) -> None:
    # each answer takes 4 s of a run of 10 s: for 4 s the requests in flight rise as fast as they come
    summary = summary_of(tmp_path, open_loop(1000, 10.0, lambda _: 300.0, gaps=(1233.0,) * 3))
    assert summary["growth"]["share"] == 0
    assert "growing" not in names(summary)


def test_long_contexts_that_pile_up_before_any_answer_ends_are_seen(tmp_path: Path) -> None:
    # first tokens come one a second, requests twice a second; an answer takes a minute more
    requests = open_loop(120, 500.0, lambda i: 1000.0 + 500.0 * i, gaps=(20_000.0,) * 3)
    assert level(summary_of(tmp_path, requests), "growing") == "untrusted"


def test_a_queue_that_goes_up_and_down_is_steady(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, open_loop(2000, 10.0, lambda i: 200.0 + 150.0 * np.sin(i / 40)))
    assert "growing" not in names(summary)


def test_a_closed_loop_has_no_queue_that_grows(tmp_path: Path) -> None:
    assert summary_of(tmp_path, steady(200))["growth"] is None


def test_a_rate_that_was_not_sent_is_told(tmp_path: Path) -> None:
    requests = [
        Request(i, sent=i * 20.0, fields={"scheduled_ns": i * 10_000_000, "slot_wait_ns": 0})
        for i in range(200)
    ]
    assert level(summary_of(tmp_path, requests), "rate") == "untrusted"


def test_a_server_that_still_gets_faster_is_not_warm(tmp_path: Path) -> None:
    requests = [Request(i, sent=i * 500.0, ttft=400.0 * 0.997**i + i % 5) for i in range(400)]
    summary = summary_of(tmp_path, requests, plan={"max_concurrency": 1})
    assert "warming_up" in names(summary)
    assert summary["still_faster"]["metric"] == "ttft"


def test_a_slow_start_that_is_over_is_no_warm_up_at_the_end(tmp_path: Path) -> None:
    requests = [Request(i, sent=i * 500.0, ttft=(400.0 if i < 20 else 50.0) + i % 5) for i in range(400)]
    assert "warming_up" not in names(summary_of(tmp_path, requests, plan={"max_concurrency": 1}))


def test_rank_sums_agree_with_their_formula_where_values_are_tied() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = np.array([1.0, 2, 2, 3, 9, 9]), np.array([2.0, 4, 4, 9, 11])
    expected = stats.mannwhitneyu(a, b, use_continuity=False, method="asymptotic")
    p = float(stats.norm.sf(abs(rank_sum_z(a, b))) * 2)
    assert p == pytest.approx(float(expected.pvalue))


def test_connections_that_requests_open_are_told_by_their_part_of_ttft(tmp_path: Path) -> None:
    requests = [
        Request(i, sent=i // 2 * 81.0, fields={"connected_ns": round((i // 2 * 81.0 + 20) * 1e6)})
        for i in range(200)
    ]
    summary = summary_of(tmp_path, requests, counters={"connections_opened": 200})
    assert "connecting" in names(summary)
    fresh = {"fresh_connections": True}
    (tmp_path / "a.run").unlink()
    assert "connecting" not in names(
        summary_of(tmp_path, requests, counters={"connections_opened": 200}, plan=fresh)
    )


# ---- the machine ----


@pytest.mark.parametrize(
    ("machine", "name", "expected"),
    [
        ({"steal_share": 0.1}, "stolen", "caution"),
        ({"steal_share": 0.4}, "stolen", "untrusted"),
        ({"throttled_periods_share": 0.05, "throttled_s": 0.4, "quota_cores": 0.2}, "throttled", "caution"),
        ({"throttled_periods_share": 0.8, "throttled_s": 6.4, "quota_cores": 0.2}, "throttled", "untrusted"),
        ({"clock_steps": 2, "largest_clock_step_ms": 40.0}, "clock_steps", "caution"),
        ({"asleep_s": 30.0}, "asleep", "untrusted"),
    ],
)
def test_what_the_machine_did_is_a_reason(
    tmp_path: Path, machine: dict[str, Any], name: str, expected: str
) -> None:
    summary = summary_of(tmp_path, steady(200), counters={"machine": QUIET | machine})
    assert (names(summary), level(summary, name)) == ([name], expected)


def test_bursts_of_a_client_that_is_stopped_are_no_proxys(tmp_path: Path) -> None:
    requests = steady(200, first_read_chunks=3, reads=2)
    stopped = QUIET | {"throttled_periods_share": 0.6, "throttled_s": 1.0}
    for machine, words in (
        (stopped, "this client came late"),
        (QUIET, "proxy on this machine holds the stream back"),
    ):
        summary = summary_of(tmp_path, requests, counters={"machine": machine})
        assert words in next(
            one["reason"] for one in summary["verdict"]["findings"] if one["name"] == "held_back"
        )
        (tmp_path / "a.run").unlink()


def test_a_quiet_machine_is_no_reason(tmp_path: Path) -> None:
    assert summary_of(tmp_path, steady(200), counters={"machine": QUIET})["verdict"]["level"] == "trusted"


def test_threads_without_room_are_told(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(200), counters={"threads": 1, "cpu_s": 7.9})
    assert names(summary) == ["client_cpu"]


# ---- the server's own counts ----


def pages(requests: float, tokens: float) -> dict[str, Any]:
    before = {"request_success_total": 10.0, "generation_tokens_total": 100.0}
    after = {"request_success_total": 10.0 + requests, "generation_tokens_total": 100.0 + tokens}
    return {"server": {"before": before, "after": after}}


@pytest.mark.parametrize(
    ("requests", "tokens", "found"),
    [
        (200, 800, []),  # what was sent
        (300, 1200, ["other_clients"]),
        (200, 1600, ["server_tokens"]),
        (100, 400, []),  # the page of one replica of two
        (-5, 800, ["server_restarted"]),
    ],
)
def test_the_servers_counters_are_held_against_ours(
    tmp_path: Path, requests: float, tokens: float, found: list[str]
) -> None:
    assert names(summary_of(tmp_path, steady(200), counters=pages(requests, tokens))) == found


# ---- sums ----


def test_an_engine_that_counted_otherwise_than_was_recorded_is_told(tmp_path: Path) -> None:
    counts = {"sent": 200, "completed": 199, "chunks": 800}
    summary = summary_of(tmp_path, steady(200), counters=counts)
    assert summary["identities"]["counts"]["broken"] == 1
    assert level(summary, "client_sums") == "untrusted"


def test_more_connecting_requests_than_connections_are_told(tmp_path: Path) -> None:
    requests = steady(200, connected_ns=1)
    summary = summary_of(tmp_path, requests, counters={"connections_opened": 3})
    assert summary["identities"]["connections"]["broken"] == 1
