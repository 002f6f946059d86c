"""Which container is the server, and what is wrong with a pod that will not start."""

from __future__ import annotations

from typing import Any

import pytest
from pods import condition, event, ns, pod, running, terminated, waiting

from vllmperf.errors import UsageError
from vllmperf.starts.live import trouble
from vllmperf.starts.live.containers import choose
from vllmperf.starts.result import Failure, StartupLog

PROXY = {"name": "proxy", "image": "envoy:1"}
ROUTER = {"name": "router", "image": "llm-d-routing-sidecar", "args": ["--port=8000", "--vllm-port=8200"]}


@pytest.mark.parametrize(
    "server",
    [
        {"name": "a", "image": "vllm/vllm-openai:v0.9"},
        {"name": "a", "image": "company/llm", "command": ["vllm", "serve", "m"]},
        {"name": "a", "image": "company/llm", "command": ["/opt/bin/vllm"], "args": ["serve"]},
        {"name": "a", "image": "x", "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"]},
        {"name": "a", "image": "x", "command": ["sh", "-c", "export A=1; vllm serve m"]},
        {"name": "a", "image": "x", "ports": [{"containerPort": 8000}]},
    ],
)
def test_the_server_is_found_wherever_it_stands(server: dict[str, Any]) -> None:
    assert choose(pod(containers=[PROXY, server])) == "a"
    assert choose(pod(containers=[server, PROXY])) == "a"


def test_a_router_that_speaks_of_vllm_is_not_the_server() -> None:
    server = {"name": "model", "image": "x", "command": ["vllm", "serve", "m", "--port", "8200"]}
    assert choose(pod(containers=[ROUTER, server])) == "model"


def test_a_command_says_more_than_image_and_port_together() -> None:
    router = {"name": "router", "image": "vllm/router", "ports": [{"containerPort": 8000}]}
    server = {"name": "model", "image": "company/llm", "command": ["vllm", "serve", "m"]}
    assert choose(pod(containers=[router, server])) == "model"


def test_a_single_container_is_the_server_and_native_side_cars_do_not_count() -> None:
    sidecar = {"name": "vllm-proxy", "image": "vllm", "restartPolicy": "Always"}
    assert choose(pod(containers=[{"name": "main", "image": "x"}], init=[sidecar])) == "main"


def test_a_name_decides_and_a_wrong_one_lists_the_containers() -> None:
    both = pod(containers=[PROXY, {"name": "vllm", "image": "vllm"}])
    assert choose(both, "proxy") == "proxy"
    with pytest.raises(UsageError, match="no container 'nope'; it has proxy, vllm"):
        choose(both, "nope")


@pytest.mark.parametrize("image", ["x", "vllm"])
def test_an_unclear_choice_lists_the_containers(image: str) -> None:
    two = pod(containers=[{"name": "one", "image": image}, {"name": "two", "image": image}])
    with pytest.raises(UsageError, match=r"-c with one of one \(.*\), two \("):
        choose(two)


def failure(*statuses: Any, now: float = 100, events: Any = (), **more: Any) -> Failure | None:
    return trouble.find(pod(statuses=list(statuses), **more), events, "vllm", ns(now))


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_had_is_a_failure(reason: str) -> None:
    found = failure(waiting("vllm", reason, "no such host"))
    assert found is not None
    assert (found.phase, found.reason) == ("image_pull", reason)
    assert "no such host" in found.text


def test_an_image_of_an_init_container_or_side_car_is_one_too() -> None:
    assert failure(running("vllm", 1), waiting("proxy", "ErrImagePull")) is not None
    assert failure(init_statuses=[waiting("fetch", "ImagePullBackOff")]) is not None


def test_a_missing_secret_is_a_failure_of_the_container_start() -> None:
    found = failure(waiting("vllm", "CreateContainerConfigError", 'secret "hf" not found'))
    assert found is not None
    assert found.phase == "container_start"
    assert 'secret "hf" not found' in found.text


def test_a_crash_loop_names_exit_code_and_restarts() -> None:
    found = failure(waiting("vllm", "CrashLoopBackOff", restarts=2, last=terminated(1, 5, 3, "Error")))
    assert found is not None
    assert found.reason == "CrashLoopBackOff"
    assert "exit code 3 after 2 restarts" in found.text


def test_out_of_memory_is_named_in_a_crash_loop_and_at_once() -> None:
    killed = terminated(1, 5, 137, "OOMKilled")
    for status in (
        waiting("vllm", "CrashLoopBackOff", restarts=1, last=killed),
        {"name": "vllm", "state": {"terminated": killed}},
    ):
        found = failure(status)
        assert found is not None
        assert found.reason == "OOMKilled"


def test_a_first_crash_that_will_be_restarted_is_waited_for() -> None:
    assert failure({"name": "vllm", "state": {"terminated": terminated(1, 5, 1, "Error")}}) is None
    assert failure(waiting("vllm", "ContainerCreating")) is None
    assert failure(waiting("vllm", "PodInitializing")) is None


def test_an_end_without_a_restart_is_a_failure() -> None:
    ended = {"name": "vllm", "state": {"terminated": terminated(1, 5, 1, "Error")}}
    assert failure(ended, restartPolicy="Never") is not None


def test_an_unschedulable_pod_gets_its_grace() -> None:
    no = condition(
        "PodScheduled",
        10,
        "False",
        reason="Unschedulable",
        message="0/1 nodes: 1 Insufficient nvidia.com/gpu.",
    )
    assert failure(conditions=[no], now=12) is None
    found = failure(conditions=[no], now=60)
    assert found is not None
    assert (found.phase, found.reason) == ("scheduling", "Unschedulable")
    assert "nvidia.com/gpu" in found.text
    growing = event("TriggeredScaleUp", 20, "pod triggered scale-up")
    assert failure(conditions=[no], now=60, events=[growing]) is None


def test_the_logs_cause_is_joined_with_the_reason_of_kubernetes() -> None:
    said = StartupLog(failure=Failure("weights_load", 77, "ValueError: no kernel"))
    found = trouble.with_log(Failure(None, None, "container vllm: …", "CrashLoopBackOff"), said)
    assert found == Failure("weights_load", 77, "ValueError: no kernel", "CrashLoopBackOff")


def test_evidence_holds_telling_events_and_log_lines() -> None:
    events = [
        event("Created", 4, "Container created", "vllm"),
        event("Failed", 5, "Error: ErrImagePull", "vllm", kind="Warning", count=3),
        event("BackOff", 6, "Back-off pulling image", "vllm"),
    ]
    assert trouble.evidence(pod(), events, None, None, ["the last line"]) == (
        "event: Warning Failed (x3): Error: ErrImagePull",
        "event: Normal BackOff: Back-off pulling image",
        "log: the last line",
    )


def test_what_kubernetes_says_is_evidence_where_the_logs_cause_is_told() -> None:
    found = Failure(None, None, "container vllm: CrashLoopBackOff", "CrashLoopBackOff")
    told = Failure("weights_load", 7, "ValueError", "CrashLoopBackOff")
    assert trouble.evidence(pod(), [], found, told, []) == ("container vllm: CrashLoopBackOff",)
    assert trouble.evidence(pod(), [], found, found, []) == ()
