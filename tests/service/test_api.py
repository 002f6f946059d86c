"""The API over a real server: runs from the request to the report."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import Service, payload

import vllmperf as vp
from vllmperf.sim import Server


def plan(server: Server, **more: object) -> dict[str, Any]:
    settings = {"base_url": server.url, "max_concurrency": 4, "num_prompts": 12, "output_len": 4, **more}
    return {"kind": "bench", "plan": settings}


def answered(service: Service, path: str, body: Any, status: int, **headers: str) -> Any:
    answer = service.post(path, body, **headers)
    assert answer.status == status, answer.data
    return answer.json()


@pytest.fixture(scope="module")
def loaded(service: Service, simulator: Server) -> Any:
    """A run of /start-load that has ended."""
    return service.ended(service.started("/start-load", payload(simulator)))


@pytest.fixture(scope="module")
def benched(service: Service, simulator: Server) -> Any:
    """A run of POST /runs that has ended."""
    return service.ended(service.started("/runs", {**plan(simulator), "label": "first look"}))


# ---- /start-load ----


def test_the_payload_of_the_document_gives_vllms_file_under_its_name(service: Service, loaded: Any) -> None:
    assert (loaded["phase"], loaded["error"], loaded["done"], loaded["progress"]) == (
        "finished",
        None,
        12,
        1.0,
    )
    names = [file["name"] for file in loaded["files"]]
    result = next(
        name for name in names if name.startswith("openai-chat-40.0qps-model-") and name.endswith(".json")
    )
    assert {"log.txt", "report.html", "run.vllmperf"} < set(names)
    found = service.get(f"/runs/{loaded['id']}/result").json()
    assert (found["completed"], found["num_prompts"], found["model_id"]) == (12, 12, "org/model")
    assert found == service.get(f"/runs/{loaded['id']}/files/{result}").json()


def test_a_run_has_a_report_that_loads_nothing_and_a_run_file(
    service: Service, loaded: Any, tmp_path: Any
) -> None:
    page = service.get(f"/runs/{loaded['id']}/report.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.data.decode()
    assert "src=" not in page.data.decode()
    path = tmp_path / "run.vllmperf"
    path.write_bytes(service.get(f"/runs/{loaded['id']}/run").data)
    assert vp.open_run(path).summary["requests"]["completed"] == 12


def test_with_wait_the_answer_is_the_result(service: Service, simulator: Server) -> None:
    answer = service.post("/start-load?wait=true", payload(simulator, num_prompts=5))
    assert answer.status == 200, answer.data
    assert answer.json()["completed"] == 5
    assert service.get(answer.headers["location"]).json()["phase"] == "finished"


def test_with_wait_a_run_that_fails_says_why(service: Service, simulator: Server) -> None:
    found = answered(service, "/start-load?wait=true", payload(simulator, dataset_path="app/none.txt"), 400)
    assert "app/none.txt" in found["error"]


def test_what_the_client_prints_is_in_the_log_of_the_run(service: Service, loaded: Any) -> None:
    log = service.get(f"/runs/{loaded['id']}/files/log.txt").data.decode()
    assert "============ Serving Benchmark Result ============" in log


def test_a_run_tells_its_figures_and_its_second_by_second_rows(loaded: Any) -> None:
    assert (loaded["headline"]["completed"], loaded["headline"]["failed"]) == (12, 0)
    assert loaded["headline"]["ttft_ms_p50"] >= 5
    assert loaded["verdict"]["level"] in ("trusted", "caution", "untrusted")
    assert sum(row["completed"] for row in loaded["intervals"]) == 12
    assert {"ttft_ms_p50", "in_flight", "schedule_lag_ms_p99", "client_lag_ms_p99"} < set(
        loaded["intervals"][0]
    )


# ---- POST /runs ----


def test_a_plan_by_settings_gives_the_same_run_as_the_command_line(service: Service, benched: Any) -> None:
    assert (benched["phase"], benched["label"], benched["asked"], benched["done"]) == (
        "finished",
        "first look",
        12,
        12,
    )
    found = service.get(f"/runs/{benched['id']}/result").json()
    assert (found["requests"]["completed"], found["tokens"]["output"]) == (12, 48)
    assert found["plan"]["max_concurrency"] == 4


def test_a_plan_may_have_its_parts(service: Service, simulator: Server) -> None:
    whole = vp.Plan.of(base_url=simulator.url, max_concurrency=2, num_prompts=3, output_len=2).to_dict()
    run = service.ended(service.started("/runs", {"kind": "bench", "plan": whole}))
    assert (run["phase"], run["headline"]["completed"]) == ("finished", 3)


def test_a_sweep_keeps_its_points_and_gives_its_table(service: Service, simulator: Server) -> None:
    sweep = {
        "setups": [{"name": "one", "url": simulator.url}],
        "axes": {"max_concurrency": [1, 2]},
        "plan": {"num_prompts": 4, "output_len": 2},
    }
    run = service.ended(service.started("/runs", {"kind": "sweep", "sweep": sweep}))
    assert (run["phase"], run["error"]) == ("finished", None)
    assert len([file for file in run["files"] if file["name"].endswith(".vllmperf")]) == 2
    assert "max_concurrency" in service.get(f"/runs/{run['id']}/report.html").data.decode()


def test_a_run_that_gets_no_answer_fails_and_keeps_its_result(service: Service, simulator: Server) -> None:
    with Server(faults=["status:code=500"]) as broken:
        run = service.ended(service.started("/runs", plan(broken, num_prompts=3)))
    assert (run["phase"], run["error"]) == ("failed", "no request was completed")
    assert service.get(f"/runs/{run['id']}/result").json()["requests"]["completed"] == 0


def test_a_run_that_gives_up_has_failed_says_why_and_keeps_what_it_measured(service: Service) -> None:
    with Server(faults=["status:code=500@every=4"]) as broken:
        run = service.ended(service.started("/runs", plan(broken, num_prompts=200, max_errors=3)))
    assert run["phase"] == "failed"
    assert "3" in run["error"]
    result = service.get(f"/runs/{run['id']}/result").json()
    assert result["ending"]["reason"] == "max_errors"
    assert 0 < result["requests"]["completed"] < 200


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ([], None, "the body must be a JSON object"),
        ({"kind": "bench"}, "plan", "plan must be an object"),
        ({"kind": "none"}, "kind", "kind must be one of"),
        ({"kind": "bench", "plan": {"base_url": "http://h"}, "plam": 1}, "plam", "no such field plam"),
        ({"kind": "bench", "plan": {"base_url": "http://h"}, "label": 1}, "label", "label must be a text"),
        (
            {"plan": {"base_url": "http://h", "num_prompts": 0}},
            "num_prompts",
            "num_prompts must be at least 1 (got 0)",
        ),
        ({"plan": {"base_url": "http://h", "nmu_prompts": 0}}, "nmu_prompts", "did you mean num_prompts?"),
        (
            {"plan": {"base_url": "http://h", "request_rate": -1}},
            "request_rate",
            "request_rate must be above 0",
        ),
        ({"plan": {"num_prompts": 3}}, "base_url", "give either base_url or simulator"),
        (
            {"plan": {"target": {"base_url": "http://h"}, "load": {"num_prompts": 0}}},
            "num_prompts",
            "load.num_prompts",
        ),
        ({"plan": {"base_url": "http://h", "api_key_file": "/etc/shadow"}}, "api_key_file", "give api_key"),
        ({"kind": "sweep", "sweep": {"setups": [{"command": "sh {port}"}]}}, "setups", "starts a program"),
        ({"kind": "sweep", "sweep": {}}, "setups", "a sweep needs setups"),
        ({"kind": "capacity", "capacity": {"base_url": 5}}, "base_url", "base_url must be"),
        ({"kind": "start-load", "model": "m", "num_prompts": "x"}, "num_prompts", "invalid int value"),
    ],
)
def test_a_request_that_makes_no_sense_names_its_field(
    service: Service, body: Any, field: str | None, message: str
) -> None:
    found = answered(service, "/runs", body, 400)
    assert found["field"] == field, found
    assert message in found["error"]


def test_a_payload_that_makes_no_sense_names_its_key(service: Service) -> None:
    found = answered(service, "/start-load", {"model": "m", "num_prompts": "many"}, 400)
    assert found == {"error": "num_prompts: invalid int value: 'many'", "field": "num_prompts"}


@pytest.mark.parametrize("body", [b"", b"{", b"nan"])
def test_a_body_that_is_no_json_is_refused(service: Service, body: bytes) -> None:
    assert "the body is no JSON" in answered(service, "/start-load", body, 400)["error"]


# ---- the same request twice ----


def test_the_same_key_with_the_same_body_is_the_same_run(service: Service, simulator: Server) -> None:
    body = plan(simulator, num_prompts=2)
    first = answered(service, "/runs", body, 202, Idempotency_Key="a")
    again = answered(service, "/runs", dict(reversed(body.items())), 200, Idempotency_Key="a")
    assert again["id"] == first["id"]
    other = answered(service, "/runs", plan(simulator, num_prompts=3), 409, Idempotency_Key="a")
    assert first["id"] in other["error"]


# ---- live ----


def test_events_of_a_run_end_with_it_and_have_each_second(service: Service, patient: Server) -> None:
    run_id = service.started("/runs", plan(patient, max_concurrency=2))
    seen: list[tuple[str, Any]] = []
    kind = ""
    for line in service.events(f"/runs/{run_id}/events"):
        text = line.decode().strip()
        kind = text.removeprefix("event: ") if text.startswith("event: ") else kind
        if text.startswith("data: "):
            seen.append((kind, json.loads(text.removeprefix("data: "))))
    assert {kind for kind, _ in seen} == {"run", "interval"}
    phases = [data["phase"] for kind, data in seen if kind == "run"]
    assert phases[-1] == "finished"
    assert "running" in phases
    assert any(0 < (data["progress"] or 0) < 1 for kind, data in seen if kind == "run")
    assert sum(data["completed"] for kind, data in seen if kind == "interval") == 12


def test_events_of_all_runs_say_of_which(service: Service, simulator: Server) -> None:
    stream = service.events("/events")
    run_id = service.started("/runs", plan(simulator, num_prompts=2))
    found = next(json.loads(line[6:]) for line in stream if line.startswith(b"data: "))
    stream.close()
    assert found["id"] == run_id


def test_a_cancelled_run_keeps_what_came(service: Service, patient: Server) -> None:
    run_id = service.started("/runs", plan(patient, max_concurrency=2, num_prompts=5000))
    service.wait(lambda: service.run(run_id)["done"] > 3, "some requests have ended")
    assert service.delete(f"/runs/{run_id}").status == 202
    run = service.ended(run_id)
    assert run["phase"] == "cancelled"
    assert 3 < run["headline"]["completed"] < 5000
    assert (
        service.get(f"/runs/{run_id}/result").json()["requests"]["completed"] == run["headline"]["completed"]
    )
    assert service.delete(f"/runs/{run_id}").status == 409


def test_a_cancelled_start_load_keeps_vllms_file(service: Service, patient: Server) -> None:
    run_id = service.started("/start-load", payload(patient, num_prompts=60, request_rate=4))
    service.wait(lambda: service.run(run_id)["done"] > 1, "some requests have ended")
    service.delete(f"/runs/{run_id}")
    run = service.ended(run_id)
    assert run["phase"] == "cancelled"
    assert 1 < service.get(f"/runs/{run_id}/result").json()["completed"] < 60


# ---- results ----


def test_two_runs_stand_beside_each_other(service: Service, loaded: Any, benched: Any) -> None:
    pair = f"a={loaded['id']}&b={benched['id']}"
    assert service.get(f"/compare?{pair}").json()["figures"]["completed"] == {"a": 12, "b": 12, "change": 0.0}
    assert "<table" in service.get(f"/compare.html?{pair}").data.decode()
    assert service.get(f"/compare?a={loaded['id']}&b=none").status == 404


@pytest.mark.parametrize(
    "path", ["job.json", "state.json", "../../app/sonnet.txt", "..%2F..%2Fapp%2Fsonnet.txt", "none"]
)
def test_only_files_of_the_run_are_given(service: Service, loaded: Any, path: str) -> None:
    assert service.get(f"/runs/{loaded['id']}/files/{path}").status == 404


def test_what_is_not_there_is_said(service: Service) -> None:
    for path in ("/runs/none", "/runs/none/result", "/runs/none/events", "/nowhere"):
        answer = service.get(path)
        assert answer.status == 404
        assert answer.json()["field"] is None
        assert answer.json()["error"]
    assert service.post("/healthz", {}).status == 405


# ---- the service of itself ----


def test_the_list_has_all_runs_newest_first(service: Service, loaded: Any, benched: Any) -> None:
    found = service.get("/runs").json()
    stamps = [run["created_at"] for run in found["runs"]]
    assert stamps == sorted(stamps, reverse=True)
    assert {loaded["id"], benched["id"]} < {run["id"] for run in found["runs"]}
    assert found["queue_limit"] == 20


def test_it_is_well_and_ready(service: Service) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json()["status"] == "ready"


def test_metrics_count_the_requests_of_a_run(service: Service, loaded: Any) -> None:
    run_id = service.ended(service.started("/runs", plan_of(loaded)))["id"]
    page = service.get("/metrics").data.decode()
    assert f'vllmperf_requests_total{{outcome="completed",run="{run_id}"}} 12.0' in page


def plan_of(run: Any) -> dict[str, Any]:
    return {
        "kind": "bench",
        "plan": {"base_url": run["target"], "max_concurrency": 4, "num_prompts": 12, "output_len": 3},
    }


def test_the_schema_has_every_setting_and_every_flag(service: Service) -> None:
    found = service.get("/schema").json()
    assert found["plan"]["properties"]["num_prompts"]["default"] == 1000
    assert (
        found["plan"]["properties"]["request_rate"]["description"]
        == "send this many requests per second; inf sends all at once"
    )
    flags = found["start_load"]["vllm-0.6"]
    assert flags["properties"]["sonnet_input_len"] == {"type": "integer", "default": 550}
    assert flags["required"] == ["model"]


def test_the_page_of_the_api_has_examples_and_loads_nothing_from_others(service: Service) -> None:
    page = service.get("/docs").data.decode()
    assert "curl -X POST" in page
    assert "/start-load" in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://127.0.0.1", "").replace("http://localhost", "")
    assert service.get("/openapi.json").json()["paths"]["/start-load"]["post"]["requestBody"]


def test_a_secret_is_in_no_answer_and_no_file(service: Service, simulator: Server) -> None:
    secret = "sk-0123456789abcdef"
    body = plan(simulator, num_prompts=2, api_key=secret, headers={"x-api-key": secret, "x-team": "a"})
    run = service.ended(service.started("/runs", body))
    assert run["phase"] == "finished"
    assert run["request"]["api_key"] == "***"
    assert run["request"]["headers"] == {"x-api-key": "***", "x-team": "a"}
    everything = [path.read_bytes() for path in service.data.rglob("*") if path.is_file()]
    assert not any(secret.encode() in content for content in everything)
    assert secret not in service.log.read_text()
