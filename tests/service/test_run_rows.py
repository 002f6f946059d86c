"""The intervals of a run of hours as few rows."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from vllmperf.service.rows import FRESH, MOST_ROWS, Rows, merged

HOURS_11 = 39_600


def row(start_s: float, seconds: float = 1.0, **given: float | None) -> dict[str, float | None]:
    return {
        "start_s": start_s,
        "end_s": start_s + seconds,
        "done": 12,
        "completed": 12,
        "errors": 0,
        "output_tokens_per_s": 1500.0,
        "ttft_ms_p50": 50.0,
        "ttft_ms_p99": 70.0,
        "in_flight": 16,
        **given,
    }


def test_a_run_of_eleven_hours_keeps_its_whole_time_in_few_rows() -> None:
    rows = Rows()
    for second in range(HOURS_11):
        rows.add(row(second))
        assert len(rows) <= MOST_ROWS
    found = list(rows)
    assert found[0]["start_s"] == 0
    assert found[-1]["end_s"] == HOURS_11
    assert all(a["end_s"] == b["start_s"] for a, b in itertools.pairwise(found))
    assert sum(one["done"] for one in found) == 12 * HOURS_11
    assert all(one["end_s"] - one["start_s"] == 1 for one in found[-FRESH:])
    assert max(one["end_s"] - one["start_s"] for one in found) == 32


def test_a_run_of_an_hour_is_left_as_it_came() -> None:
    rows = [row(second) for second in range(MOST_ROWS)]
    assert list(Rows(rows)) == rows


def test_rates_are_means_of_time_and_latencies_of_requests() -> None:
    found = merged(
        row(0, 3, output_tokens_per_s=100.0, completed=30, ttft_ms_p50=10.0, in_flight=1),
        row(3, 1, output_tokens_per_s=500.0, completed=10, ttft_ms_p50=50.0, in_flight=2),
    )
    assert found["output_tokens_per_s"] == 200
    assert found["ttft_ms_p50"] == 20
    assert (found["start_s"], found["end_s"], found["in_flight"]) == (0, 4, 2)


def test_the_peak_of_a_stall_stays_known() -> None:
    rows = Rows(row(second, ttft_ms_p99=30_000.0 if second == 1000 else 70.0) for second in range(HOURS_11))
    assert max(one["peaks"]["ttft_ms_p99"] for one in rows if "peaks" in one) == 30_000


def test_what_was_not_measured_stays_so_and_takes_no_part_in_a_mean() -> None:
    both = merged(row(0, ttft_ms_p50=None, ttft_ms_p99=None), row(1, ttft_ms_p50=None, ttft_ms_p99=None))
    one = merged(row(0, ttft_ms_p50=None, completed=0), row(1, ttft_ms_p50=40.0))
    assert (both["ttft_ms_p50"], both["peaks"]["ttft_ms_p99"]) == (None, None)
    assert one["ttft_ms_p50"] == 40


def test_a_pause_is_not_filled() -> None:
    rows = Rows([row(0), *(row(100_000 + second) for second in range(2 * MOST_ROWS))])
    first, second = list(rows)[:2]
    assert (first["end_s"], second["start_s"]) == (1, 100_000)
