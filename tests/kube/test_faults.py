"""What a call does when the API server does not do its part."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from fake_api import FakeApi

from vllmperf import kube
from vllmperf.errors import TargetError
from vllmperf.kube import transport

PODS = "GET /api/v1/namespaces/default/pods"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_WAIT_S", 0.01)


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 503}, {"status": 504}, {"drop": True}, {"cut_after": 20}]
)
def test_a_fault_that_passes_is_not_seen(fault: dict[str, int], api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.fail(PODS, times=3, **fault)
    assert [pod["metadata"]["name"] for pod in cluster.list_pods("default")] == ["a"]
    assert len(api.requests) == 4


def test_a_server_that_keeps_failing_is_given_up_with_its_own_words(
    api: FakeApi, cluster: kube.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.fail(PODS, times=1000, status=500, message="etcdserver: leader changed")
    with pytest.raises(kube.ApiError, match="failed to list pods in namespace 'default': 500 etcdserver"):
        cluster.transport.call(transport.Request("GET", "/api/v1/namespaces/default/pods"), patience_s=3)
    assert len(api.requests) > 2


def test_429_waits_as_long_as_the_server_asks(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(PODS, status=429, headers={"Retry-After": "1"})
    began = time.monotonic()
    cluster.list_pods("default")
    assert time.monotonic() - began >= 1
    assert len(api.requests) == 2


def test_429_with_a_wait_beyond_our_patience_fails_at_once(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(PODS, status=429, headers={"Retry-After": "3600"}, message="slow down")
    with pytest.raises(
        kube.TooManyRequestsError, match="too busy to list pods in namespace 'default': slow down"
    ):
        cluster.list_pods("default")


def test_403_names_the_missing_right_and_who_can_tell_more(api: FakeApi, cluster: kube.Cluster) -> None:
    api.deny("list", "events")
    with pytest.raises(kube.ForbiddenError) as caught:
        cluster.events("team-a")
    text = str(caught.value)
    assert "not allowed to list events in namespace 'team-a'" in text
    assert f'User "{api.user}"' in text
    assert "`vllmperf kube check -n team-a`" in text
    assert len(api.requests) == 1


def test_404_says_what_is_not_there(cluster: kube.Cluster) -> None:
    with pytest.raises(kube.NotFoundError, match='not there: pods "absent" not found'):
        cluster.get("/api/v1/namespaces/default/pods/absent")


def test_409_says_to_try_again(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail("PATCH", status=409, message="the object has been modified")
    with pytest.raises(kube.ConflictError, match="try again"):
        kube.workloads.scale(cluster, "default", "d", 1)


def test_a_refused_connection_names_the_server_and_the_context(tmp_path: Path) -> None:
    with FakeApi() as api:
        path = api.kubeconfig(tmp_path)
    with kube.connect(str(path)) as cluster, pytest.raises(kube.UnreachableError) as caught:
        cluster.transport.call(transport.Request("GET", "/version"), patience_s=0.1)
    assert str(caught.value) == f"cannot reach the API server {api.url} (context 'fake'): Connection refused"


def test_an_unknown_host_is_unreachable(api: FakeApi, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path, cluster={"server": "http://no-such-host.invalid"})
    with (
        kube.connect(str(path)) as cluster,
        pytest.raises(kube.UnreachableError, match=r"no-such-host\.invalid"),
    ):
        cluster.transport.call(transport.Request("GET", "/version"), patience_s=0.1)


def test_a_server_that_is_no_api_server_is_said_not_to_be(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(PODS, status=200, body=b"<html>welcome</html>")
    with pytest.raises(kube.ApiError, match="does not answer as an API server: '<html>welcome"):
        cluster.list_pods("default")


def test_an_error_page_that_is_no_status_object_is_quoted(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(PODS, status=418, body=b"a teapot")
    with pytest.raises(kube.ApiError, match="refused to list pods in namespace 'default': 418 a teapot"):
        cluster.list_pods("default")


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(PODS, stall_after=10)
    request = transport.Request("GET", "/api/v1/namespaces/default/pods", read_limit_s=0.3)
    assert cluster.transport.call(request)["items"] == []
    assert len(api.requests) == 2


def test_a_peer_that_speaks_no_http_is_unreachable(api: FakeApi, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"220 mail.test ESMTP\r\n")
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        path = api.kubeconfig(tmp_path, cluster={"server": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        with kube.connect(str(path)) as cluster, pytest.raises(kube.UnreachableError, match="cannot reach"):
            cluster.transport.call(transport.Request("GET", "/version"), patience_s=0)
        thread.join()


def test_waiting_for_a_server_ends_when_stopped(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(PODS, times=1000, status=503, headers={"Retry-After": "60"})
    stop = kube.Stop()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(kube.ApiError):
        cluster.transport.call(
            transport.Request("GET", "/api/v1/namespaces/default/pods"), stop, patience_s=600
        )
    assert time.monotonic() - began < 55


def test_a_proxy_of_the_kubeconfig_is_used(api: FakeApi, tmp_path: Path) -> None:
    with FakeApi() as proxy:
        path = api.kubeconfig(tmp_path, cluster={"server": "http://api.invalid:80", "proxy-url": proxy.url})
        with kube.connect(str(path)) as cluster, pytest.raises(TargetError):
            cluster.get("/nothing")  # the proxy sees the whole URL, which the fake server has no page for
        assert [request.headers["Host"] for request in proxy.requests] == ["api.invalid:80"]


def test_the_kubernetes_package_is_not_imported_before_the_first_request() -> None:
    import subprocess
    import sys

    program = "import sys, vllmperf.kube, vllmperf.cli.kube; sys.exit('kubernetes' in sys.modules or 'urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_nothing_else_imports_the_kubernetes_package() -> None:
    import re

    import vllmperf

    folder = Path(vllmperf.__file__).parent
    importers = {
        path.relative_to(folder).parts[0]
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(import|from) kubernetes\b", path.read_text(), re.MULTILINE)
    }
    assert importers == {"kube"}
