"""Logs that are there: read as a whole, with the stamps of the runtime."""

from __future__ import annotations

from typing import Any

import pytest
from fake_api import FakeApi

from vllmperf import kube
from vllmperf.errors import UsageError
from vllmperf.kube.logs import LogLine

T = 1_764_000_000 * 10**9
LOG = "GET .*/log"


pytestmark = pytest.mark.usefixtures("hurried_logs")


def read(cluster: kube.Cluster, **how: Any) -> list[LogLine]:
    return list(cluster.logs("default", "a", **how))


def test_lines_come_as_raw_bytes_with_the_stamps_of_the_runtime(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    lines = [b"INFO plain", b"", b"\xff\xfe not UTF-8 \x00", b" indented\rwith returns", "日本".encode()]
    for n, line in enumerate(lines):
        api.append_log("a", line, stamp_ns=T + n)
    assert read(cluster) == [LogLine(T + n, line) for n, line in enumerate(lines)]


def test_a_line_of_many_megabytes_is_one_line(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.append_log("a", b"x" * 20_000_000, stamp_ns=T)
    api.append_log("a", b"next", stamp_ns=T)
    assert [len(line.text) for line in read(cluster)] == [20_000_000, 4]


@pytest.mark.parametrize(
    ("given", "ns"),
    [
        (b"2025-11-24T17:20:00.000000001Z", 1),
        (b"2025-11-24T17:20:00.5Z", 500_000_000),
        (b"2025-11-24T17:20:00Z", 0),
        (b"2025-11-24T19:20:00.000000002+02:00", 2),
        (b"2025-11-24T11:50:00.000000003-05:30", 3),
    ],
)
def test_stamps_of_every_form_and_zone_are_understood(
    given: bytes, ns: int, api: FakeApi, cluster: kube.Cluster
) -> None:
    epoch = 1_764_004_800 * 10**9
    api.add_pod("a")
    api.fail(LOG, status=200, body=given + b" text\n")
    assert read(cluster) == [LogLine(epoch + ns, b"text")]


def test_a_line_without_a_stamp_is_kept_whole(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.fail(LOG, status=200, body=b"no stamp here\n2025-13-99T00:00:00Z nor here")
    assert read(cluster) == [LogLine(None, b"no stamp here"), LogLine(None, b"2025-13-99T00:00:00Z nor here")]


def test_a_log_cut_anywhere_is_read_on_from_there(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    for n in range(50):
        api.append_log("a", f"line {n}", stamp_ns=T + n * 10**8)
    for cut in (1, 30, 45, 700, 1800):
        api.fail(LOG, cut_after=cut)
        assert [line.text for line in read(cluster)] == [b"line %d" % n for n in range(50)]


def test_only_lines_since_a_stamp_are_given_to_the_nanosecond(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    for n in range(5):
        api.append_log("a", str(n), stamp_ns=T + n)
    assert [line.text for line in read(cluster, since_ns=T + 3)] == [b"3", b"4"]


def test_the_previous_run_can_be_read(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.append_log("a", "dying", stamp_ns=T)
    api.restart_container("a")
    api.append_log("a", "living", stamp_ns=T + 1)
    assert read(cluster, previous=True) == [LogLine(T, b"dying")]
    assert read(cluster) == [LogLine(T + 1, b"living")]


def test_a_previous_run_that_never_was_is_an_error(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    with pytest.raises(
        kube.BadRequestError, match='previous terminated container "vllm" in pod "a" not found'
    ):
        read(cluster, previous=True)


def test_a_lost_log_is_recognized_although_its_status_is_200(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.fail(LOG, status=200, body=b"unable to retrieve container logs for containerd://1234")
    with pytest.raises(kube.LogsGoneError, match="the node no longer has this log of a/vllm"):
        read(cluster, previous=True)


def test_the_same_words_in_a_log_are_just_a_line(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.append_log("a", "unable to retrieve container logs for containerd://1234", stamp_ns=T)
    assert len(read(cluster)) == 1


def test_of_several_containers_one_must_be_named(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a", containers=("proxy", "vllm"))
    api.append_log("a", "hello", "vllm", T)
    with pytest.raises(UsageError, match="several containers, name one of them: proxy, vllm"):
        read(cluster)
    assert read(cluster, container="vllm") == [LogLine(T, b"hello")]


def test_a_container_that_has_not_started_is_an_error_without_follow(
    api: FakeApi, cluster: kube.Cluster
) -> None:
    api.add_pod("a", running=False)
    with pytest.raises(kube.BadRequestError, match="waiting to start: ContainerCreating"):
        read(cluster)


def test_a_right_to_logs_that_is_missing_is_named(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    api.deny("get", "pods/log")
    with pytest.raises(kube.ForbiddenError, match="not allowed to get pods/log in namespace 'default'"):
        read(cluster)
