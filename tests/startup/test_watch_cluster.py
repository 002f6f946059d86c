"""Pods of a (fake) API server: waited for, followed, probed, failing early, started by scaling and restarting."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi
from fake_http import Served

import vllmperf as vp
from vllmperf import kube
from vllmperf.errors import TargetError, UsageError
from vllmperf.starts.result import Start

LOG = """\
INFO {} [__init__.py:239] Automatically detected platform cuda.
INFO {} [api_server.py:1034] vLLM API server version 0.8.5
INFO {} [core.py:58] Initializing a V1 LLM engine (v0.8.5) with config: model='tiny'
INFO {} [gpu_model_runner.py:1329] Starting to load model tiny...
INFO {} [loader.py:458] Loading weights took 0.10 seconds
INFO {} [core.py:159] init engine (profile, create kv cache, warmup model) took 0.30 seconds
INFO {} [api_server.py:1081] Starting vLLM API server on http://0.0.0.0:8000"""
UP = "INFO:     Application startup complete."
LABELS = {"app": "vllm"}
PULLED = 'Successfully pulled image "x" in 150ms (200ms including waiting). Image size: 4096 bytes.'


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server


@pytest.fixture
def config(api: FakeApi, tmp_path: Path) -> str:
    return str(api.kubeconfig(tmp_path))


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def when_watched(api: FakeApi) -> None:
    """Waits until a client watches pods."""
    deadline = time.monotonic() + 60
    while not api.seen(r"GET /api/v1/namespaces/default/pods\?.*watch=1") and time.monotonic() < deadline:
        time.sleep(0.02)


def log(api: FakeApi, name: str, text: str) -> None:
    stamp = datetime.now(UTC).strftime("%m-%d %H:%M:%S")
    for line in text.splitlines():
        api.append_log(name, line.format(stamp))
        time.sleep(0.01)


def begin(api: FakeApi, name: str, **more: Any) -> None:
    """A pod is made, scheduled, pulled and started."""
    pod = api.add_pod(name, labels=LABELS, running=False, **more)
    api.set_condition(name, "PodScheduled")
    api.add_event(pod, "Pulled", PULLED)
    event = api.add_event(pod, "Pulled", PULLED)
    event["involvedObject"]["fieldPath"] = "spec.containers{vllm}"
    api.put("events", event)
    run(api, name)


def run(api: FakeApi, name: str, restarts: int = 0) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {
        "name": "vllm",
        "image": "x",
        "restartCount": restarts,
        "containerID": f"containerd://{name}-{restarts}",
    }
    status |= {"state": {"running": {"startedAt": now}}, "lastState": {}, "ready": False}
    api.set_status(name, phase="Running", podIP="127.0.0.1", containerStatuses=[status])


def become_ready(api: FakeApi, name: str) -> None:
    log(api, name, LOG)
    api.append_log(name, UP)
    time.sleep(0.05)
    api.set_condition(name, "Ready")


def parts_ns(start: Start) -> int:
    return sum(p.end_ns - p.start_ns for p in start.phases if p.critical and p.start_ns and p.end_ns)


def measure(config: str, **more: Any) -> vp.Starts:
    return vp.startup(config=config, **{"label": "app=vllm", "watch": True, "timeout": 120.0, **more})


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


# ---- probes through the proxy ----


class Server:
    """Behind the API server's proxy: 503 until `is_up`; models, completions, sleep."""

    def __init__(self, dev_mode: bool = True) -> None:
        self.is_up, self.is_asleep, self.dev_mode = False, False, dev_mode

    def __call__(self, served: Served) -> None:
        path = served.where
        if not self.is_up:
            served.send_bytes(503, b"", "text/plain")
        elif path == "/v1/models":
            served.send_json({"data": [{"id": "tiny"}]})
        elif path == "/v1/completions":
            served.begin("text/event-stream")
            for part in (b'data: {"choi', b'ces": [{"text": "a"}]}\n\n', b"data: [DONE]\n\n"):
                time.sleep(0.05)
                served.piece(part)
        elif path in ("/sleep", "/wake_up") and self.dev_mode:
            self.is_asleep = path == "/sleep"
            served.send_bytes(200, b"", "text/plain")
        elif path == "/is_sleeping" and self.dev_mode:
            served.send_json({"is_sleeping": self.is_asleep})
        else:
            served.send_bytes(200 if path == "/health" else 404, b"", "text/plain")


def probed(api: FakeApi, config: str, server: Server, **more: Any) -> Start:
    begin(api, "a")
    api.proxied["default", "a", 8000] = server

    def cluster() -> None:
        when_watched(api)
        log(api, "a", LOG)
        api.append_log("a", UP)
        server.is_up = True
        time.sleep(0.5)
        api.set_condition("a", "Ready")

    in_background(cluster)
    (start,) = measure(config, **more)
    return start


def test_the_first_token_is_the_end_when_it_is_asked_for(api: FakeApi, config: str) -> None:
    start = probed(api, config, Server(), probe_first_token=True)
    assert start.reached
    assert start.end == "first token"
    token = next(phase for phase in start.phases if phase.name == "first_token")
    assert token.duration_s >= 0.1  # two pieces
    assert start.facts["proxy_health_s"] > 0
    assert any("proxy, which adds its own time" in note for note in start.notes)
    assert any(phase.name == "ready" and not phase.critical for phase in start.phases)
    assert parts_ns(start) == start.end_ns - start.origin_ns


