"""Times, events, Deployments, rights, and HTTP to a pod."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi
from fake_http import Served
from hypothesis import given
from hypothesis import strategies as st

from vllmperf import kube
from vllmperf.kube import access, rights, workloads
from vllmperf.kube.events import Pulled, parse_pulled
from vllmperf.kube.rights import Right

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

# Times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("0", 0.0),
        ("950ms", 0.95),
        ("1m2.5s", 62.5),
        ("1h0m3s", 3603.0),
        ("2h", 7200.0),
        ("12.000000345s", 12.000000345),
        ("3µs", 3e-6),
        ("3μs", 3e-6),
        ("7ns", 7e-9),
        ("-1.5s", -1.5),
        ("", None),
        ("5", None),
        ("s", None),
        ("1d", None),
        ("1m 2s", None),
    ],
)
def test_durations_of_go_are_understood(text: str, seconds: float | None) -> None:
    assert kube.parse_duration(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-15))


@given(st.integers(0, 4_000_000_000))
def test_a_stamp_of_whole_seconds_is_read_as_it_was_written(second: int) -> None:
    assert kube.parse_stamp(kube.format_stamp(second * 10**9 + 999)) == second * 10**9


@pytest.mark.parametrize(
    "text", [None, "", "yesterday", "2026-11-24", "2026-11-24T12:00:00", "2026-02-30T12:00:00Z"]
)
def test_what_is_no_stamp_gives_none(text: str | None) -> None:
    assert kube.parse_stamp(text) is None


# Events


@pytest.mark.parametrize(
    ("message", "pulled"),
    [
        (
            'Successfully pulled image "vllm/vllm-openai:v0.11.0" in 1m2.345s (3m0.1s including waiting). '
            "Image size: 11811160064 bytes.",
            Pulled(62.345, 180.1, 11811160064, False),
        ),
        ('Successfully pulled image "a:1" in 2.5s (2.5s including waiting)', Pulled(2.5, 2.5, None, False)),
        ('Successfully pulled image "a:1" in 950.123456ms', Pulled(0.950123456, None, None, False)),
        ('Successfully pulled image "a:1"', Pulled(None, None, None, False)),
        ('Successfully pulled image "odd in 5s" in 2s', Pulled(2.0, None, None, False)),
        ('Container image "a:1" already present on machine', Pulled(None, None, None, True)),
        (
            'Container image "a:1" already present on machine and can be accessed by the pod',
            Pulled(None, None, None, True),
        ),
        ('Pulling image "a:1"', None),
        ("", None),
    ],
)
def test_the_message_of_a_pull_is_read_in_every_wording(message: str, pulled: Pulled | None) -> None:
    assert parse_pulled(message) == pulled


def test_events_come_in_the_order_of_their_times_whichever_field_and_precision_has_them(
    api: FakeApi, cluster: kube.Cluster
) -> None:
    pod = api.add_pod("a")
    api.add_event(pod, "Started", first=NOON + timedelta(seconds=9))
    api.add_event(pod, "BackOff", first=NOON, last=NOON + timedelta(seconds=60), count=7)
    api.add_event(pod, "Scheduled", event_time="2026-11-24T12:00:00.250000Z", component="scheduler")
    api.add_event(pod, "Pulled", first=NOON)
    api.add_event(pod, "Pulling", first=NOON + timedelta(seconds=1))
    api.add_event(api.add_pod("other"), "Pulling")
    found = cluster.events("default", uid=pod["metadata"]["uid"])
    assert [event["reason"] for event in found] == ["Scheduled", "Pulled", "Pulling", "Started", "BackOff"]
    assert kube.event_ns(found[0]) == int(NOON.timestamp()) * 10**9 + 250_000_000


def test_an_event_without_any_time_has_none() -> None:
    assert kube.event_ns({"metadata": {}, "eventTime": None}) is None


def test_events_are_read_in_pages(api: FakeApi, cluster: kube.Cluster) -> None:
    pod = api.add_pod("a")
    for n in range(7):
        api.add_event(pod, f"R{n}", first=NOON + timedelta(seconds=n))
    api.page = 3
    assert [event["reason"] for event in cluster.events("default", name="a", kind="Pod")] == [
        f"R{n}" for n in range(7)
    ]


# Deployments


def test_pods_of_a_deployment_are_those_of_its_replica_sets(api: FakeApi, cluster: kube.Cluster) -> None:
    made, old = api.add_deployment("d", {"app": "x"}, replicas=2)
    new = api.add_replica_set(made, "d-2", 2)
    api.add_pod("d-1-a", labels={"app": "x"}, owner=old)
    api.add_pod("d-2-a", labels={"app": "x"}, owner=new)
    api.add_pod("stranger", labels={"app": "x"})
    found = workloads.get_deployment(cluster, "default", "d")

    def names(**how: bool) -> list[str]:
        return [pod["metadata"]["name"] for pod in workloads.deployment_pods(cluster, found, **how)]

    assert names() == ["d-1-a", "d-2-a"]
    assert names(current_only=True) == ["d-2-a"]


def test_a_selector_with_expressions_is_written_as_one_string() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "env", "operator": "NotIn", "values": ["dev"]},
        {"key": "gpu", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    item = {"spec": {"selector": {"matchLabels": {"app": "x"}, "matchExpressions": expressions}}}
    assert workloads.selector_of(item) == "app=x,tier in (a,b),env notin (dev),gpu,!old"


def test_scaling_changes_only_the_number_of_replicas(api: FakeApi, cluster: kube.Cluster) -> None:
    before, _ = api.add_deployment("d", {"app": "x"}, replicas=0)
    workloads.scale(cluster, "default", "d", 3)
    after = workloads.get_deployment(cluster, "default", "d")
    assert after["spec"] == {**before["spec"], "replicas": 3}
    assert api.requests[0].path.endswith("/deployments/d/scale")


def test_restarting_marks_the_template_as_kubectl_does(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_deployment("d", {"app": "x"})
    workloads.restart(cluster, "default", "d", NOON)
    template = workloads.get_deployment(cluster, "default", "d")["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "kubectl.kubernetes.io/restartedAt": "2026-11-24T12:00:00Z"
    }
    assert template["metadata"]["labels"] == {"app": "x"}


@pytest.mark.parametrize(
    ("change", "out"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"availableReplicas": None}, False),
    ],
)
def test_a_deployment_is_rolled_out_when_all_replicas_are_new_and_available(
    change: dict[str, Any], out: bool
) -> None:
    status = {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2, **change}
    item = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    assert workloads.rolled_out(item) is out


def test_only_the_pods_that_were_listed_are_deleted(api: FakeApi, cluster: kube.Cluster) -> None:
    for name in ("a", "b", "c"):
        api.add_pod(name, labels={"app": "x"})
    listed = cluster.list_pods("default", "app=x")
    api.delete_pod("b")
    api.add_pod("d", labels={"app": "x"})
    assert list(workloads.delete_pods(cluster, listed)) == ["a", "c"]
    assert [pod["metadata"]["name"] for pod in cluster.list_pods("default")] == ["d"]
    asked = [request.body["preconditions"]["uid"] for request in api.seen("^DELETE")]
    assert asked == [pod["metadata"]["uid"] for pod in listed]


# Rights


@pytest.mark.parametrize(
    ("method", "path", "watching", "right"),
    [
        ("GET", "/api/v1/namespaces/n/pods", False, Right("list", "pods")),
        ("GET", "/api/v1/namespaces/n/pods", True, Right("watch", "pods")),
        ("GET", "/api/v1/namespaces/n/pods/a/log", False, Right("get", "pods/log")),
        (
            "POST",
            "/api/v1/namespaces/n/pods/a:8000/proxy/v1/completions",
            False,
            Right("create", "pods/proxy"),
        ),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/n/deployments/d/scale",
            False,
            Right("patch", "deployments/scale", "apps"),
        ),
        ("DELETE", "/api/v1/namespaces/n/pods/a", False, Right("delete", "pods")),
    ],
)
def test_the_right_that_a_request_needs_is_known(
    method: str, path: str, watching: bool, right: Right
) -> None:
    assert rights.right_of(method, path, watching) == (right, "n")


def test_a_path_that_is_no_resource_needs_no_right() -> None:
    assert rights.right_of("GET", "/version") is None


def test_every_request_of_the_package_is_covered_by_the_table(api: FakeApi, cluster: kube.Cluster) -> None:
    """Does everything once, and holds the rights that this took against the table."""
    _, replica_set = api.add_deployment("d", {"app": "x"})
    pod = api.add_pod("a", labels={"app": "x"}, owner=replica_set)
    api.proxied["default", "a", 8000] = lambda served: served.send_json({})
    cluster.get("/api/v1/namespaces/default/pods/a")
    list(cluster.watch_pods("default", stop=kube.Stop(0.3)))
    list(cluster.logs("default", "a"))
    cluster.events("default", name="a")
    workloads.deployment_pods(cluster, workloads.get_deployment(cluster, "default", "d"))
    workloads.scale(cluster, "default", "d", 1)
    workloads.restart(cluster, "default", "d")
    cluster.pod_request("default", "a", 8000, "/health")
    cluster.pod_request("default", "a", 8000, "/sleep", method="POST")
    list(workloads.delete_pods(cluster, [pod]))
    used = {rights.right_of(r.method, r.path, "watch" in r.query) for r in api.requests}
    assert used == {(right, "default") for right in rights.needed()}


def test_what_is_denied_is_found_by_the_check(api: FakeApi, cluster: kube.Cluster) -> None:
    api.deny("get", "pods/log")
    api.deny("patch", "deployments/scale")
    answers = access.check(cluster, "team-a")
    missing = {Right("get", "pods/log"), Right("patch", "deployments/scale", "apps")}
    assert {right for right, yes in answers.items() if not yes} == missing
    assert {r.body["spec"]["resourceAttributes"]["namespace"] for r in api.requests} == {"team-a"}


def test_the_role_has_the_missing_rights_and_is_bound_to_the_account_we_are() -> None:
    missing = [Right("watch", "pods"), Right("get", "pods"), Right("patch", "deployments/scale", "apps")]
    text = rights.rbac_yaml(missing, "team-a", "system:serviceaccount:tools:runner")
    role, binding = _documents(text)
    assert role["kind"] == "Role"
    assert role["metadata"] == {"name": "vllmperf", "namespace": "team-a"}
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "watch"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    ]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "vllmperf"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "runner", "namespace": "tools"}]


def test_odd_user_names_do_not_break_the_yaml() -> None:
    name = 'oidc:"jane" <jane@example.com>: #1'
    _, binding = _documents(rights.rbac_yaml([Right("get", "pods")], "n", name))
    assert binding["subjects"][0]["name"] == name


def test_without_a_known_user_the_role_alone_is_printed_with_how_to_bind_it() -> None:
    text = rights.rbac_yaml([Right("get", "pods")], "n", None)
    assert len(_documents(text)) == 1
    assert "create rolebinding vllmperf" in text


def test_an_api_server_that_does_not_say_who_we_are_is_no_error(api: FakeApi, cluster: kube.Cluster) -> None:
    assert access.user_name(cluster) == api.user
    api.fail("selfsubjectreviews", status=404)
    assert access.user_name(cluster) is None


def _documents(text: str) -> list[dict[str, Any]]:
    import yaml

    return list(yaml.safe_load_all(text))


# HTTP to a pod


def test_a_pod_is_asked_through_the_api_server(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")

    def serve(served: Served) -> None:
        served.send_json(
            {"path": served.where, "query": served.query, "body": served.body, "verb": served.command}
        )

    api.proxied["default", "a", 8000] = serve
    answer = cluster.pod_request("default", "a", 8000, "/sleep?level=1", method="POST", body={"x": 1})
    assert (answer.status, answer.refused) == (200, None)
    assert json.loads(answer.body) == {
        "path": "/sleep",
        "query": {"level": "1"},
        "body": {"x": 1},
        "verb": "POST",
    }


def test_a_status_of_the_pod_itself_is_a_result(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.proxied["default", "a", 8000] = lambda served: served.send_json({"detail": "loading"}, 503)
    answer = cluster.pod_request("default", "a", 8000, "/health")
    assert (answer.status, answer.refused) == (503, None)
    assert len(api.requests) == 1


def test_a_pod_that_does_not_listen_yet_is_told_from_one_that_answers_503(
    api: FakeApi, cluster: kube.Cluster
) -> None:
    api.add_pod("a")
    answer = cluster.pod_request("default", "a", 8000, "/health")
    assert answer.status == 503
    assert answer.refused is not None
    assert "connection refused" in answer.refused


def test_a_missing_right_to_the_proxy_is_named(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.deny("create", "pods/proxy")
    with pytest.raises(kube.ForbiddenError, match="not allowed to create pods/proxy"):
        cluster.pod_request("default", "a", 8000, "/sleep", method="POST")


def test_a_403_of_the_pod_itself_is_a_result(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.proxied["default", "a", 8000] = lambda served: served.send_json({"error": "no key"}, 403)
    assert cluster.pod_request("default", "a", 8000, "/v1/models").status == 403


def test_a_streamed_answer_comes_piece_by_piece(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    go_on = threading.Event()

    def serve(served: Served) -> None:
        served.begin("text/event-stream")
        served.piece(b"data: first\n\n")
        go_on.wait(60)
        served.piece(b"data: [DONE]\n\n")

    api.proxied["default", "a", 8000] = serve
    with cluster.pod_stream("default", "a", 8000, "/v1/completions", body={"stream": True}) as stream:
        pieces = stream.pieces()
        assert next(pieces) == b"data: first\n\n"
        go_on.set()
        assert list(pieces) == [b"data: [DONE]\n\n"]
        assert stream.status == 200


def test_a_streamed_answer_that_breaks_off_is_said_to(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")

    def serve(served: Served) -> None:
        served.begin("text/event-stream")
        served.piece(b"data: first\n\n")
        served.break_off()

    api.proxied["default", "a", 8000] = serve
    with cluster.pod_stream("default", "a", 8000, "/v1/completions") as stream:
        pieces = stream.pieces()
        assert next(pieces) == b"data: first\n\n"
        with pytest.raises(kube.UnreachableError, match="broke off"):
            next(pieces)


def test_stopping_ends_a_streamed_answer(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")

    def serve(served: Served) -> None:
        served.begin("text/event-stream")
        served.stall()

    api.proxied["default", "a", 8000] = serve
    stop = kube.Stop()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    with cluster.pod_stream("default", "a", 8000, "/v1/completions", stop=stop) as stream:
        assert list(stream.pieces()) == []
    assert time.monotonic() - began < 50


def test_the_documentation_lists_the_rights_of_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text()
    for need in rights.NEEDS:
        by_resource: dict[str, list[str]] = {}
        for right in need.rights:
            by_resource.setdefault(str(right).partition(" ")[2], []).append(right.verb)
        cell = "; ".join(f"{', '.join(verbs)} {resource}" for resource, verbs in by_resource.items())
        assert f"| {need.feature} | {cell} |" in page
