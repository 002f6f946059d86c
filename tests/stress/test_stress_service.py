"""A stress run by the service, and what a long run puts into a bucket while it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vllmperf as vp
from vllmperf.api.rolling_uploads import RollingUploads
from vllmperf.api.stress_runs import carry_out, stress_task
from vllmperf.bucket.place import Place
from vllmperf.service.examples import PAYLOAD

PLACE = Place.of("s3://results/night", "http://127.0.0.1:9")
SETTINGS = {"num_prompts": 40, "request_rate": 200, "dataset_name": "random", "report_interval": 0.1}


@pytest.fixture(autouse=True)
def no_bucket(monkeypatch):
    monkeypatch.delenv("BENCHMARK_RESULTS_BUCKET", raising=False)


@pytest.fixture
def service():
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    from vllmperf.service import kinds, request

    return kinds, request


DOCUMENT = {**PAYLOAD, "request_rate": 10, "stress": True}


def test_stress_true_makes_the_documents_payload_a_stress_run(service):
    _, request = service
    asked = request.start_load(DOCUMENT)
    assert (asked.kind, asked.asked, asked.urls) == ("stress", 1000, ("http://localhost:8000",))
    task, _ = stress_task(asked.content)
    assert task.plan.load.request_rate == 10
    assert task.knobs.on_server_loss == "wait"


def test_stress_without_more_has_the_preset(service):
    _, request = service
    asked = request.start_load({"host": "10.0.0.1", "stress": True})
    assert (asked.asked, asked.urls) == (500_000, ("http://10.0.0.1:8000",))


def test_stress_false_leaves_the_payload_as_it_is(service):
    _, request = service
    assert request.start_load({**DOCUMENT, "stress": False}).kind == "start-load"


def test_a_stress_run_of_the_service_makes_a_run_file_and_goes_on_in_it(service, tmp_path):
    kinds, request = service
    events: list[dict[str, object]] = []
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as server:
        asked = request.request_of({"kind": "stress", "stress": {"base_url": server.url, **SETTINGS}})
        work = kinds.Work(tmp_path, asked.content, {}, asked.kind, events.append, 0.0)
        outcome = kinds.CARRY_OUT[asked.kind](work)
    assert outcome.exit_code == 0
    assert vp.open_run(tmp_path / "run.vllmperf").summary["requests"]["completed"] == 40
    assert sum(event["done"] for event in events if event["event"] == "interval") == 40
    again = kinds.CARRY_OUT[asked.kind](work)  # the server is gone
    assert again.headline == outcome.headline


# ---- the bucket ----


def test_each_interval_and_copies_of_the_run_file_wait_for_a_bucket_that_is_gone(tmp_path):
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    record = tmp_path / "run.vllmperf"
    seen: list[str] = []
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as server:
        task, _ = stress_task({"base_url": server.url, **SETTINGS})
        with RollingUploads(record, PLACE, copy_s=0, last_s=0) as uploads:
            run = vp.api.make_run(task, record, tell=uploads)
            seen = [one.to for one in uploads.outbox.waiting]
            uploads.ended(run)
    assert set(seen) == {"s3://results/night/run.rolling.json", "s3://results/night/run.rolling.vllmperf"}
    rolling = json.loads((tmp_path / "run.rolling.json").read_text())
    assert (rolling["done"], rolling["state"]) == (40, "finished")
    assert rolling["intervals"] == run.summary["intervals"]
    assert len(uploads.outbox.waiting) == 2


def test_a_bucket_that_is_gone_does_not_change_the_run(tmp_path, monkeypatch):
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    monkeypatch.setattr("vllmperf.api.rolling_uploads.LAST_S", 0.0)
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as server:
        task, _ = stress_task({"base_url": server.url, **SETTINGS})
        run = carry_out(task, tmp_path / "run.vllmperf", place=PLACE)
    assert run.summary["requests"]["completed"] == 40


def test_a_run_that_goes_on_adds_to_the_intervals_that_it_had(tmp_path):
    Path(tmp_path / "run.rolling.json").write_text(json.dumps({"intervals": [{"done": 3}]}))
    uploads = RollingUploads(tmp_path / "run.vllmperf", PLACE)
    assert uploads._intervals == [{"done": 3}]
