"""Set-ups of a sweep in a cluster: a Deployment is changed, and put back whatever happens (against a fake API server)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi

from vllmperf.errors import SettingError
from vllmperf.sweeps.setups import SetupError, end_leftover, read_setup, read_setups, wait_up
from vllmperf.sweeps.setups.kubernetes import BEFORE, Kubernetes, with_arguments
from vllmperf.sweeps.setups.pods import base_url


@pytest.fixture
def asked(api: FakeApi, tmp_path: Path) -> dict[str, Any]:
    """A set-up of the Deployment "vllm", which has a container with arguments."""
    api.add_deployment("vllm", {"app": "vllm"}, replicas=1)
    deployment = api.find("deployments", "vllm")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["args"] = ["--model", "M", "--max-num-seqs=16"]
    container["env"] = [{"name": "A", "value": "1"}]
    api.put("deployments", deployment)
    return {"name": "s", "kubernetes": "deployment/vllm", "kubeconfig": str(api.kubeconfig(tmp_path))}


def container_of(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.find("deployments", "vllm")["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_deployment_gets_the_arguments_variables_image_and_replicas_and_afterwards_what_it_had(
    api, asked, tmp_path
):
    before = api.find("deployments", "vllm")["spec"]
    changes = {
        "args": "--max-num-seqs 64 --enforce-eager",
        "env": {"B": 2},
        "image": "vllm:new",
        "replicas": 3,
    }
    server = read_setup({**asked, **changes}).start(tmp_path)
    during = container_of(api)
    assert during["args"] == ["--model", "M", "--max-num-seqs", "64", "--enforce-eager"]
    assert during["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert during["image"] == "vllm:new"
    assert api.find("deployments", "vllm")["spec"]["replicas"] == 3
    server.stop()
    after = api.find("deployments", "vllm")
    assert after["spec"] == before
    assert BEFORE not in (after["metadata"].get("annotations") or {})
    server.stop()
    assert api.find("deployments", "vllm")["spec"] == before


def test_what_a_killed_sweep_changed_is_put_back_by_its_facts(api, asked, tmp_path):
    before = api.find("deployments", "vllm")["spec"]
    server = read_setup({**asked, "args": ["--max-num-seqs=64"]}).start(tmp_path)
    assert api.find("deployments", "vllm")["spec"] != before
    end_leftover(json.loads(json.dumps(server.facts())))
    assert api.find("deployments", "vllm")["spec"] == before


def test_a_set_up_that_finds_the_change_of_another_one_starts_from_what_was_there_before_it(
    api, asked, tmp_path
):
    before = api.find("deployments", "vllm")["spec"]
    read_setup({**asked, "args": ["--max-num-seqs=64"]}).start(tmp_path)  # and was killed
    second = read_setup({**asked, "args": ["--enforce-eager"]}).start(tmp_path)
    assert container_of(api)["args"] == ["--model", "M", "--max-num-seqs=16", "--enforce-eager"]
    second.stop()
    assert api.find("deployments", "vllm")["spec"] == before


def test_a_server_can_be_asked_when_its_rollout_is_done_and_by_the_address_of_its_pod(api, asked, tmp_path):
    server = read_setup({**asked, "args": ["--enforce-eager"]}).start(tmp_path)
    assert server.unready() == "deployment vllm: 0 of 1 replicas are available"
    deployment = api.find("deployments", "vllm")
    replica_set = api.add_replica_set(deployment, "vllm-2", 2)
    api.add_pod("vllm-2-a", labels={"app": "vllm"}, owner=replica_set)
    api.set_status("vllm-2-a", podIP="10.0.0.7")
    deployment = api.find("deployments", "vllm")
    deployment["status"] = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        **dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 1),
    }
    api.put("deployments", deployment)
    wait_up(server, 30)
    assert server.base_url == "http://10.0.0.7:8000"
    assert list(server.metrics_roots) == ["http://10.0.0.7:8000"]


def test_a_pod_that_cannot_start_ends_the_set_up_with_its_reason(api, asked, tmp_path):
    server = read_setup({**asked, "image": "vllm:typo"}).start(tmp_path)
    replica_set = api.add_replica_set(api.find("deployments", "vllm"), "vllm-2", 2)
    api.add_pod("vllm-2-a", labels={"app": "vllm"}, owner=replica_set)
    waiting = {
        "name": "vllm",
        "image": "vllm:typo",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}},
    }
    api.set_status("vllm-2-a", containerStatuses=[waiting])
    with pytest.raises(
        SetupError, match=r"pod vllm-2-a: container vllm: ErrImagePull of vllm:typo: no such image"
    ):
        wait_up(server, 30)


def test_a_deployment_that_is_not_there_is_named(api, asked, tmp_path):
    with pytest.raises(Exception, match="nope"):
        read_setup({**asked, "kubernetes": "nope", "replicas": 1}).start(tmp_path)


def test_a_server_that_a_shell_starts_is_refused_because_no_argument_can_be_changed(api, asked, tmp_path):
    deployment = api.find("deployments", "vllm")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    del container["args"]
    container["command"] = ["/bin/sh", "-c", "exec vllm serve M"]
    api.put("deployments", deployment)
    before = api.find("deployments", "vllm")
    with pytest.raises(SetupError, match="by a line for a shell"):
        read_setup({**asked, "args": ["--enforce-eager"]}).start(tmp_path)
    assert api.find("deployments", "vllm") == before


@pytest.mark.parametrize(
    ("given", "more", "found"),
    [
        (["serve", "M"], ["--a", "1"], ["serve", "M", "--a", "1"]),
        (["serve", "M", "--a", "0", "-b"], ["--a=1"], ["serve", "M", "-b", "--a=1"]),
        (["--lora", "x", "y", "--c"], ["--lora", "z"], ["--c", "--lora", "z"]),
        (["--max_num_seqs", "1"], ["--max-num-seqs", "2"], ["--max-num-seqs", "2"]),
    ],
)
def test_an_argument_takes_the_place_of_the_same_flag(given, more, found):
    assert with_arguments(given, more) == found


def test_axes_of_a_deployment_are_its_replicas_its_image_and_names_in_braces(asked):
    setups = read_setups(
        [{**asked, "args": "--max-num-seqs {seqs}", "axes": {"replicas": [1, 2], "seqs": [8]}}]
    )
    found = [setup.how for setup in setups]
    assert all(isinstance(how, Kubernetes) for how in found)
    assert [(how.replicas, how.args) for how in found if isinstance(how, Kubernetes)] == [
        (1, ("--max-num-seqs", "8")),
        (2, ("--max-num-seqs", "8")),
    ]


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ({"kubernetes": "vllm", "args": "serve --x"}, "{args} must begin with a flag"),
        ({"kubernetes": "vllm", "replicas": 0}, "{replicas} must be at least 1"),
        ({"helm": "chart"}, "{release} is missing"),
    ],
)
def test_a_bad_set_up_of_a_cluster_is_refused_before_anything_happens(setup, words):
    with pytest.raises(SettingError) as error:
        read_setup(setup)
    assert words.replace("{", "").replace("}", "") in str(error.value).replace("{", "").replace("}", "")


def test_several_pods_without_an_address_in_front_of_them_are_refused():
    pods = [{"status": {"podIP": ip}} for ip in ("10.0.0.1", "10.0.0.2")]
    with pytest.raises(SetupError, match="there are 2 pods: give base_url"):
        base_url(None, pods, 8000)
    assert base_url("http://router:80", pods, 8000) == "http://router:80"
    assert base_url("http://{pod_ip}:9", pods[:1], 8000) == "http://10.0.0.1:9"


def test_values_of_a_chart_with_a_dot_in_their_names_can_be_axes():
    setups = read_setups(
        [{"helm": "c", "release": "r", "chart_values": {"a": {"b": 1}}, "axes": {"a.c": [2, 3]}, "name": "h"}]
    )
    assert [setup.how.to_dict()["chart_values"] for setup in setups] == [
        {"a": {"b": 1, "c": 2}},
        {"a": {"b": 1, "c": 3}},
    ]
    again = [read_setup(setup.to_dict()) for setup in setups]
    assert [setup.how for setup in again] == [setup.how for setup in setups]
