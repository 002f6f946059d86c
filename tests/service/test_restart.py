"""What becomes of the queue and of runs when the service ends: asked to, or killed."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import urllib3
from serving import Service, payload

from vllmperf.sim import Server

pytest.importorskip("fastapi", reason="the extra service is not installed")

N = 60


def plan(server: Server, n: int = N) -> dict[str, Any]:
    return {"plan": {"base_url": server.url, "max_concurrency": 2, "num_prompts": n, "output_len": 2}}


def workers_of(service: Service) -> list[int]:
    """Processes that the service has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"vllmperf.service.worker" in words and any(str(service.data).encode() in word for word in words):
            found.append(int(path.parent.name))
    return found


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def begun(service: Service, server: Server, n: int = N) -> str:
    """A run of which some requests have ended."""
    run_id = service.started("/runs", plan(server, n))
    service.wait(lambda: service.run(run_id)["done"] > 3, "some requests have ended")
    return run_id


def numbers_in(path: Path) -> list[int]:
    with sqlite3.connect(path) as db:
        return sorted(
            n for (n,) in db.execute("""SELECT "index" FROM requests WHERE outcome = 'completed'""")
        )


def test_sigterm_ends_a_run_gently_and_the_next_service_goes_on_with_it(data: Path, patient: Server) -> None:
    service = Service(data).start()
    run_id = begun(service, patient)
    waiting = service.started("/runs", plan(patient, 3))
    assert service.stop() == 0
    assert workers_of(service) == []
    with service:
        run = service.ended(run_id)
        assert (run["phase"], run["error"], run["asked"], run["done"]) == ("finished", None, N, N)
        assert run["headline"]["completed"] == N
        assert numbers_in(data / "runs" / run_id / "run.vllmperf") == list(range(N))
        assert service.ended(waiting)["phase"] == "finished"


def test_after_kill_9_the_run_goes_on_and_no_request_counts_twice(data: Path, patient: Server) -> None:
    service = Service(data).start()
    run_id = begun(service, patient)
    waiting = service.started("/runs", plan(patient, 3))
    workers = workers_of(service)
    assert len(workers) == 1
    service.stop(signal.SIGKILL)
    with service:
        assert service.run(run_id)["phase"] in ("queued", "waiting", "running")
        run = service.ended(run_id)
        assert (run["phase"], run["error"], run["done"]) == ("finished", None, N)
        assert numbers_in(data / "runs" / run_id / "run.vllmperf") == list(range(N))
        assert service.ended(waiting)["phase"] == "finished"


def test_a_worker_does_not_outlive_its_service(data: Path, patient: Server) -> None:
    service = Service(data).start()
    begun(service, patient, 100_000)
    worker = workers_of(service)[0]
    service.stop(signal.SIGKILL)
    service.wait(lambda: is_gone(worker), "the worker is gone")


def test_a_start_load_is_marked_and_what_came_is_kept(data: Path, patient: Server) -> None:
    service = Service(data).start()
    run_id = service.started("/start-load", payload(patient, num_prompts=400, request_rate=10))
    service.wait(lambda: service.run(run_id)["done"] > 3, "some requests have ended")
    worker = workers_of(service)[0]
    service.stop(signal.SIGKILL)
    service.wait(lambda: is_gone(worker), "the worker is gone")
    with service:
        run = service.run(run_id)
        assert (run["phase"], run["note"]) == (
            "interrupted",
            "the service ended during the run; what came is kept",
        )
        assert len(run["intervals"]) > 0
        assert 3 < len(numbers_in(data / "runs" / run_id / "run.vllmperf")) < 400
        assert 3 < service.get(f"/runs/{run_id}/result").json()["completed"] < 400


def test_a_worker_that_dies_fails_its_run_alone(service: Service, patient: Server) -> None:
    run_id = begun(service, patient, 5000)
    waiting = service.started("/runs", plan(patient, 3))
    os.kill(workers_of(service)[0], signal.SIGKILL)
    run = service.ended(run_id)
    assert (run["phase"], run["error"]) == (
        "failed", "the worker died (signal 9); log.txt of the run has its last words",
    )  # fmt: skip
    assert service.ended(waiting)["phase"] == "finished"


def test_two_services_do_not_share_a_data_folder(service: Service) -> None:
    other = Service(service.data)
    with pytest.raises(AssertionError, match=r"another vllmperf serve works there \(process \d+\)"):
        other.start()
    assert other.process.wait() == 2


def test_a_secret_that_is_lost_with_the_service_is_said(data: Path, patient: Server) -> None:
    service = Service(data).start()
    begun(service, patient)
    body = {"plan": {**plan(patient)["plan"], "api_key": "sk-0123456789"}}
    run_id = service.started("/runs", body)
    service.stop(signal.SIGKILL)
    with service:
        run = service.ended(run_id)
        assert run["phase"] == "failed"
        assert "a secret of this run was not kept over the restart" in run["error"]


def test_the_url_is_said_when_the_service_answers_there(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "vllmperf", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            url = re.fullmatch(r"vllmperf: (http://\S+), data in \S+\n", line)
            assert url is not None, line
            assert urllib3.request("GET", f"{url[1]}/healthz", retries=False).status == 200
        finally:
            process.terminate()


def test_a_service_without_its_packages_says_what_to_install(tmp_path: Path) -> None:
    for name in ("fastapi", "uvicorn"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    where = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "vllmperf", "serve"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": where},
    )
    assert (done.returncode, done.stderr) == (
        2, "vllmperf: error: serve needs FastAPI and uvicorn: pip install 'vllmperf[service]'\n",
    )  # fmt: skip
