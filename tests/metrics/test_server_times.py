"""Where a request's time went: by the server's answers, by its page of metrics, and against what the simulator wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import MS, NONE, Request, steady, write_run

import vllmperf as vp
from vllmperf.metrics.summary import Summary, summarize
from vllmperf.record import merge
from vllmperf.record.reader import read
from vllmperf.report.console import table
from vllmperf.run import Run

# Of the 80 ms of a steady request 50 pass before the first token.
TIMES = {"server_queue_ns": 4 * MS, "server_prefill_ns": 40 * MS, "server_decode_ns": 30 * MS}


def summary_of(folder: Path, requests: list[Request], **more: Any) -> Summary:
    return summarize(read(write_run(folder / "a.run", requests, **more)))


def times_of(summary: Summary) -> dict[str, Any]:
    assert summary["server_times"] is not None
    return dict(summary["server_times"])


def page(requests: float, **seconds: float) -> dict[str, float]:
    """Totals of a server that has finished so many requests; seconds: of all of them together."""
    names = {
        "ttft": "time_to_first_token_seconds",
        "queue": "request_queue_time_seconds",
        "prefill": "request_prefill_time_seconds",
        "decode": "request_decode_time_seconds",
    }
    found = {f"{names[name]}_sum": value for name, value in seconds.items()}
    return found | {f"{names[name]}_count": requests for name in seconds}


BEFORE = page(10, ttft=50.0, queue=20.0, prefill=25.0, decode=70.0)
AFTER = page(210, ttft=59.4, queue=20.8, prefill=33.2, decode=76.0)  # of 200: 47, 4, 41 and 30 ms
SLOW_FRONT_END = page(200, ttft=200 * 0.105, queue=200 * 0.004, prefill=200 * 0.041)
PAGES = {"server": {"before": BEFORE, "after": AFTER}}


# ---- by the answers ----


def test_the_parts_of_a_request_add_up_to_its_latency(tmp_path: Path) -> None:
    times = times_of(summary_of(tmp_path, steady(200, **TIMES)))
    assert times["split_ms"] == pytest.approx(
        {
            "client_wait": None,
            "network": 6,
            "server_queue": 4,
            "server_prefill": 40,
            "server_decode": 30,
            "delivery": 0,
            "e2el": 80,
        }
    )
    assert (times["requests"], times["misfits"], times["means"]) == (200, 0, None)


def test_a_server_that_tells_nothing_has_no_times(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(200))
    assert summary["server_times"] is None
    assert summary["metrics"]["network_ms"] is summary["metrics"]["server_queue_ms"] is None
    assert set(summary["speculative"].values()) == {None}
    assert "Where time went" not in table(summary)


def test_the_split_is_of_the_requests_that_tell_it(tmp_path: Path) -> None:
    slow = Request(200, ttft=5000.0)
    summary = summary_of(tmp_path, [*steady(200, **TIMES), slow])
    times = times_of(summary)
    assert (times["requests"], times["split_ms"]["e2el"]) == (200, pytest.approx(80))
    assert "of 200 requests whose answers tell their times" in table(summary)


def test_without_a_stream_all_that_is_not_the_servers_is_network(tmp_path: Path) -> None:
    none = dict.fromkeys(("first_token_ns", "first_text_ns", "first_token_seen_ns"), NONE)
    body = Request(0, gaps=(), ttft=80.0, fields={**TIMES, **none, "chunks": 0})
    times = times_of(summary_of(tmp_path, [body]))
    assert (times["split_ms"]["network"], times["split_ms"]["delivery"]) == (pytest.approx(6), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_queue_ns": 60 * MS},  # with the prefill longer than TTFT
        {"server_decode_ns": 3 * MS},  # 30 ms to arrive, 3 to make
        {"server_decode_ns": 90 * MS},  # the first tokens were held back
    ],
)
def test_times_that_do_not_fit_ours_are_told(tmp_path: Path, wrong: dict[str, int]) -> None:
    requests = steady(200, **TIMES)
    for request in requests[::10]:
        request.fields |= wrong
    summary = summary_of(tmp_path, requests)
    times = times_of(summary)
    assert times["misfits"] == 20
    (found,) = [one for one in summary["verdict"]["findings"] if one["name"] == "server_times"]
    assert found["value"] == pytest.approx(0.1)
    assert "20 requests" in found["reason"]


def test_a_front_end_where_requests_spend_long_is_where_tokens_may_have_been_held_back(
    tmp_path: Path,
) -> None:
    requests = steady(200, first_read_chunks=3, reads=2, **TIMES | {"server_decode_ns": 90 * MS})
    pages = {"server": {"before": page(0, ttft=0, queue=0, prefill=0), "after": SLOW_FRONT_END}}
    summary = summary_of(tmp_path, requests, counters=pages)
    (found,) = [one for one in summary["verdict"]["findings"] if one["name"] == "server_times"]
    assert "or in its front end, where a request spends 60 ms by its /metrics" in found["reason"]


def test_the_front_ends_mean_is_said_to_be_of_all_requests_where_the_parts_leave_some_out(
    tmp_path: Path,
) -> None:
    first = [Request(i, ttft=23_000, fields=dict(TIMES)) for i in range(8)]
    later = [
        Request(i, sent=23_031 + (i - 8) // 8 * 331, ttft=300, fields=dict(TIMES)) for i in range(8, 200)
    ]
    pages = {"server": {"before": page(0, ttft=0, queue=0, prefill=0), "after": SLOW_FRONT_END}}
    plan = {"max_concurrency": 8, "num_prompts": 200}
    words = " ".join(table(summary_of(tmp_path, first + later, plan=plan, counters=pages)).split())
    assert "front end took 60 ms, by /metrics, the mean of all 200 requests, warm-up included" in words


def test_the_report_has_the_parts_in_the_order_of_a_request(tmp_path: Path) -> None:
    text = table(summary_of(tmp_path, steady(200, **TIMES)))
    places = [
        text.index(word)
        for word in ("Network, front end", "Server queue", "Server prefill", "Server decode", "Delivery")
    ]
    assert places == sorted(places)


# ---- by the page of metrics ----


def test_two_pages_give_means_over_what_was_finished_between_them(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(200), counters=PAGES)
    times = times_of(summary)
    assert times["split_ms"] is None
    means = times["means"]
    assert means == pytest.approx(
        {
            "requests": 200, "ttft_ms": 47, "e2el_ms": None, "queue_ms": 4, "prefill_ms": 41, "decode_ms": 30,
            "inference_ms": None, "front_end_ms": 2, "network_ms": 3,
        }
    )  # fmt: skip
    words = " ".join(table(summary).split())
    assert (
        "queue 4, prefill 41, decode 30 ms; front end 2, network 3 ms (means of 200 requests, by /metrics)"
        in words
    )


def test_a_page_that_saw_others_requests_says_nothing_of_our_network(tmp_path: Path) -> None:
    words = " ".join(table(summary_of(tmp_path, steady(100), counters=PAGES)).split())
    assert "decode 30 ms (means of 200 requests, by /metrics)" in words


def test_counters_that_fell_are_told_and_give_no_means(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(200), counters={"server": {"before": AFTER, "after": BEFORE}})
    assert times_of(summary)["means"] is None
    assert [one["name"] for one in summary["verdict"]["findings"]] == ["server_restarted"]


def test_drafts_are_those_of_the_answers_else_of_the_page(tmp_path: Path) -> None:
    after = {
        "spec_decode_num_drafts_total": 30.0,
        "spec_decode_num_draft_tokens_total": 90.0,
        "spec_decode_num_accepted_tokens_total": 45.0,
    }
    counters = {"server": {"before": dict.fromkeys(after, 0.0), "after": after}}
    by_page = summary_of(tmp_path, steady(4), counters=counters)["speculative"]
    assert by_page == {"draft_tokens": 90, "accepted_tokens": 45, "acceptance": 0.5, "tokens_per_step": 2.5}
    (tmp_path / "b").mkdir()
    told = {"draft_steps": 2, "draft_tokens": 8, "accepted_tokens": 2}
    by_answers = summary_of(tmp_path / "b", steady(4, **told), counters=counters)["speculative"]
    assert by_answers == {"draft_tokens": 32, "accepted_tokens": 8, "acceptance": 0.25, "tokens_per_step": 2}


# ---- together ----


def test_merged_runs_keep_the_times_and_the_outermost_pages(tmp_path: Path) -> None:
    early = {
        "server": {"before": BEFORE, "after": page(100, ttft=52.0, queue=20.2, prefill=27.0, decode=72.0)}
    }
    late = {"server": {"before": page(90, ttft=51.0, queue=20.1, prefill=26.0, decode=71.0), "after": AFTER}}
    parts = [
        write_run(tmp_path / "a.run", steady(4, **TIMES), counters=early),
        write_run(tmp_path / "b.run", steady(4, **TIMES), counters={**late, "start_real_ns": 10**18}),
    ]
    times = times_of(summarize(read(merge(parts, tmp_path / "all.run"))))
    assert (times["requests"], times["split_ms"]["server_queue"]) == (8, pytest.approx(4))
    assert (times["means"]["requests"], times["means"]["queue_ms"]) == (200, pytest.approx(4))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, Any]]]:
    path = tmp_path_factory.mktemp("truth") / "truth"
    server = {"mode": "batching", "alpha_ms": 4, "beta_ms": 0.2, "max_num_seqs": 3, "front_ms": 2}
    run = vp.bench(
        sim={**server, "enable_per_request_metrics": True, "truth": str(path)},
        num_prompts=40, max_concurrency=6, input_len=30, output_len=6, request_id_prefix="mine-",
    )  # fmt: skip
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    requests = [row for row in rows if str(row.get("request_id")).startswith("mine-")]
    return run, sorted(requests, key=lambda row: int(row["request_id"].rpartition("-")[2]))


def test_each_requests_times_are_those_that_the_simulator_wrote_down(
    both: tuple[Run, list[dict[str, Any]]],
) -> None:
    run, truth = both
    records = run.recording.requests
    planned = [row["planned_mono_ns"] for row in truth]
    assert records["server_queue_ns"].tolist() == [
        row["scheduled_mono_ns"] - row["queued_mono_ns"] for row in truth
    ]
    assert records["server_prefill_ns"].tolist() == [
        ends[0] - row["scheduled_mono_ns"] for ends, row in zip(planned, truth, strict=True)
    ]
    assert records["server_decode_ns"].tolist() == [ends[-1] - ends[0] for ends in planned]


def test_the_network_is_the_way_there_and_back(both: tuple[Run, list[dict[str, Any]]]) -> None:
    """To the queue by the simulator's stamp, and from when the first token was made to its arrival."""
    run, truth = both
    records, start = run.recording.requests, run.recording.counters["start_mono_ns"]
    queued = np.array([row["queued_mono_ns"] for row in truth])
    made = np.array([row["planned_mono_ns"][0] for row in truth])
    ways = queued - (start + records["sent_ns"]) + start + records["first_token_ns"] - made
    assert run.requests["network_ms"] == pytest.approx(ways / MS, abs=1e-6)
    assert np.all(run.requests["network_ms"] >= 2), "what the front end takes is a part of it"
    parts = ("network_ms", "server_queue_ms", "server_prefill_ms", "server_decode_ms", "delivery_ms")
    assert sum(run.requests[name] for name in parts) == pytest.approx(run.requests["e2el_ms"])


def test_the_page_agrees_with_the_answers(both: tuple[Run, list[dict[str, Any]]]) -> None:
    times = times_of(both[0].summary)
    assert times["means"]["requests"] == times["requests"] == 40
    for page_name, name in (
        ("queue", "server_queue"),
        ("prefill", "server_prefill"),
        ("decode", "server_decode"),
    ):
        assert times["means"][f"{page_name}_ms"] == pytest.approx(times["split_ms"][name], abs=1e-3)
    assert times["means"]["front_end_ms"] >= 2
