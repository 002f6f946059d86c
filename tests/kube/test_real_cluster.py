"""The client against a real Kubernetes: kubectl and the pods' own programs are the oracle. Skipped where there is none."""

from __future__ import annotations

import re
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from real import CHECKOUT, RealCluster, deployment, pod

from vllmperf import kube
from vllmperf.cli import main
from vllmperf.kube import rights, watch, workloads

LIMIT_S = 90

COUNTER = """
import sys, time
for n in range(%d):
    print("line", n // 3, file=sys.stderr if n %% 2 else sys.stdout)
    time.sleep(%f)
"""
ODDITIES = r"""
import sys
out = sys.stdout.buffer
out.write(b"\xff\xfe raw \x00 bytes\n\n" + b"x" * 100_000 + b"\n 10%\r 20%\r done\nno end of line")
"""
FLOOD = """
import time
for n in range(120_000):
    print(n, "x" * 100)
for n in range(120_000, 120_180):
    print(n, "slow")
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def cluster(real_cluster: RealCluster) -> Iterator[kube.Cluster]:
    with kube.connect(str(real_cluster.kubeconfig)) as connected:
        yield connected


@pytest.fixture(scope="module")
def pods(real_cluster: RealCluster) -> RealCluster:
    """The cluster with pods of every kind, started together to save time."""
    real_cluster.kubectl("delete", "pods,deployments", "--all", "--wait", "--grace-period=1")
    real_cluster.apply(
        pod("odd", ODDITIES, {"app": "kinds"}, restart="Never"),
        pod("crashes", "import sys; print('no GPU'); sys.exit(3)", {"app": "kinds"}),
        pod("restarts", "import os, time; print('run'); time.sleep(3); os._exit(1)", {"app": "kinds"}),
        pod("absent", image="localhost/absent:1", labels={"app": "bad"}),
        pod("greedy", resources={"limits": {"nvidia.com/gpu": 1}}, labels={"app": "bad"}),
        deployment("web", 2, "import time; print('up'); time.sleep(3600)"),
    )
    return real_cluster


def until(get: Callable[[], Any], what: str) -> Any:
    """The first true value, within the limit."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        value = get()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"not within {LIMIT_S} s: {what}")


def status_of(cluster: kube.Cluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        cluster.get(f"{kube.pods_path('default')}/{name}")["status"].get("containerStatuses") or [{}]
    )[0]
    return found


def running(cluster: kube.Cluster, name: str) -> bool:
    return "running" in status_of(cluster, name).get("state", {})


def ended(cluster: kube.Cluster, name: str) -> bool:
    return "terminated" in status_of(cluster, name).get("state", {})


def deletes(cluster: kube.Cluster, name: str) -> None:
    list(workloads.delete_pods(cluster, [cluster.get(f"{kube.pods_path('default')}/{name}")]))


def test_what_is_listed_is_what_kubectl_lists(pods: RealCluster, cluster: kube.Cluster) -> None:
    names = pods.kubectl("get", "pods", "-l", "app in (kinds,bad)", "-o", "name").split()
    ours = cluster.list_pods("default", "app in (kinds,bad)")
    assert [f"pod/{one['metadata']['name']}" for one in ours] == names
    assert len(names) == 5


def test_following_ends_with_the_run_and_the_next_run_is_another_log(
    pods: RealCluster, cluster: kube.Cluster
) -> None:
    until(lambda: running(cluster, "restarts"), "restarts runs")
    count = status_of(cluster, "restarts")["restartCount"]
    log = cluster.logs("default", "restarts", follow=True, stop=kube.Stop(LIMIT_S))
    assert [line.text for line in log] == [b"run"]
    until(lambda: status_of(cluster, "restarts")["restartCount"] > count, "restarts was restarted")


def test_bytes_of_a_log_come_as_they_were_written(pods: RealCluster, cluster: kube.Cluster) -> None:
    until(lambda: ended(cluster, "odd"), "odd ends")
    lines = list(cluster.logs("default", "odd"))
    expected = [b"\xff\xfe raw \x00 bytes", b"", b"x" * 100_000, b" 10%\r 20%\r done", b"no end of line"]
    assert [line.text for line in lines] == expected
    assert all(line.stamp_ns and abs(line.stamp_ns - time.time_ns()) < 3600 * 10**9 for line in lines)


