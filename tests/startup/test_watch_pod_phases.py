"""Pod, events and log become one waterfall: every instant has its place, nothing is negative, missing is not 0."""

from __future__ import annotations

import random

import pytest
from pods import condition, event, ns, pod, running, terminated

from vllmperf.starts.live.pod_phases import PodSeen, Told, pod_start
from vllmperf.starts.result import Clock, Phase, Start, StartupLog

PULLED = 'Successfully pulled image "vllm/vllm-openai:v0.9" in 20.5s (25s including waiting). Image size: 9000 bytes.'
CONDITIONS = [
    condition("PodScheduled", 2),
    condition("PodReadyToStartContainers", 4),
    condition("Ready", 100),
]
EVENTS = [
    event("Pulling", 10, "Pulling image", "vllm"),
    event("Pulled", 35, PULLED, "vllm"),
    event("Started", 36, "Started container", "vllm"),
]
INIT = [{"name": "fetch", "image": "busybox"}]
INIT_STATUS = [{"name": "fetch", "restartCount": 0, "state": {"terminated": terminated(5, 9)}}]


def log(first: float, ready: float | None, *phases: Phase, **more: object) -> StartupLog:
    return StartupLog(
        first_log_ns=ns(first),
        last_log_ns=ns(ready or first),
        ready_ns=None if ready is None else ns(ready),
        reached_ready=ready is not None,
        clock=Clock("envelope", 1e-9, True, 2026, "envelope", "UTC"),
        phases=phases,
        **more,  # type: ignore[arg-type]
    )


def full(**seen: float) -> Start:
    a_pod = pod(conditions=CONDITIONS, statuses=[running("vllm", 36)], init=INIT, init_statuses=INIT_STATUS)
    load = Phase("weights_load", ns(50), ns(60), "log", 1e-9)
    found = PodSeen(**{name: ns(value) for name, value in seen.items()})
    return pod_start(a_pod, EVENTS, "vllm", log(42.25, 95.5, load), found)


def spans(start: Start) -> dict[str, tuple[float, float]]:
    zero = ns(0)
    return {
        phase.name: ((phase.start_ns - zero) / 1e9, (phase.end_ns - zero) / 1e9)
        for phase in start.phases
        if phase.start_ns is not None and phase.end_ns is not None and phase.name != "unattributed"
    }


def total_of_parts(start: Start) -> int:
    return sum(p.end_ns - p.start_ns for p in start.phases if p.critical and p.start_ns and p.end_ns)


def test_a_pod_is_followed_from_created_to_the_first_token() -> None:
    start = full(ready_ns=100.25, health_ns=95.75, first_token_ns=97)
    found = spans(start)
    assert start.origin == "created"
    assert start.end == "first token"
    assert start.total_s == 97
    assert found["scheduling"] == (0, 2)
    assert found["volumes"] == (2, 4)
    assert found["init_containers"] == (5, 9)
    assert found["image_pull"] == (10, 35)
    assert found["container_start"] == (35, 36)
    assert found["imports"] == (36, 42.25)
    assert found["weights_load"] == (50, 60)
    assert found["first_token"] == (95.75, 97)
    assert total_of_parts(start) == start.end_ns - start.origin_ns


def test_without_a_probe_it_ends_at_ready_as_the_watch_saw_it() -> None:
    start = full(ready_ns=100.25)
    assert start.end == "ready"
    assert start.total_s == 100.25
    assert spans(start)["ready"] == (95.5, 100.25)
    assert start.facts["ready_from"] == "watch"
    assert not start.notes


def test_the_pull_keeps_time_waiting_and_bytes_of_its_event() -> None:
    start = full(ready_ns=100.25)
    pull = next(p for p in start.phases if p.name == "image_pull")
    assert pull.reported_s == 20.5
    assert pull.resolution_s == 1.0
    assert start.facts["image_bytes"] == 9000
    assert start.facts["pull_with_waiting_s"] == 25


