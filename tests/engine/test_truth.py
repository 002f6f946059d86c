"""What the engine says against what the simulator wrote down, chunk by chunk on one clock."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from runs import bench

from vllmperf import _engine
from vllmperf.loadgen.schedule import schedule
from vllmperf.plan import Plan
from vllmperf.run import Run

NS_PER_MS = 1_000_000
CLOCK_STEP_NS = NS_PER_MS // 20
"""Kernel stamps are CLOCK_REALTIME: this much may lie between two readings of the difference of the clocks."""

LOADS = {
    "closed": {"concurrency": 7},
    "closed, 2 threads": {"concurrency": 8, "threads": 2},
    "open": {"concurrency": None, "rate": 150, "arrival": "poisson"},
    "open with a cap": {"concurrency": 3, "rate": 400, "arrival": "constant"},
    "all at once": {"concurrency": None},
    "chat": {"concurrency": 7, "backend": "openai-chat"},
    "warm": {"concurrency": 7, "warm_connections": 7},
}


class Both:
    """A run and the truth about it, in the order of the requests."""

    def __init__(self, run: Run, truth: list[dict[str, Any]]) -> None:
        self.run, self.records = run, run.recording.requests
        self.truth = sorted(truth, key=lambda row: int(row["request_id"].rpartition("-")[2]))
        self.start_ns = run.recording.counters["start_mono_ns"]

    def of(self, key: str) -> Any:
        return np.array([row[key] for row in self.truth])

    def stamps(self) -> list[Any]:
        cuts = np.cumsum(self.records["n_chunk_stamps"])[:-1]
        return np.split(self.run.recording.stamps, cuts)


@pytest.fixture(scope="module", params=LOADS)
def both(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "truth"
    settings = {"output_len": 9, "record_chunks": True, "request_id_prefix": "mine-", **LOADS[request.param]}
    run = bench(sim={"ttft_ms": 5, "itl_ms": 2, "truth": str(path)}, n=60, **settings)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return Both(run, [row for row in rows if row["path"].endswith("completions")])


def test_every_request_came_once_under_its_own_id(both):
    assert [row["request_id"] for row in both.truth] == [f"mine-{i}" for i in range(60)]
    assert both.records["index"].tolist() == list(range(60))


def test_tokens_are_those_that_were_sent(both):
    assert both.records["output_tokens"].tolist() == both.of("completion_tokens").tolist() == [9] * 60
    assert both.records["prompt_tokens"].tolist() == both.of("prompt_tokens").tolist()
    written = [len(row["written_mono_ns"]) for row in both.truth]
    assert both.records["chunks"].tolist() == written


def test_a_request_is_sent_before_it_is_read(both):
    assert np.all(both.start_ns + both.records["sent_ns"] <= both.of("read_mono_ns"))


def test_each_chunk_arrived_after_it_was_written_and_was_seen_later(both):
    early = []
    for stamps, row in zip(both.stamps(), both.truth, strict=True):
        written = np.array(row["written_mono_ns"])
        assert len(stamps) == len(written)
        arrived = both.start_ns + stamps[:, 0]
        early.extend(arrived < written - CLOCK_STEP_NS)
        assert np.all(stamps[:, 1] >= stamps[:, 0])
        assert np.all(np.diff(stamps[:, 0]) >= 0)
    assert not any(early)


def test_the_first_token_is_the_first_chunk(both):
    first = np.array([stamps[0, 0] for stamps in both.stamps()])
    last = np.array([stamps[-1, 0] for stamps in both.stamps()])
    assert both.records["first_token_ns"].tolist() == first.tolist()
    assert both.records["last_token_ns"].tolist() == last.tolist()
    written = np.array([row["written_mono_ns"][0] for row in both.truth])
    assert np.all(both.start_ns + first >= written - CLOCK_STEP_NS)
    assert np.all(both.records["first_byte_ns"] <= first)


def test_times_of_a_request_are_in_order(both):
    r = both.records
    assert np.all(r["sent_ns"] < r["first_token_ns"])
    assert np.all(r["last_token_ns"] <= r["last_token_seen_ns"])
    assert np.all(r["last_token_seen_ns"] <= r["end_ns"])


def test_gaps_sum_to_the_time_between_first_and_last_token(both):
    recording = both.run.recording
    for i, (a, b) in enumerate(zip(recording.gap_request[:-1], recording.gap_request[1:], strict=True)):
        gaps = recording.gaps_ns[a:b]
        span = both.records["last_token_ns"][i] - both.records["first_token_ns"][i]
        # chunks that came in one read with the first one have no gap
        assert len(gaps) <= 8
        assert abs(gaps.astype(np.float64).sum() - span) <= max(1e-6 * span, 8)
        assert np.all(gaps > 0)


def test_bodies_came_whole(both):
    assert np.all(both.records["bytes_received"] > 300)
    assert np.all(both.records["bytes_sent"] > 100)
    assert len(set(both.run.recording.texts)) > 1
    assert both.records["status"].tolist() == [200] * 60


def test_times_of_the_plan_are_kept_to_the_nanosecond(both):
    plan = both.run.recording.plan
    if plan["request_rate"] == "inf":
        assert set(both.records["scheduled_ns"].tolist()) == {_engine.NONE}
        return
    fields = ("base_url", "request_rate", "arrival", "seed", "num_prompts", "burstiness")
    when = schedule(Plan.of(**{name: plan[name] for name in fields}))
    asked = np.concatenate(list(when.times))[:60]
    assert both.records["scheduled_ns"].tolist() == asked.tolist()
    assert np.all(both.records["sent_ns"] >= both.records["scheduled_ns"])


def test_the_cap_holds_by_the_servers_own_count(both):
    cap = both.run.recording.plan["max_concurrency"]
    reads = [(row["read_mono_ns"], 1) for row in both.truth]
    ends = [(row["written_mono_ns"][-1], -1) for row in both.truth]
    in_flight = np.cumsum([step for _, step in sorted(reads + ends)])
    assert in_flight.max() <= (cap or 60)