def test_a_proxy_that_is_forbidden_is_a_note_and_ready_the_end(api: FakeApi, config: str) -> None:
    api.deny("get", "pods/proxy")
    start = probed(api, config, Server(), probe_first_token=True)
    assert start.reached
    assert start.end == "ready"
    assert any("could not be probed" in note and "pods/proxy" in note for note in start.notes)


def test_sleep_and_wake_up_are_measured(api: FakeApi, config: str) -> None:
    start = probed(api, config, Server(), sleep_wake=2)
    assert {"sleep_1_s", "wake_1_s", "sleep_2_s", "wake_2_s"} <= set(start.facts)


def test_a_server_without_sleep_says_what_it_needs(api: FakeApi, config: str) -> None:
    start = probed(api, config, Server(dev_mode=False), sleep_wake=1)
    assert any("VLLM_SERVER_DEV_MODE=1" in note for note in start.notes)


# ---- causing starts ----


class Controller:
    """Makes and deletes the pods of the deployment "d", as its replicas and its template say."""

    def __init__(self, api: FakeApi, replicas: int) -> None:
        self.api, self.made = api, 0
        self.deployment, self.owner = api.add_deployment("d", LABELS, replicas)
        self.names: list[str] = []
        self.revision = 1
        self.fails = False
        api.on_request = self.react
        for _ in range(replicas):
            self.make()

    def make(self) -> None:
        self.made += 1
        name = f"d-{self.made}"
        self.names.append(name)
        begin(self.api, name, owner=self.owner)
        if self.fails:
            self.api.crash_container(name)
        else:
            with contextlib.suppress(KeyError):  # it may be deleted before
                become_ready(self.api, name)

    def react(self, seen: Any) -> None:
        if seen.method == "PATCH":
            in_background(lambda: self.reconcile("template" in json.dumps(seen.body)))

    def reconcile(self, is_restart: bool) -> None:
        old = list(self.names) if is_restart else []
        if is_restart:
            self.revision += 1
            self.owner = self.api.add_replica_set(
                self.api.find("deployments", "d"), f"d-{self.revision}", self.revision
            )
            self.names = []
        wanted = self.api.find("deployments", "d")["spec"]["replicas"]
        while len(self.names) < wanted:
            self.make()
        while len(self.names) > wanted:
            self.api.delete_pod(self.names.pop())
        for name in old:
            self.api.delete_pod(name)
        self.settle(wanted)

    def settle(self, wanted: int) -> None:
        deployment = self.api.find("deployments", "d")
        counts = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted}
        deployment["status"] = {**counts, "observedGeneration": deployment["metadata"].get("generation", 1)}
        self.api.put("deployments", deployment)


def replicas(api: FakeApi) -> int:
    return int(api.find("deployments", "d")["spec"]["replicas"])


def test_scaling_from_nothing_is_measured_and_put_back(api: FakeApi, config: str) -> None:
    Controller(api, 1)
    found = measure(config, label=None, deployment="d", scale=2, repeat=2)
    assert [start.name for start in found] == ["d-2", "d-3", "d-4", "d-5"]
    assert all(start.reached for start in found)
    assert replicas(api) == 1


def test_a_restart_measures_the_new_pods_only(api: FakeApi, config: str) -> None:
    Controller(api, 2)
    found = measure(config, label=None, deployment="d", restart=True)
    assert sorted(start.name for start in found) == ["d-3", "d-4"]
    assert replicas(api) == 2


def test_replicas_are_put_back_after_a_failure_and_no_further_start_is_made(
    api: FakeApi, config: str
) -> None:
    controller = Controller(api, 1)
    controller.fails = True
    found = measure(config, label=None, deployment="d", scale=2, repeat=3)
    assert len(found) == 2
    assert not any(start.reached for start in found)
    assert replicas(api) == 1


def test_replicas_are_put_back_after_an_interrupt_and_what_came_is_kept(api: FakeApi, config: str) -> None:
    Controller(api, 1)

    def interrupt(starts: Sequence[Start]) -> None:
        if any(start.name == "d-2" for start in starts):
            raise KeyboardInterrupt

    found = measure(config, label=None, deployment="d", scale=2, repeat=2, progress=interrupt)
    assert found.interrupted
    assert "d-2" in {start.name for start in found}
    assert replicas(api) == 1


def test_a_deployment_that_is_not_there_is_a_clear_error(api: FakeApi, config: str) -> None:
    with pytest.raises(kube.NotFoundError, match="not there"):
        measure(config, label=None, deployment="nope", scale=1)


def test_pods_with_the_same_labels_of_another_owner_are_left_alone(api: FakeApi, config: str) -> None:
    Controller(api, 1)
    begin(api, "stranger")
    become_ready(api, "stranger")
    found = measure(config, label=None, deployment="d", watch=False)
    assert [start.name for start in found] == ["d-1"]


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
