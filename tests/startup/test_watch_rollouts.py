"""Starts that are caused: a deployment is scaled from nothing, or its rollout restarted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fake_api import FakeApi
from watched_pods import (
    LABELS,
    become_ready,
    begin,
    in_background,
    measure,
)

from vllmperf import kube
from vllmperf.starts.result import Start


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
