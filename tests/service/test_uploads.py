"""Results in a bucket: a real S3 server, under the names that people look for, also when it comes back late."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import parts  # noqa: F401 scripts/test-parts finds the files with real programs by it
import pytest
from serving import Service, payload

from vllmperf.sim import Server as Simulator

pytest.importorskip("fastapi", reason="the extra service is not installed")
pytest.importorskip("boto3", reason="the extra s3 is not installed")
sys.path.append(str(Path(__file__).parents[1] / "bucket"))
from s3_server import ACCESS, BUCKET, SECRET, Server


@pytest.fixture
def bucket(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    given = {
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    made = Server(tmp_path / "s3", port)
    yield made
    made.stop()


def test_the_result_of_a_run_its_run_file_and_report_are_in_the_bucket(
    data: Path, simulator: Simulator, bucket: Server
) -> None:
    where = {
        "BENCHMARK_RESULTS_BUCKET": BUCKET, "BENCHMARK_RESULTS_DIRECTORY": "llama",
        "BENCHMARK_RESULTS_ENDPOINT": bucket.endpoint,
    }  # fmt: skip
    with Service(data, **where) as service:
        run_id = service.started("/start-load", payload(simulator))
        assert service.ended(run_id)["phase"] == "finished"

        def sent() -> Any:
            uploads = service.run(run_id)["uploads"]
            return uploads if uploads and all(one["state"] == "uploaded" for one in uploads) else None

        uploads = service.wait(sent, "all is uploaded")
        result = next(one["name"] for one in uploads if one["name"].endswith(".json"))
        assert result.startswith("openai-chat-40.0qps-model-")
        stem = f"llama/{result.removesuffix('.json')}"
        objects = bucket.objects()
        assert set(objects) == {f"{stem}.json", f"{stem}.vllmperf", f"{stem}.html"}
        assert objects[f"{stem}.json"] == service.get(f"/runs/{run_id}/result").data

        bucket.stop()
        late = service.ended(
            service.started("/runs", {"plan": {"base_url": simulator.url, "num_prompts": 2}})
        )
        assert late["phase"] == "finished"
        assert "vllmperf_uploads_pending 3.0" in service.get("/metrics").data.decode()
    bucket.start()
    with service:
        service.wait(lambda: f"llama/{late['id']}.html" in bucket.objects(), "the late ones are uploaded")
