"""The summary keeps its shape, whatever the run was like, and the verdict says what is wrong with it."""

import json
import math
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import MS, PLAN, Request, batch, failed, histogram, quiet_histograms, steady, write_run

from vllmperf import _engine
from vllmperf.metrics import identity
from vllmperf.metrics.definitions import FIGURES
from vllmperf.metrics.in_flight import InFlight, sweep
from vllmperf.metrics.summary import Summary, summarize
from vllmperf.metrics.verdict import RULES
from vllmperf.metrics.view import Completed
from vllmperf.record.reader import read
from vllmperf.record.writer import RunWriter

# architecture.md §8: these keys never change meaning.
KEYS = {
    "": "schema tool profile started_at duration_s plan environment "
    "requests tokens throughput in_flight metrics client verdict",
    "tool": "name version",
    "requests": "asked sent completed outcomes",
    "tokens": "prompt output source",
    "throughput": "requests_per_s output_tokens_per_s total_tokens_per_s",
    "in_flight": "asked mean max",
    "metrics": "ttft_ms ttft_scheduled_ms tpot_ms itl_ms e2el_ms e2el_scheduled_ms",
    "client": "schedule_lag_ms client_lag_ms loop_ms coalesced_share connections_opened silent_retries cpu_s",
    "verdict": "level reasons",
}
STATISTICS = ["n", "mean", "std", "min", "p50", "p90", "p95", "p99", "p99.9", "max"]


def summary_of(tmp_path: Path, requests: Sequence[Request], **run: Any) -> dict[str, Any]:
    return summarize(read(write_run(tmp_path / "a.run", requests, **run)))


def level_and_reason(summary: dict[str, Any]) -> tuple[str, str]:
    return summary["verdict"]["level"], "; ".join(summary["verdict"]["reasons"])


