"""The list of runs a page at a time, and runs that are removed when they need not be kept."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from serving import Service

from vllmperf.bucket import journal
from vllmperf.bucket.outbox import Outbox
from vllmperf.bucket.place import Place
from vllmperf.errors import UsageError
from vllmperf.service.jobs import Job, now
from vllmperf.service.keeping import Keep
from vllmperf.service.store import Store
from vllmperf.service.uploads import Uploads
from vllmperf.sim import Server


def plan(server: Server) -> dict[str, Any]:
    return {"plan": {"base_url": server.url, "max_concurrency": 1, "num_prompts": 1, "output_len": 2}}


def left(folder: Path, *phases: str, ended_at: str | None = None) -> list[Job]:
    """Runs of an earlier service, oldest first."""
    store = Store(folder)
    jobs = []
    for n, phase in enumerate(phases):
        at = f"2026-12-01T00:00:{n:02}.000Z"
        job = Job(f"20261201-0000{n:02}-abcd", "bench", {}, at, phase=phase, ended_at=ended_at or at)
        store.runs.mkdir(parents=True, exist_ok=True)
        store.add(job)
        (store.folder_of(job) / "result.json").write_text("{}")
        jobs.append(job)
    return jobs


# ---- pages ----


def test_the_list_comes_in_pages_that_hold_each_run_once(tmp_path: Path) -> None:
    jobs = left(tmp_path / "data", *(["finished"] * 7))
    with Service(tmp_path / "data") as service:
        first = service.get("/runs?limit=3").json()
        second = service.get(f"/runs?limit=3&before={first['next']}").json()
        third = service.get(f"/runs?limit=3&before={second['next']}").json()
        seen = [run["id"] for page in (first, second, third) for run in page["runs"]]
        assert seen == [job.id for job in reversed(jobs)]
        assert [page["total"] for page in (first, second, third)] == [7, 7, 7]
        assert third["next"] is None
        assert service.get("/runs?limit=7").json()["next"] is None
        assert len(service.get("/runs").json()["runs"]) == 7


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "", "1.5"])
def test_a_page_of_no_sound_length_is_refused(service: Service, limit: str) -> None:
    answer = service.get(f"/runs?limit={limit}")
    assert (answer.status, answer.json()["field"]) == (400, "limit")


def test_a_page_that_begins_at_no_run_is_refused(service: Service) -> None:
    answer = service.get("/runs?before=20200101-000000-abcd")
    assert (answer.status, answer.json()["field"]) == (400, "before")
    assert "begin with GET /runs again" in answer.json()["error"]


# ---- what is removed ----


def test_the_newest_that_are_over_stay_and_no_other_phase_goes() -> None:
    phases = ("finished", "queued", "failed", "running", "cancelled", "interrupted", "finished", "waiting")
    jobs = [Job(f"{n}", "bench", {}, now(), phase=phase, ended_at=now()) for n, phase in enumerate(phases)]
    assert [job.id for job in Keep(runs=2).surplus(jobs)] == ["4", "6"]
    assert list(Keep().surplus(jobs)) == []
    assert list(Keep(runs=9).surplus(jobs)) == []


def test_a_run_goes_so_many_days_after_its_end() -> None:
    days = [datetime.now(UTC) - timedelta(days=days) for days in (0, 1.9, 2.1, 300)]
    jobs = [
        Job(f"{n}", "bench", {}, now(), phase="finished", ended_at=day.isoformat())
        for n, day in enumerate(days)
    ]
    assert [job.id for job in Keep(days=2).surplus(jobs)] == ["2", "3"]


@pytest.mark.parametrize("given", [{"runs": 0}, {"runs": -1}, {"days": 0.0}, {"days": float("nan")}])
def test_a_rule_that_would_remove_everything_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="--keep-"):
        Keep(**given)


@pytest.mark.slow
def test_a_service_removes_what_is_beyond_and_nothing_else(tmp_path: Path, simulator: Server) -> None:
    data = tmp_path / "data"
    jobs = left(data, "finished", "interrupted", "failed", "finished")
    other = data / "runs" / "notes"
    other.mkdir()
    with Service(data, "--keep-runs", "2") as service:
        run_id = service.ended(service.started("/runs", plan(simulator)))["id"]

        def shown() -> list[str]:
            return [run["id"] for run in service.get("/runs").json()["runs"]]

        kept = [run_id, jobs[3].id, jobs[1].id]
        service.wait(lambda: shown() == kept, "the older ones are removed")
        assert {path.name for path in (data / "runs").iterdir()} == {*kept, "notes"}
        assert service.get(f"/runs/{jobs[0].id}").status == 404
        assert f"removed {jobs[0].id}" in service.log.read_text()


@pytest.mark.slow
def test_a_run_of_a_values_file_that_was_removed_is_not_run_again(tmp_path: Path, simulator: Server) -> None:
    specs = tmp_path / "values.yaml"
    words = f"{{plan: {{base_url: '{simulator.url}', num_prompts: 1, output_len: 2}}, kind: bench}}"
    specs.write_text(f"benchmarkSpecs: [{words}, {words}]")
    flags = ("--specs", str(specs), "--keep-runs", "1")
    with Service(tmp_path / "data", *flags) as service:

        def total() -> int:
            runs = service.get("/runs").json()["runs"]
            return len(runs) if all(run["phase"] == "finished" for run in runs) else 0

        service.wait(lambda: total() == 1, "one of two is left")
        assert service.stop(signal.SIGTERM) == 0
    with Service(tmp_path / "data", *flags) as service:
        assert service.get("/runs").json()["total"] == 1


def test_what_a_kill_left_half_removed_is_gone_with_the_next_start(tmp_path: Path) -> None:
    jobs = left(tmp_path / "data", "finished")
    runs = tmp_path / "data" / "runs"
    (runs / jobs[0].id).rename(runs / f".removed-{jobs[0].id}")
    assert Store(tmp_path / "data").load() == []
    assert list(runs.iterdir()) == []


# ---- the bucket ----


def test_a_run_is_safe_to_remove_when_the_bucket_has_all_of_it(tmp_path: Path) -> None:
    (job,) = left(tmp_path, "finished")
    place = Place.of("s3://results/here")
    store = Store(tmp_path)
    with_bucket = Uploads(store, place, lambda _: None)
    assert Uploads(store, None, lambda _: None).is_safe(job)
    assert not with_bucket.is_safe(job), "nothing was sent"

    with_bucket.add(job)
    assert not with_bucket.is_safe(job), "it waits"
    assert not Uploads(store, None, lambda _: None).is_safe(job), (
        "it waits for the bucket of an earlier service"
    )

    set_state(store.folder_of(job), journal.UPLOADED)
    assert with_bucket.is_safe(job)
    (store.folder_of(job) / "report.html").write_text("")
    assert not with_bucket.is_safe(job), "the report was not sent"


def test_a_run_whose_minutes_still_wait_is_not_safe_to_remove(tmp_path: Path) -> None:
    (job,) = left(tmp_path, "finished")
    folder = Store(tmp_path).folder_of(job)
    (folder / "minutes").write_text("")
    Outbox(folder / ".run.outbox").add(folder / "minutes", Place.of("s3://results/minutes"))
    assert not Uploads(Store(tmp_path), None, lambda _: None).is_safe(job)


def set_state(folder: Path, state: str) -> None:
    journal.edit(folder, lambda uploads: [replace(one, state=state) for one in uploads])
