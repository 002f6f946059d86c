"""The service puts what its runs leave into the bucket of the document's variables."""

from __future__ import annotations

import json
import shutil
import signal
import time

import pytest
from s3_server import BUCKET, LIMIT_S
from serving import Service

from vllmperf.sim import Server as Simulator

pytest.importorskip("fastapi", reason="the extra service is not installed")

LINES = "".join(
    f"{n} and so they stood, each with a lantern, and none of them spoke a word\n" for n in range(400)
)
MODEL = "meta-llama/Llama-3.1-405B-Instruct-FP8"


def with_bucket(data, server, *flags, **environment):
    """A service that knows the bucket by the document's variables."""
    variables = {
        "BENCHMARK_RESULTS_BUCKET": BUCKET,
        "BENCHMARK_RESULTS_DIRECTORY": "llama/h100",
        "BENCHMARK_RESULTS_ENDPOINT": server.endpoint,
    }
    return Service(data, *flags, **{**variables, **environment})


def eventually(condition):
    end = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def uploaded(service, run_id):
    """The run as soon as all its files have arrived."""

    def found():
        run = service.run(run_id)
        assert not run["error"], run["error"]
        return run["uploads"] and "pending" not in states(run) and run

    return eventually(found)


def states(run):
    return [one["state"] for one in run["uploads"]]


@pytest.fixture
def data(tmp_path, model):
    (tmp_path / "data" / "app").mkdir(parents=True)
    shutil.copytree(model, tmp_path / "data" / "tokenizer")
    (tmp_path / "data" / "app" / "sonnet.txt").write_text(LINES)
    return tmp_path / "data"


@pytest.fixture
def simulator():
    with Simulator(ttft_ms=2, itl_ms=1, model=MODEL) as made:
        yield made


def payload(simulator, **more):
    """The document's, but for host, port, the number of prompts and a tokenizer that is here."""
    return {
        "host": "127.0.0.1", "port": simulator.port, "num_prompts": 12, "request_rate": 200,
        "model": MODEL, "backend": "openai-chat", "endpoint": "/v1/chat/completions",
        "dataset_path": "app/sonnet.txt", "dataset_name": "sonnet",
        "sonnet_input_len": 512, "sonnet_prefix_len": 128, "sonnet_output_len": 2, "tokenizer": "tokenizer", **more,
    }  # fmt: skip


def test_the_documents_payload_leaves_its_json_in_the_bucket(data, server, simulator):
    with with_bucket(data, server) as service:
        run = service.post("/start-load", payload(simulator)).json()
        found = uploaded(service, run["id"])
        metrics = service.get("/metrics").data.decode()
    objects = server.objects()
    (key,) = [key for key in objects if key.endswith(".json")]
    assert key.startswith("llama/h100/openai-chat-200.0qps-Llama-3.1-405B-Instruct-FP8-2")
    assert json.loads(objects[key])["completed"] == 12
    stem = key.removesuffix(".json")
    assert sorted(objects) == [f"{stem}.html", f"{stem}.json", f"{stem}.vllmperf"]
    assert states(found) == ["done"] * 3
    assert {one["to"] for one in found["uploads"]} == {f"s3://{BUCKET}/{key}" for key in objects}
    assert "uploaded 3 files" in service.log.read_text()
    assert "vllmperf_uploads_pending 0" in metrics


def test_results_wait_while_the_bucket_is_away_and_the_next_service_uploads_them(data, server, simulator):
    server.stop()
    with with_bucket(data, server) as service:
        assert "does not answer; results wait in --data" in service.log.read_text()
        run = service.post("/start-load?wait=true", payload(simulator)).json()
        assert run["completed"] == 12
        (run_id,) = [one["id"] for one in service.get("/runs").json()["runs"]]
        assert states(eventually(lambda: (one := service.run(run_id))["uploads"] and one)) == ["pending"] * 3
        service.stop(signal.SIGKILL)
    server.start()
    with with_bucket(data, server) as service:
        assert states(uploaded(service, run_id)) == ["done"] * 3
    assert len(server.objects()) == 3


def test_a_plan_has_vllms_json_too_and_llm_d_files_it(data, server, simulator):
    plan = {
        "base_url": f"http://127.0.0.1:{simulator.port}",
        "num_prompts": 8,
        "max_concurrency": 2,
        "input_len": 4,
        "output_len": 4,
    }
    plan |= {"label": "nightly", "metadata": {"hardware": "H100-x8"}}
    words = ["--output", f"s3://{BUCKET}/default", "--output-endpoint", server.endpoint, "--layout", "llm-d"]
    with with_bucket(data, server, *words) as service:
        run = service.post("/runs", {"kind": "bench", "plan": plan}).json()
        found = uploaded(service, run["id"])
    assert sorted(one["name"].rsplit(".", 1)[1] for one in found["uploads"]) == ["html", "json", "vllmperf"]
    assert {key.rsplit("/", 2)[0] for key in server.objects()} == {f"default/nightly/{MODEL}/H100-x8"}


def test_what_a_cancelled_run_has_measured_goes_to_the_bucket_too(data, server, simulator):
    with with_bucket(data, server) as service:
        run = service.post("/start-load", payload(simulator, num_prompts=5000, request_rate=20)).json()
        service.wait(lambda: service.run(run["id"])["done"] > 3, "some requests have ended")
        assert service.delete(f"/runs/{run['id']}").status == 202
        assert service.ended(run["id"])["phase"] == "cancelled"
        uploaded(service, run["id"])
        plan = {"base_url": simulator.url, "num_prompts": 5000, "request_rate": 20, "output_len": 2}
        run = service.post("/runs", {"plan": plan}).json()
        service.wait(lambda: service.run(run["id"])["done"] > 3, "some requests have ended")
        service.delete(f"/runs/{run['id']}")
        assert states(uploaded(service, run["id"])) == ["done"] * 3
    assert len(server.objects()) == 6


def test_a_bucket_that_is_not_there_ends_the_service_at_its_start(data, server):
    service = with_bucket(data, server, BENCHMARK_RESULTS_BUCKET="nobodys")
    with pytest.raises(AssertionError), service:
        pass
    assert service.process.wait(LIMIT_S) == 2
    assert service.log.read_text().splitlines() == [
        f"vllmperf: error: there is no bucket nobodys at {server.endpoint}: make it, or name another"
    ]