def test_the_log_of_a_crash_and_of_the_run_before_can_be_read(
    pods: RealCluster, cluster: kube.Cluster
) -> None:
    until(lambda: status_of(cluster, "crashes").get("restartCount"), "crashes was restarted")
    log = cluster.logs("default", "crashes", follow=True, stop=kube.Stop(LIMIT_S))
    assert [line.text for line in log] == [b"no GPU"]
    try:
        before = [line.text for line in cluster.logs("default", "crashes", previous=True)]
    except (
        kube.LogsGoneError,
        kube.BadRequestError,
    ):  # the node keeps one dead run, and that may be the last one
        before = [b"no GPU"]
    assert before == [b"no GPU"]


def test_events_tell_a_pull_a_schedule_and_a_failure_in_order(
    pods: RealCluster, cluster: kube.Cluster
) -> None:
    until(lambda: ended(cluster, "odd"), "odd ends")
    found = cluster.events(
        "default", uid=cluster.get("/api/v1/namespaces/default/pods/odd")["metadata"]["uid"]
    )
    reasons = [event["reason"] for event in found]
    assert reasons[0] == "Scheduled"
    assert {"Pulled", "Created", "Started"} <= set(reasons)
    pulled = kube.parse_pulled(next(event["message"] for event in found if event["reason"] == "Pulled"))
    assert pulled is not None
    assert pulled.already_present

    def reasons_of(name: str) -> set[str]:
        return {event["reason"] for event in cluster.events("default", name=name, kind="Pod")}

    until(lambda: "FailedScheduling" in reasons_of("greedy"), "greedy cannot be scheduled")
    until(lambda: {"Failed", "BackOff"} <= reasons_of("absent"), "the image cannot be pulled")


def test_a_deployment_is_scaled_and_restarted(pods: RealCluster, cluster: kube.Cluster) -> None:
    def settled(n: int) -> list[kube.Object] | None:
        one = workloads.get_deployment(cluster, "default", "web")
        found = workloads.deployment_pods(cluster, one, current_only=True)
        return found if workloads.rolled_out(one) and len(found) == n else None

    first = until(lambda: settled(2), "two replicas")
    workloads.scale(cluster, "default", "web", 1)
    until(lambda: settled(1), "one replica")
    workloads.restart(cluster, "default", "web")
    after = until(lambda: settled(1), "one new replica")
    assert {one["metadata"]["name"] for one in after}.isdisjoint(one["metadata"]["name"] for one in first)
    assert "kubectl.kubernetes.io/restartedAt" in pods.kubectl("get", "deployment", "web", "-o", "yaml")


def test_a_pod_with_a_loopback_address_is_refused_by_the_proxy_with_its_reason(
    pods: RealCluster, cluster: kube.Cluster
) -> None:
    name = until(lambda: cluster.list_pods("default", "app=web"), "web is there")[0]["metadata"]["name"]
    until(lambda: running(cluster, name), "web runs")
    with pytest.raises(kube.BadRequestError, match="address not allowed"):
        cluster.pod_request("default", name, 8000, "/health")