RUNS: dict[str, list[Request]] = {
    "steady": steady(200),
    "empty": [],
    "all failed": [failed(i, "refused", "connection refused") for i in range(3)],
    "one": [Request(0)],
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_every_key_and_is_strict_json(tmp_path: Path, name: str) -> None:
    summary = summary_of(tmp_path, RUNS[name])
    for part, keys in KEYS.items():
        assert set(keys.split()) <= set(summary[part] if part else summary), part
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_metric_has_all_statistics(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(200))
    assert list(summary["metrics"]["ttft_ms"]) == [*STATISTICS, "ci95", "ci95_needs"]
    assert list(summary["client"]["loop_ms"]) == STATISTICS


def test_an_empty_run_measures_nothing(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [])
    assert set(summary["metrics"].values()) == {None}
    rates = dict(summary["throughput"])
    assert set(rates.pop("ci95").values()) == set(rates.values()) == {None}
    assert summary["duration_s"] is None
    assert summary["in_flight"]["mean"] is None
    assert summary["requests"] == {
        "asked": 4,
        "sent": 0,
        "completed": 0,
        "not_completed": 0,
        "outcomes": {},
        "samples": {},
        "failures": [],
    }
    assert level_and_reason(summary) == ("untrusted", "no request completed: there is nothing to measure")


def test_a_run_of_failures_keeps_a_sample_of_each(tmp_path: Path) -> None:
    requests = [
        failed(0, "refused", ""),
        failed(1, "refused", "connection refused"),
        failed(2, "http_error", "boom", status=500),
    ]
    summary = summary_of(tmp_path, requests)
    assert summary["requests"]["outcomes"] == {"refused": 2, "http_error": 1}
    assert summary["requests"]["samples"] == {"refused": "connection refused", "http_error": "HTTP 500: boom"}
    assert summary["verdict"]["level"] == "untrusted"


def test_requests_that_never_left_are_not_sent(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [Request(0), failed(1, "incomplete", "", sent_ns=_engine.NONE)])
    assert summary["requests"]["sent"] == 1


# ---- verdict ----


def test_a_quiet_run_is_trusted(tmp_path: Path) -> None:
    assert summary_of(tmp_path, steady(200))["verdict"] == {"level": "trusted", "reasons": [], "findings": []}


def test_few_samples_are_a_caution(tmp_path: Path) -> None:
    level, reason = level_and_reason(summary_of(tmp_path, steady(99)))
    assert level == "caution"
    assert "only 99 requests completed" in reason


@pytest.mark.parametrize(("bad", "level"), [(1, "trusted"), (10, "caution"), (150, "untrusted")])
def test_failures_are_weighed_by_their_share(tmp_path: Path, bad: int, level: str) -> None:
    requests = steady(200) + [failed(200 + i, "reset", "", sent=i * 40.0) for i in range(bad)]
    summary = summary_of(tmp_path, requests, plan={"max_concurrency": None})
    assert summary["verdict"]["level"] == level


def test_cut_off_requests_are_no_failures(tmp_path: Path) -> None:
    requests = steady(200) + [failed(200 + i, "incomplete", "", sent=8000) for i in range(20)]
    level, reason = level_and_reason(summary_of(tmp_path, requests))
    assert level == "caution"
    assert (
        reason == "9.09 % of the requests were cut off at the end: long ones are missing from the latencies"
    )


@pytest.mark.parametrize(("lag_ms", "level"), [(4.0, "trusted"), (6.0, "caution"), (60.0, "untrusted")])
def test_the_clients_lag_is_held_against_the_gaps(tmp_path: Path, lag_ms: float, level: str) -> None:
    lags = quiet_histograms() | {"client_lag": histogram(*[lag_ms] * 100)}
    summary = summary_of(tmp_path, steady(200), histograms=lags)
    assert summary["verdict"]["level"] == level
    assert level == "trusted" or f"{lag_ms:.0f} ms (p99)" in summary["verdict"]["reasons"][0]


def test_a_late_schedule_matters_in_an_open_loop_only(tmp_path: Path) -> None:
    late = quiet_histograms() | {"schedule_lag": histogram(*[30.0] * 100)}
    assert summary_of(tmp_path, steady(200), histograms=late)["verdict"]["level"] == "trusted"
    (tmp_path / "a.run").unlink()
    level, reason = level_and_reason(summary_of(tmp_path, steady(200, scheduled_ns=0), histograms=late))
    assert level == "untrusted"
    assert "requests left up to 30 ms (p99) late, 60 % of the typical TTFT (50 ms)" in reason


def test_waiting_for_a_slot_is_told_in_an_open_loop(tmp_path: Path) -> None:
    requests = steady(200, scheduled_ns=0, slot_wait_ns=20 * MS)
    level, reason = level_and_reason(summary_of(tmp_path, requests))
    assert level == "caution"
    assert "waited up to 20 ms (p99) for a free slot" in reason


@pytest.mark.parametrize(("shared", "level"), [(0, "trusted"), (1, "caution"), (2, "untrusted")])
def test_gaps_of_unknown_split_are_flagged(tmp_path: Path, shared: int, level: str) -> None:
    requests = steady(200)
    for request in requests:
        request.shared = [1] * shared + [0] * (3 - shared)
    assert summary_of(tmp_path, requests)["verdict"]["level"] == level


def test_a_closed_loop_that_was_not_full_is_flagged(tmp_path: Path) -> None:
    level, reason = level_and_reason(summary_of(tmp_path, steady(200), plan={"max_concurrency": 3}))
    assert level == "untrusted"
    assert "33.3 % fewer than the 3 asked for" in reason


def test_a_burst_smaller_than_the_limit_has_no_level_to_hold(tmp_path: Path) -> None:
    assert (
        summary_of(tmp_path, steady(200, 200), plan={"max_concurrency": 500})["verdict"]["level"] == "trusted"
    )


def test_the_tail_of_a_run_is_not_held_against_it(tmp_path: Path) -> None:
    requests = steady(200)
    requests[-1].gaps = [1000.0] * 3
    summary = summarize(read(write_run(tmp_path / "a.run", requests)), trim=False)
    assert summary["in_flight"]["mean"] < 1.9
    assert summary["verdict"]["level"] == "trusted"


def test_silent_retries_are_told(tmp_path: Path) -> None:
    level, reason = level_and_reason(summary_of(tmp_path, steady(200), counters={"silent_retries": 3}))
    assert level == "caution"
    assert "3 requests went out again on a fresh connection" in reason


def test_tokens_counted_by_chunks_are_told(tmp_path: Path) -> None:
    requests = steady(200, tokens_source=_engine.TOKENS_SOURCES.index("chunks"))
    level, reason = level_and_reason(summary_of(tmp_path, requests))
    assert level == "caution"
    assert "100 % of the answers came without usage" in reason


def test_missing_kernel_stamps_are_told(tmp_path: Path) -> None:
    level, reason = level_and_reason(summary_of(tmp_path, steady(200), plan={"kernel_stamps": False}))
    assert level == "caution"
    assert "kernel stamps were off" in reason


def test_an_interrupted_run_is_told(tmp_path: Path) -> None:
    level, reason = level_and_reason(summary_of(tmp_path, steady(200), state="interrupted"))
    assert level == "caution"
    assert reason == "this run was interrupted: 200 requests had been sent"


def test_a_run_that_goes_on_is_told(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "a.run", PLAN, {}) as writer:
        writer.append(batch(steady(200)))
        level, reason = level_and_reason(summarize(read(tmp_path / "a.run")))
    assert level == "caution"
    assert "still going on" in reason


def test_the_worst_reason_comes_first(tmp_path: Path) -> None:
    lags = quiet_histograms() | {"client_lag": histogram(*[60.0] * 100)}
    summary = summary_of(tmp_path, steady(50), histograms=lags, state="interrupted")
    assert summary["verdict"]["level"] == "untrusted"
    assert summary["verdict"]["reasons"][0].startswith("chunks were seen up to 60 ms")
    assert len(summary["verdict"]["reasons"]) == 3


def test_thresholds_rise_with_the_level() -> None:
    assert all(rule.caution <= rule.untrusted for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)


# ---- identities ----


def broken(summary: dict[str, Any]) -> list[str]:
    return [name for name, check in summary["identities"].items() if check["broken"]]


def test_a_sound_recording_breaks_no_identity(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    requests = [Request(i, sent=i * 13.7, gaps=random.gamma(2, 5, i % 9).tolist()) for i in range(300)]
    summary = summary_of(tmp_path, requests)
    assert broken(summary) == []
    assert summary["identities"]["gaps"]["checked"] == sum(1 for i in range(300) if i % 9)


def test_gaps_that_do_not_add_up_are_found(tmp_path: Path) -> None:
    requests = [*steady(200), Request(200, sent=8100, fields={"last_token_ns": (8100 + 81) * MS})]
    summary = summary_of(tmp_path, requests)
    assert broken(summary) == ["gaps"]
    level, reason = level_and_reason(summary)
    assert level == "untrusted"
    assert "does not hold for 1 of 201" in reason


def test_instants_out_of_order_are_found(tmp_path: Path) -> None:
    assert "order" in broken(summary_of(tmp_path, [Request(0, fields={"end_ns": 10 * MS})]))


def test_more_chunks_than_tokens_are_the_servers_fault(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(200, output_tokens=2))
    assert broken(summary) == ["tokens"]
    assert level_and_reason(summary)[0] == "caution"


def test_littles_law_catches_a_wrong_mean(tmp_path: Path) -> None:
    recording = read(write_run(tmp_path / "a.run", steady(20)))
    right = sweep(recording.requests)
    assert right.mean is not None
    wrong = InFlight(right.mean * 1.01, right.mean_sending, right.max)
    done = Completed(recording)
    done.in_flight = wrong
    checks = {check.name: check for check in identity.checks(done)}
    assert checks["little"].broken == 1


def test_a_run_of_one_instant_has_no_rates(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [failed(0, "refused", "", end_ns=0)])
    assert summary["duration_s"] is None
    assert summary["throughput"]["requests_per_s"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in summary["in_flight"].values())


def test_the_type_of_the_summary_names_every_figure() -> None:
    for figure in FIGURES:
        part: Any = Summary
        for key in figure.path:
            part = typing.get_type_hints(part)[key]
            part = next((one for one in typing.get_args(part) if hasattr(one, "__annotations__")), part)
