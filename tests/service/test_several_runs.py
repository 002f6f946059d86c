"""Kinds of several runs: their live rows, progress and series go on from one run to the next, and over a restart."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from serving import Service

from vllmperf.service.jobs import Job
from vllmperf.service.live import Live, Past
from vllmperf.service.request import request_of
from vllmperf.sim import Server


@pytest.fixture(scope="module")
def batching() -> Iterator[Server]:
    with Server(mode="batching", max_num_seqs=4) as server:
        yield server


def sweep(server: Server, n: int = 40, repeat: int = 2) -> dict[str, Any]:
    plan = {"num_prompts": n, "input_len": 16, "output_len": 8}
    axes = {"max_concurrency": [1, 4]}
    return {
        "kind": "sweep",
        "sweep": {"setups": [{"name": "a", "url": server.url}], "axes": axes, "plan": plan, "repeat": repeat},
    }


def search(server: Server) -> dict[str, Any]:
    settings = {"base_url": server.url, "input_len": 16, "output_len": 8}
    return {"kind": "capacity", "capacity": {**settings, "ttft": 500, "tpot": 200, "budget": 12}}


def fit(server: Server) -> dict[str, Any]:
    return {
        "kind": "fit",
        "fit": {"base_url": server.url, "max_num_seqs": 2, "shapes": "16/8", "budget": 22},
    }


@pytest.mark.slow
@pytest.mark.parametrize("body", [sweep, search, fit])
def test_every_request_of_all_its_runs_is_in_a_row_and_in_the_series(
    service: Service, batching: Server, body: Any
) -> None:
    run_id = service.started("/runs", body(batching))
    run = service.ended(run_id)
    assert (run["phase"], run["error"]) == ("finished", None)
    ends = [row["end_s"] for row in run["intervals"]]
    assert ends == sorted(set(ends))
    done = sum(row["done"] for row in run["intervals"])
    assert run["done"] == done > 0

    lines = service.get("/metrics").data.decode().splitlines()
    counted = [line for line in lines if line.startswith("vllmperf_requests_total") and run_id in line]
    assert sum(float(line.rpartition(" ")[2]) for line in counted) == done


def test_a_sweep_knows_how_many_requests_and_seconds_all_its_points_have(batching: Server) -> None:
    assert request_of(sweep(batching, n=40, repeat=3)).asked == 240
    timed = sweep(batching)
    timed["sweep"]["plan"] = {"duration": "30s", "request_rate": 1}
    timed["sweep"]["axes"] = {"request_rate": [1, 2]}
    assert (request_of(timed).asked, request_of(timed).duration_s) == (None, 120.0)
    timed["sweep"]["axes"] = {"num_prompts": [5, None]}
    assert request_of(timed).asked is None


@pytest.mark.slow
def test_after_a_restart_its_rows_go_on_where_they_were(data: Path, patient: Server) -> None:
    body = sweep(patient, n=12, repeat=1)
    with Service(data) as first:
        run_id = first.started("/runs", body)
        first.wait(lambda: len(first.run(run_id)["intervals"]) > 1, "there are rows")
        first.stop(signal.SIGKILL)
    with Service(data) as second:
        run = second.ended(run_id)
        assert run["phase"] == "finished"
        ends = [row["end_s"] for row in run["intervals"]]
        assert ends == sorted(set(ends))


def test_a_session_begins_at_the_time_and_the_count_of_those_before_it() -> None:
    said: list[Any] = []
    rows = [{"end_s": 1.0, "done": 3}, {"end_s": 2.5, "done": 4}]
    live = Live(said.append, several=Past.of(rows))
    now = SimpleNamespace(done=5, elapsed_s=1.0)
    take = live.watch(SimpleNamespace(snapshot=lambda: now), None)  # type: ignore[arg-type]
    take(turn("finished"))
    (progress,) = [one for one in said if one["event"] == "progress"]
    assert progress["done"] == 12
    assert progress["elapsed_s"] >= 3.5
    assert "asked" not in progress
    said.clear()
    live.watch(SimpleNamespace(snapshot=lambda: now), None)(turn("finished"))  # type: ignore[arg-type]
    assert [one["done"] for one in said if one["event"] == "progress"] == [17]


def turn(state: str) -> Any:
    nothing = {"records": b"", "gaps": b""}
    counters = {"in_flight": 0, "sent": 0, "chunks": 0, "coalesced": 0, "cpu_s": 0.0}
    return SimpleNamespace(batch=nothing, counters=counters, histograms={}, state=state, elapsed_ns=10**9)


def test_the_time_left_follows_from_what_is_done_of_all_runs() -> None:
    job = Job("a", "sweep", {}, "2026-12-01T00:00:00Z", asked=100)
    job.take({"event": "progress", "done": 25, "elapsed_s": 10.0})
    assert (job.progress, job.time_left_s) == (0.25, 30.0)
    assert job.asked == 100