def test_an_image_that_was_there_took_no_time_and_a_lost_event_is_missing() -> None:
    there = event("Pulled", 5, 'Container image "vllm/vllm-openai:v0.9" already present on machine', "vllm")
    a_pod = pod(conditions=CONDITIONS, statuses=[running("vllm", 36)])
    present = pod_start(a_pod, [there], "vllm")
    lost = pod_start(a_pod, [], "vllm")
    assert next(p for p in present.phases if p.name == "image_pull").duration_s == 0
    assert next(p for p in lost.phases if p.name == "image_pull").duration_s is None


def test_whole_seconds_do_not_come_before_a_scheduling_that_is_finer() -> None:
    scheduled = event("Scheduled", 0)
    scheduled |= {"firstTimestamp": None, "lastTimestamp": None, "eventTime": "2026-03-04T12:00:00.400000Z"}
    there = event("Pulled", 0, 'Container image "x" already present on machine', "vllm")
    a_pod = pod(
        conditions=[condition("PodScheduled", 0), condition("Ready", 9)], statuses=[running("vllm", 0)]
    )
    start = pod_start(a_pod, [scheduled, there], "vllm", log(7, 8.5))
    found = spans(start)
    assert found["scheduling"] == (0, 0.4)
    assert found["volumes"] == found["image_pull"] == found["container_start"] == (0.4, 0.4)
    assert found["imports"] == (0.4, 7)
    names = [phase.name for phase in start.phases]
    assert names.index("scheduling") < names.index("image_pull")
    assert total_of_parts(start) == start.end_ns - start.origin_ns


def test_side_cars_and_init_containers_before_the_server_have_their_starts() -> None:
    statuses = [running("proxy", 8), running("vllm", 12), running("later", 20)]
    init_statuses = [{"name": "fetch", "restartCount": 0, "state": {"terminated": terminated(5, 7)}}]
    a_pod = pod(conditions=CONDITIONS[:2], statuses=statuses, init=INIT, init_statuses=init_statuses)
    start = pod_start(a_pod, [event("Pulling", 8, "", "vllm"), event("Pulled", 11, PULLED, "vllm")], "vllm")
    starts = {p.detail: (p.start_ns, p.end_ns) for p in start.phases if p.name == "container_start"}
    assert starts == {"fetch": (ns(4), ns(5)), "proxy": (ns(7), ns(8)), None: (ns(11), ns(12))}


def test_ready_without_a_watch_is_marked_as_the_conditions_time() -> None:
    start = full()
    assert start.total_s == 100
    assert start.facts["ready_from"] == "status"
    assert any("condition's time" in note for note in start.notes)


def test_ready_in_the_same_second_as_the_servers_own_line_does_not_come_before_it() -> None:
    a_pod = pod(conditions=[condition("Ready", 95)], statuses=[running("vllm", 36)])
    start = pod_start(a_pod, [], "vllm", log(42.25, 95.5))
    assert start.end_ns == ns(95.5)


def test_a_ready_that_changed_long_after_the_start_is_not_taken_for_it() -> None:
    a_pod = pod(conditions=[condition("Ready", 9000)], statuses=[running("vllm", 36)])
    start = pod_start(a_pod, [], "vllm", log(42.25, 95.5))
    assert start.total_s == 95.5
    assert any("a later change" in note for note in start.notes)


def test_a_watch_on_another_clock_gives_way_to_the_cluster() -> None:
    start = full(ready_ns=130)
    assert start.total_s == 100
    assert any("clocks differ" in note for note in start.notes)


def test_a_node_behind_the_control_plane_is_noted_and_nothing_is_negative() -> None:
    a_pod = pod(
        conditions=[condition("PodScheduled", 50), condition("Ready", 100)], statuses=[running("vllm", 36)]
    )
    start = pod_start(a_pod, EVENTS, "vllm", log(30, 95.5))
    assert any("the node's clock is" in note for note in start.notes)
    assert any("the clock of the log's stamps" in note for note in start.notes)
    assert all(p.duration_s >= 0 for p in start.phases if p.duration_s is not None)


def test_a_restarted_container_shows_the_time_of_its_earlier_attempts() -> None:
    crashed = terminated(36, 60, 1, "Error")
    a_pod = pod(conditions=CONDITIONS, statuses=[running("vllm", 70, 1, crashed)])
    start = pod_start(a_pod, EVENTS, "vllm", log(75, 95.5), PodSeen(ready_ns=ns(100.25)))
    assert start.restarts == 1
    assert spans(start)["earlier_attempts"] == (36, 70)
    assert spans(start)["imports"] == (70, 75)
    assert spans(start)["container_start"] == (35, 36)


