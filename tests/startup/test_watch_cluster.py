"""Pods that are watched while they start, in a fake cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_api import FakeApi
from watched_pods import (
    LABELS,
    LOG,
    UP,
    become_ready,
    begin,
    in_background,
    log,
    measure,
    parts_ns,
    when_watched,
)

from vllmperf import kube
from vllmperf.errors import TargetError, UsageError
from vllmperf.starts.result import Start


def test_a_pod_is_waited_for_from_its_creation_until_it_is_ready(api: FakeApi, config: str) -> None:
    def cluster() -> None:
        when_watched(api)
        begin(api, "a")
        become_ready(api, "a")

    in_background(cluster)
    (start,) = measure(config)
    assert start.reached
    assert (start.name, start.origin, start.end) == ("a", "created", "ready")
    assert start.log is not None
    assert start.log.reached_ready
    assert start.facts["ready_from"] == "watch"
    assert {"imports", "ready"} <= {phase.name for phase in start.phases}
    assert parts_ns(start) == start.end_ns - start.origin_ns


def test_pods_that_are_there_are_reported_as_they_are_ready_or_not(api: FakeApi, config: str) -> None:
    begin(api, "a")
    become_ready(api, "a")
    begin(api, "b")
    log(api, "b", "\n".join(LOG.splitlines()[:4]))
    ready, starting = measure(config, watch=False)
    assert ready.reached
    assert any("condition's time" in note for note in ready.notes)
    assert not starting.reached
    assert starting.failure is None
    assert starting.log is not None
    assert not starting.log.reached_ready


def test_of_three_pods_one_crashes_for_good_and_one_restarts(
    api: FakeApi, config: str, tmp_path: Path
) -> None:
    for name in ("good", "restarts", "crashes"):
        begin(api, name)

    def cluster() -> None:
        when_watched(api)
        become_ready(api, "good")
        time.sleep(0.3)
        for name in ("restarts", "crashes"):
            log(api, name, "\n".join(LOG.splitlines()[:4]))
            api.append_log(name, f"RuntimeError: {name} has no memory left")
        time.sleep(0.3)
        api.restart_container("restarts")
        api.crash_container("crashes")
        time.sleep(0.5)
        become_ready(api, "restarts")

    in_background(cluster)
    found = {start.name: start for start in measure(config, output=tmp_path / "logs")}
    assert found["good"].reached
    assert found["restarts"].reached
    assert found["restarts"].restarts == 1
    (before,) = found["restarts"].earlier
    assert before.name == "restarts try 1"
    assert not before.reached
    assert any("restarts has no memory left" in line for line in before.evidence)
    failure = found["crashes"].failure
    assert failure is not None
    assert failure.reason == "CrashLoopBackOff"
    assert any("crashes has no memory left" in line for line in found["crashes"].evidence)
    last, first = (tmp_path / "logs" / f"restarts-log{which}.txt" for which in ("", "-try-1"))
    assert before.log_path == str(first)
    assert "has no memory left" in first.read_text()
    assert "has no memory left" not in last.read_text()
    assert UP in last.read_text()


def test_a_log_whose_beginning_was_rotated_away_is_said_to_be_cut(api: FakeApi, config: str) -> None:
    begin(api, "a")
    log(api, "a", "\n".join(LOG.splitlines()[:5]))
    api.rotate_log("a")
    log(api, "a", "\n".join(LOG.splitlines()[5:]))
    api.append_log("a", UP)
    api.set_condition("a", "Ready")
    (start,) = measure(config, watch=False)
    assert start.log is not None
    assert start.log.cut_at_start
    assert "imports" not in {phase.name for phase in start.phases}
    assert parts_ns(start) == start.end_ns - start.origin_ns


def test_pods_that_are_being_deleted_are_left_out(api: FakeApi, config: str) -> None:
    begin(api, "a")
    api.change_pod("a", lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    with pytest.raises(TargetError, match="no pods match"):
        measure(config, watch=False)


def test_many_pods_are_followed_at_once(api: FakeApi, config: str) -> None:
    names = [f"pod-{number:02}" for number in range(30)]
    for name in names:
        begin(api, name)

    def cluster() -> None:
        when_watched(api)
        for name in names:
            api.append_log(name, LOG.format(*[datetime.now(UTC).strftime("%m-%d %H:%M:%S")] * 7))
            api.append_log(name, UP)
        for name in names:
            api.set_condition(name, "Ready")

    in_background(cluster)
    found = measure(config, timeout=90.0)
    assert [start.name for start in found] == names
    assert all(start.reached and start.log and start.log.reached_ready for start in found)


def test_the_log_of_the_try_before_is_read_of_a_pod_that_had_restarted(api: FakeApi, config: str) -> None:
    begin(api, "a")
    log(api, "a", "\n".join([*LOG.splitlines()[:4], "RuntimeError: first try"]))
    api.restart_container("a")
    become_ready(api, "a")
    (start,) = measure(config, watch=False)
    assert start.reached
    assert [one.name for one in start.earlier] == ["a try 1"]
    assert any("first try" in line for line in start.earlier[0].evidence)


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"]
)
def test_a_pod_that_cannot_start_fails_early_with_its_events(api: FakeApi, config: str, reason: str) -> None:
    pod = api.add_pod("a", labels=LABELS, running=False)
    api.add_event(pod, "Failed", 'Failed to pull image "nope": not found', kind="Warning")
    status = {"name": "vllm", "image": "nope", "restartCount": 0, "state": {"waiting": {"reason": reason}}}
    api.set_status("a", containerStatuses=[status])
    began = time.monotonic()
    (start,) = measure(config)
    assert time.monotonic() - began < 100
    assert start.failure is not None
    assert start.failure.reason == reason
    assert any('Failed to pull image "nope": not found' in line for line in start.evidence)


def test_an_unschedulable_pod_fails_after_its_grace(api: FakeApi, config: str) -> None:
    pod = api.add_pod("a", labels=LABELS, running=False)
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    api.add_event(pod, "FailedScheduling", message, kind="Warning")
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    condition["lastTransitionTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    api.set_status("a", conditions=[condition], containerStatuses=[])
    (start,) = measure(config, grace=1.0)
    assert start.failure is not None
    assert (start.failure.phase, start.failure.reason) == ("scheduling", "Unschedulable")
    assert any("FailedScheduling" in line for line in start.evidence)


def test_a_container_out_of_memory_is_named(api: FakeApi, config: str) -> None:
    begin(api, "a")
    log(api, "a", "\n".join(LOG.splitlines()[:4]))
    api.end_container("a", exit_code=137, reason="OOMKilled")
    (start,) = measure(config)
    assert start.failure is not None
    assert start.failure.reason == "OOMKilled"
    assert any("Starting to load model" in line for line in start.evidence)


def test_a_deleted_pod_is_a_failure(api: FakeApi, config: str) -> None:
    begin(api, "a")
    in_background(lambda: (when_watched(api), time.sleep(0.3), api.delete_pod("a")))
    (start,) = measure(config)
    assert start.failure is not None
    assert start.failure.reason == "Deleted"


def test_what_is_not_ready_in_time_has_failed_with_what_is_known(api: FakeApi, config: str) -> None:
    begin(api, "a")
    log(api, "a", "\n".join(LOG.splitlines()[:4]))
    (start,) = measure(config, timeout=1.0)
    assert start.failure is not None
    assert start.failure.reason == "timeout"
    assert any("Starting to load model" in line for line in start.evidence)


def test_a_log_that_may_not_be_read_is_a_note_of_its_pod(api: FakeApi, config: str) -> None:
    begin(api, "a")
    begin(api, "b")
    become_ready(api, "a")
    become_ready(api, "b")
    api.fail("GET .*/pods/b/log", status=403, times=99, message="no")
    a, b = measure(config)
    assert a.log is not None
    assert b.log is None
    assert b.reached
    assert any("log cannot be read" in note for note in b.notes)


def test_events_that_may_not_be_read_are_a_note(api: FakeApi, config: str) -> None:
    begin(api, "a")
    become_ready(api, "a")
    api.deny("list", "events")
    (start,) = measure(config)
    assert start.reached
    assert any("events cannot be read" in note for note in start.notes)


def test_missing_rights_to_pods_are_one_clear_error(api: FakeApi, config: str) -> None:
    api.deny("list", "pods")
    for watch in (True, False):
        with pytest.raises(kube.ForbiddenError, match="not allowed to list pods"):
            measure(config, watch=watch)


@pytest.mark.parametrize("as_what", ["event", "http"])
def test_an_expired_watch_and_cut_connections_lose_nothing(api: FakeApi, config: str, as_what: str) -> None:
    api.expire_as = as_what
    begin(api, "a")

    def cluster() -> None:
        lines = LOG.splitlines()
        when_watched(api)
        log(api, "a", "\n".join(lines[:3]))
        api.expire()
        api.cut()
        time.sleep(0.3)
        log(api, "a", "\n".join(lines[3:]))
        api.append_log("a", UP)
        api.cut()
        time.sleep(0.3)
        api.set_condition("a", "Ready")

    in_background(cluster)
    (start,) = measure(config)
    assert start.reached
    assert start.log is not None
    assert start.log.reached_ready
    assert {"imports", "weights_load"} <= {phase.name for phase in start.phases}


def test_a_watch_that_ends_for_good_keeps_what_it_has_shown(api: FakeApi, config: str) -> None:
    begin(api, "a")
    begin(api, "b")

    def cluster() -> None:
        when_watched(api)
        become_ready(api, "a")
        time.sleep(1.0)
        api.deny("watch", "pods")
        api.end_streams()

    in_background(cluster)
    a, b = measure(config, timeout=60.0)
    assert a.reached
    assert b.failure is not None
    assert "can be watched no longer" in b.failure.text


def test_no_pods_are_an_error_that_says_what_to_do(api: FakeApi, config: str) -> None:
    with pytest.raises(TargetError, match="--watch waits for some"):
        measure(config, watch=False)
    with pytest.raises(TargetError, match="appeared in namespace default within 1 s"):
        measure(config, timeout=1.0)


def test_neither_label_nor_deployment_is_refused(config: str) -> None:
    with pytest.raises(UsageError, match="nothing says what to measure: give label, deployment or command"):
        measure(config, label=None)


def test_side_cars_do_not_stand_for_the_server(api: FakeApi, config: str) -> None:
    api.add_pod("a", labels=LABELS, containers=[{"name": "proxy", "image": "envoy"}, "vllm"])
    api.append_log("a", "INFO proxy starts", container="proxy")
    become_ready(api, "a")
    (start,) = measure(config, watch=False)
    assert start.facts["container"] == "vllm"
    assert start.log is not None
    assert start.log.reached_ready


def test_progress_is_told_of_every_pod(api: FakeApi, config: str) -> None:
    begin(api, "a")
    told: list[list[Start]] = []
    was_told = threading.Event()

    def tell(starts: Sequence[Start]) -> None:
        told.append(list(starts))
        was_told.set()

    in_background(lambda: (was_told.wait(60), become_ready(api, "a")))
    measure(config, progress=tell)
    assert told[0][0].name == "a"
    assert not told[0][0].reached


@pytest.mark.parametrize("watch", [True, False])
def test_a_pod_that_was_up_and_completed_later_did_start(watch: bool, api: FakeApi, config: str) -> None:
    begin(api, "a")
    api.change_pod("a", lambda pod: pod["spec"].update(restartPolicy="Never"))
    log(api, "a", LOG)
    api.append_log("a", UP)
    api.append_log("a", "INFO:     Application shutdown complete.")
    api.end_container("a")
    (start,) = measure(config, watch=watch)
    assert start.reached
    assert start.failure is None
    assert start.facts["ready_from"] == "log"
    assert any("has ended since, with exit code 0 (Completed)" in note for note in start.notes)


@pytest.mark.parametrize("watch", [True, False])
def test_a_pod_that_had_completed_before_it_was_looked_at_did_start(
    watch: bool, api: FakeApi, config: str
) -> None:
    """All that is left of it is its object, without the container's ID, and its log."""
    times = {"startedAt": "2026-05-01T21:11:55Z", "finishedAt": "2026-05-01T21:20:00Z"}
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", **times}}
    pod = api.add_pod("a", labels=LABELS, running=False)
    pod["metadata"]["creationTimestamp"] = "2026-05-01T21:11:40Z"
    pod["spec"]["restartPolicy"] = "Never"
    pod["status"] = {
        "phase": "Succeeded",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-05-01T21:11:41Z"},
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-05-01T21:20:00Z"},
        ],
        "containerStatuses": [{"name": "vllm", "ready": False, "restartCount": 0, "state": ended}],
    }
    api.put("pods", pod)
    up_ns = int(datetime(2026, 5, 1, 21, 13, 25, tzinfo=UTC).timestamp()) * 10**9
    for line in LOG.replace("{}", "05-01 21:12:00").splitlines():
        api.append_log("a", line, stamp_ns=up_ns - 85 * 10**9)
    api.append_log("a", UP, stamp_ns=up_ns)
    api.log_of("a").run.ended = True
    (start,) = measure(config, watch=watch)
    assert (start.reached, start.failure, start.total_s) == (True, None, 105)
    assert any("395 s after its server was up" in note for note in start.notes)


def test_a_pod_that_completed_before_it_was_up_failed(api: FakeApi, config: str) -> None:
    begin(api, "a")
    api.change_pod("a", lambda pod: pod["spec"].update(restartPolicy="Never"))
    log(api, "a", "\n".join(LOG.splitlines()[:4]))
    api.end_container("a")
    (start,) = measure(config)
    assert not start.reached
    assert start.failure is not None
    assert start.failure.reason == "Completed"
