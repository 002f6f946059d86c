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

pytest.importorskip("fastapi", reason="the extra service is not installed")

from vllmperf.service.request import lacks_secret, whole
from vllmperf.sim import Server

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


KEY = "sk-0123456789"


@pytest.fixture
def secretive(data: Path, patient: Server) -> tuple[str, str]:
    """The data folder of a service that was killed within a run with a key, and another one in the queue."""
    service = Service(data, OPENAI_API_KEY="").start()
    first = service.started("/runs", with_key(patient), Idempotency_Key="first")
    service.wait(lambda: service.run(first)["done"] > 3, "some requests have ended")
    second = service.started("/runs", with_key(patient))
    service.stop(signal.SIGKILL)
    for path in data.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    return first, second


def with_key(server: Server) -> dict[str, Any]:
    return {"plan": {**plan(server)["plan"], "api_key": KEY}}


def test_runs_whose_key_a_restart_has_lost_go_on_with_that_of_the_environment(
    data: Path, secretive: tuple[str, str]
) -> None:
    with Service(data, OPENAI_API_KEY="") as service:
        for run_id in secretive:
            run = service.ended(run_id)
            assert run["phase"] == "interrupted"
            assert "give the service OPENAI_API_KEY" in run["note"]
    with Service(data, OPENAI_API_KEY="another") as service:
        for run_id in secretive:
            run = service.until(run_id, "finished", "failed")
            assert (run["phase"], run["headline"]["completed"]) == ("finished", N)
        assert numbers_in(data / "runs" / secretive[0] / "run.vllmperf") == list(range(N))


def test_a_run_whose_key_is_lost_goes_on_when_its_request_comes_again(
    data: Path, patient: Server, secretive: tuple[str, str]
) -> None:
    first, second = secretive
    with Service(data, OPENAI_API_KEY="") as service:
        service.until(first, "interrupted")
        again = service.post("/runs", with_key(patient), Idempotency_Key="first")
        assert (again.status, again.json()["id"]) == (200, first)
        assert service.until(first, "finished")["headline"]["completed"] == N

        service.until(second, "interrupted")
        assert service.delete(f"/runs/{second}").status == 202
        assert service.run(second)["phase"] == "cancelled"
        assert service.delete(f"/runs/{second}").status == 409


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ({"api_key": "***", "label": "***"}, {"label": "***"}),
        ({"headers": {"Authorization": "***"}}, {}),
        ({"headers": {"authorization": "***", "x-a": "b"}}, {"headers": {"x-a": "b"}}),
        ({"header": ["Authorization=***", "x-a=b"]}, {"header": ["x-a=b"]}),
        ({"headers": {"x-api-key": "***"}}, None),
        ({"header": ["Cookie=***"]}, None),
    ],
)
def test_the_environments_key_takes_the_place_of_a_bearer_token_alone(
    content: Any, left: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    if left is None:
        assert lacks_secret(content, {})
    else:
        assert whole(content, {}) == left
    monkeypatch.delenv("OPENAI_API_KEY")
    assert lacks_secret(content, {})
    known = dict.fromkeys(content, "s")
    assert whole(content, known) == known


def test_three_stars_that_hide_nothing_are_no_lost_secret() -> None:
    content = {"label": "*** new ***", "metadata": {"a": "***"}, "headers": {"x-a": "b"}}
    assert whole(content, {}) == content


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