def test_logs_and_watches_go_on_across_a_restart_of_the_api_server(
    real_cluster: RealCluster, cluster: kube.Cluster
) -> None:
    real_cluster.apply(pod("counter", COUNTER % (300, 0.05) + "time.sleep(3600)"))
    stop = kube.Stop(LIMIT_S)
    events: list[tuple[str, str]] = []

    def look() -> None:
        for kind, item in cluster.watch_pods("default", "app=counter", stop=stop):
            events.append((kind, item["metadata"]["resourceVersion"]))
            if kind == "DELETED":
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    lines = []
    outage = threading.Thread(target=real_cluster.restart_apiserver, args=(2,))
    for line in cluster.logs("default", "counter", follow=True, stop=stop):
        lines.append(line)
        if len(lines) == 50:
            outage.start()
        if len(lines) == 300:
            break
    outage.join()
    deletes(cluster, "counter")
    watcher.join(LIMIT_S)
    assert sorted(int(line.text.split()[1]) for line in lines) == sorted(n // 3 for n in range(300))
    assert events[0][0] == "ADDED"
    assert events[-1][0] == "DELETED"
    assert len(set(events)) == len(events)


def test_a_log_is_followed_across_its_rotation(real_cluster: RealCluster, cluster: kube.Cluster) -> None:
    real_cluster.apply(pod("flood", FLOOD, restart="Never"))
    log = cluster.logs("default", "flood", follow=True, stop=kube.Stop(LIMIT_S))
    numbers = [int(line.text.split()[0]) for line in log]
    assert numbers == list(range(120_180))
    left = list(cluster.logs("default", "flood"))[1:]  # the first may be a piece of a line
    rest = [int(line.text.split()[0]) for line in left]
    assert rest[0] > 0  # it was rotated: only the end is still there
    assert rest == list(range(rest[0], 120_180))
    deletes(cluster, "flood")


def test_a_version_that_is_no_longer_kept_leads_to_a_new_list(
    pods: RealCluster, cluster: kube.Cluster
) -> None:
    seen = watch.Watch(cluster.transport, kube.pods_path("default"), "app=kinds", stop=kube.Stop(LIMIT_S))
    seen._version = "1"
    names = set()
    for _, item in seen:
        names.add(item["metadata"]["name"])
        if len(names) == 3:
            break
    assert names == {"odd", "crashes", "restarts"}


def test_the_printed_rbac_gives_exactly_what_was_missing(
    real_cluster: RealCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    real_cluster.kubectl("delete", "role,rolebinding", "vllmperf", "--ignore-not-found")
    check = ["kube", "check", "-cfg", str(real_cluster.kubeconfig), "-ctx", "nobody", "-n", "default"]
    assert main(check) == 1
    printed = capsys.readouterr().out
    assert printed.count("  NO ") == sum(len(need.rights) for need in rights.NEEDS)
    real_cluster.kubectl("apply", "-f", "-", text=printed[printed.index("apiVersion") :])
    until(lambda: main(check) == 0, "the rights hold")
    assert "nothing is missing" in capsys.readouterr().out


def test_in_a_pod_the_service_account_is_used_and_its_rbac_is_printed(
    real_cluster: RealCluster, cluster: kube.Cluster
) -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the image of the pods has Python 3.11, and gets our packages")
    inside = {"checkout": str(CHECKOUT), "packages": sysconfig.get_path("purelib")}
    check = pod("inside", restart="Never")
    container = check["spec"]["containers"][0]
    container["command"] = ["python3", "-m", "vllmperf", "kube", "check", "--for", "startup"]
    container["env"] = [{"name": "PYTHONPATH", "value": ":".join(f"/{name}" for name in inside)}]
    container["volumeMounts"] = [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in inside]
    check["spec"]["volumes"] = [{"name": name, "hostPath": {"path": path}} for name, path in inside.items()]

    def run_it() -> str:
        real_cluster.apply(check)
        lines = [
            line.text.decode()
            for line in cluster.logs("default", "inside", follow=True, stop=kube.Stop(LIMIT_S))
        ]
        real_cluster.kubectl("delete", "pod", "inside", "--wait")
        return "\n".join(lines)

    real_cluster.kubectl("delete", "role,rolebinding", "vllmperf", "--ignore-not-found")
    printed = run_it()
    assert "(context in-cluster), namespace default, as system:serviceaccount:default:default" in printed
    real_cluster.kubectl("apply", "-f", "-", text=printed[printed.index("apiVersion") :])
    assert "nothing is missing" in run_it()


def test_a_missing_right_is_named_by_the_call_that_needs_it(real_cluster: RealCluster) -> None:
    with kube.connect(str(real_cluster.kubeconfig), "nobody") as nobody:
        with pytest.raises(
            kube.ForbiddenError, match="not allowed to list events in namespace 'kube-system'"
        ):
            nobody.events("kube-system")
        with pytest.raises(kube.ForbiddenError, match="not allowed to watch pods in namespace 'kube-system'"):
            nobody.transport.call(watch.Request("GET", kube.pods_path("kube-system"), {"watch": "1"}))


def test_clean_deletes_the_pods_of_a_label(
    pods: RealCluster, cluster: kube.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = ["kube", "clean", "-cfg", str(pods.kubeconfig), "-n", "default", "-l", "app=bad"]
    assert main([*clean, "--dry-run"]) == 0
    assert len(cluster.list_pods("default", "app=bad")) == 2
    assert main([*clean, "--yes"]) == 0
    assert re.findall(r'pod "(\w+)" deleted', capsys.readouterr().out) == ["absent", "greedy"]
    until(lambda: not cluster.list_pods("default", "app=bad"), "they are gone")
