"""The queue: its limit, its order, one run at a time, and what waits for a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serving import Service, filled, payload

from vllmperf.sim import Server

pytest.importorskip("fastapi", reason="the extra service is not installed")


def slow(server: Server, n: int = 5000, **more: object) -> dict[str, Any]:
    return {
        "kind": "bench",
        "plan": {"base_url": server.url, "max_concurrency": 2, "num_prompts": n, "output_len": 2},
        **more,
    }


@pytest.fixture
def small(tmp_path: Path, model: Path) -> Any:
    """A service whose queue takes two."""
    with Service(filled(tmp_path / "data", model), "--queue-limit", "2", "--ready-timeout", "2s") as made:
        yield made


def test_runs_go_one_after_the_other_and_the_queue_has_a_limit(small: Service, patient: Server) -> None:
    first = small.started("/runs", slow(patient, label="first"))
    second, third = (small.started("/runs", slow(patient, 4)) for _ in range(2))
    full = small.post("/runs", slow(patient, 4))
    assert (full.status, full.json()["field"]) == (429, None)
    assert "the queue is full (2 runs wait)" in full.json()["error"]
    assert int(full.headers["retry-after"]) >= 1

    small.until(first, "running")
    assert small.get("/runs").json()["queue"] == [second, third]
    ready = small.get("/readyz").json()
    assert first in ready["now"]
    assert second in ready["next"]

    small.delete(f"/runs/{third}")
    assert (small.run(third)["phase"], small.run(third)["started_at"]) == ("cancelled", None)
    small.delete(f"/runs/{first}")
    assert small.ended(second)["phase"] == "finished"
    assert small.run(second)["started_at"] >= small.run(first)["ended_at"]


def test_a_run_waits_for_its_server_and_says_so_until_it_gives_up(small: Service, port: int) -> None:
    run_id = small.started("/runs", {"plan": {"base_url": f"http://127.0.0.1:{port}", "num_prompts": 2}})
    waiting = small.until(run_id, "waiting", "failed")
    if waiting["phase"] == "waiting":
        assert f"http://127.0.0.1:{port} to be ready, since" in waiting["note"]
    run = small.ended(run_id)
    assert (run["phase"], run["headline"]) == ("failed", None)
    assert f"cannot reach http://127.0.0.1:{port}" in run["error"]
    assert small.get(f"/runs/{run_id}/result").status == 404


def test_a_run_begins_when_its_server_is_there(service: Service, port: int) -> None:
    run_id = service.started(
        "/runs", {"plan": {"base_url": f"http://127.0.0.1:{port}", "num_prompts": 2, "output_len": 2}}
    )
    service.until(run_id, "waiting")
    with Server(port=port, ttft_ms=1, itl_ms=1):
        assert service.ended(run_id)["phase"] == "finished"


def test_several_runs_at_once_where_that_is_asked_for(tmp_path: Path, model: Path, patient: Server) -> None:
    with Service(filled(tmp_path / "data", model), "--parallel-runs", "2") as service:
        both = [service.started("/runs", slow(patient)) for _ in range(2)]
        for run_id in both:
            service.until(run_id, "running")
        assert [service.run(run_id)["phase"] for run_id in both] == ["running", "running"]


@pytest.mark.slow
def test_the_service_answers_while_a_run_goes_on(service: Service, patient: Server) -> None:
    run_id = service.started("/start-load", payload(patient, num_prompts=40, request_rate=20))
    service.until(run_id, "running")
    for _ in range(200):
        assert service.get("/healthz").status == 200
    assert service.ended(run_id)["phase"] == "finished"