def test_failing_probes_are_counted_by_kind() -> None:
    probes = [
        event("Unhealthy", 50, "Startup probe failed: dial tcp", "vllm", kind="Warning", count=7),
        event(
            "Unhealthy", 60, "Readiness probe failed: HTTP probe failed with statuscode: 503", "vllm", count=2
        ),
    ]
    start = pod_start(pod(statuses=[running("vllm", 36)]), probes, "vllm")
    assert start.facts["startup_probe_failures"] == 7
    assert start.facts["readiness_probe_failures"] == 2


def test_events_of_an_earlier_pod_of_the_same_name_are_not_its_own() -> None:
    old = event("Pulled", 1, PULLED, "vllm")
    old["involvedObject"]["uid"] = "uid-of-another"
    start = pod_start(pod(conditions=CONDITIONS, statuses=[running("vllm", 36)]), [old], "vllm")
    assert start.facts["pull_s"] is None


def test_a_pod_on_its_way_ends_now_and_has_not_reached_anything() -> None:
    a_pod = pod(conditions=CONDITIONS[:2])
    start = pod_start(a_pod, EVENTS[:1], "vllm", told=Told(now_ns=ns(20)))
    assert not start.reached
    assert start.failure is None
    assert spans(start)["image_pull"] == (10, 20)
    assert start.total_s == 20


def test_an_imports_phase_is_not_made_up_for_a_log_without_its_beginning() -> None:
    a_pod = pod(conditions=CONDITIONS, statuses=[running("vllm", 36)])
    start = pod_start(a_pod, EVENTS, "vllm", log(90, 95.5, cut_at_start=True))
    assert "imports" not in spans(start)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_times_parts_add_up_and_are_never_negative(seed: int) -> None:
    draw = random.Random(seed)
    second = lambda: draw.uniform(0, 100)  # noqa: E731
    conditions = [
        condition(kind, second()) for kind in ("PodScheduled", "PodReadyToStartContainers", "Ready")
    ]
    events = [event("Pulling", second(), "", "vllm"), event("Pulled", second(), PULLED, "vllm")]
    statuses = [running("vllm", second(), draw.randint(0, 2), terminated(second(), second(), 1))]
    status = [{"name": "fetch", "state": {"terminated": terminated(second(), second())}}]
    a_pod = pod(conditions=conditions, statuses=statuses, init=INIT, init_statuses=status)
    found = PodSeen(ready_ns=ns(second()), health_ns=ns(second()), first_token_ns=ns(second()))
    start = pod_start(a_pod, events, "vllm", log(second(), second()), found)
    assert all(p.duration_s >= 0 for p in start.phases if p.critical and p.duration_s is not None)
    assert total_of_parts(start) == max(0, start.end_ns - start.origin_ns)


def ended(code: int = 0, reason: str = "Completed") -> Start:
    """A pod that ran once, from 36 to 545 s, and whose log says that its server was up after 95.5 s."""
    status = {"name": "vllm", "ready": False, "restartCount": 0, "image": "x"}
    status["state"] = {"terminated": terminated(36, 545, code, reason)}
    conditions = [condition("PodScheduled", 2), condition("Ready", 545, status="False")]
    a_pod = pod(conditions=conditions, statuses=[status], restartPolicy="Never")
    return pod_start(a_pod, EVENTS, "vllm", log(42.25, 95.5), told=Told(now_ns=ns(9000)))


def test_a_server_that_was_up_and_ended_well_later_did_start() -> None:
    start = ended()
    assert start.reached
    assert start.failure is None
    assert start.total_s == 95.5
    assert start.facts["ready_from"] == "log"
    assert any(
        "has ended since, with exit code 0 (Completed), 450 s after its server was up" in n
        for n in start.notes
    )


@pytest.mark.parametrize("code", [1, 137])
def test_a_server_that_was_up_and_broke_later_is_not_told_to_have_ended_well(code: int) -> None:
    assert not ended(code, "Error").reached
