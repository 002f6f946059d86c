"""Lists in pages and watches: each change once, whatever happens to the connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi

from vllmperf import kube
from vllmperf.kube import lists, transport

WATCH = r"GET /api/v1/namespaces/default/pods\?watch"
LIST = r"GET /api/v1/namespaces/default/pods\?(?!watch)"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_WAIT_S", 0.01)


class Watching:
    """A watch read in a thread; events as (type, name, marks of the pod)."""

    def __init__(self, cluster: kube.Cluster, **how: Any):
        self.stop = kube.Stop(60)
        self.events: list[tuple[str, str, str]] = []
        self.error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(cluster, how))
        self._thread.start()

    def _read(self, cluster: kube.Cluster, how: dict[str, Any]) -> None:
        try:
            for kind, item in cluster.watch_pods("default", stop=self.stop, **how):
                with self._changed:
                    mark = (item["metadata"].get("labels") or {}).get("mark", "")
                    self.events.append((kind, item["metadata"]["name"], mark))
                    self._changed.notify_all()
        except Exception as error:
            self.error = error

    def until(self, n: int) -> list[tuple[str, str, str]]:
        """The events, once there are n."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= n, 20), (self.events, self.error)
            return list(self.events)

    def end(self) -> list[tuple[str, str, str]]:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.events


@pytest.fixture
def watching(cluster: kube.Cluster) -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start(**how: Any) -> Watching:
        started.append(Watching(cluster, **how))
        return started[-1]

    yield start
    for each in started:
        each.end()


def mark(api: FakeApi, name: str, text: str) -> None:
    api.change_pod(name, lambda pod: pod["metadata"].setdefault("labels", {}).update(mark=text))


def wait_for_watch(api: FakeApi, n: int = 1) -> None:
    until = time.monotonic() + 60
    while len(api.seen(WATCH)) < n:
        assert time.monotonic() < until
        time.sleep(0.005)


# Lists


def test_a_list_is_read_in_pages(api: FakeApi, cluster: kube.Cluster) -> None:
    names = [f"p{n:03}" for n in range(23)]
    for name in names:
        api.add_pod(name)
    api.page = 10
    assert [pod["metadata"]["name"] for pod in cluster.list_pods("default")] == names
    assert len(api.requests) == 3


def test_selectors_are_sent_with_each_page(api: FakeApi, cluster: kube.Cluster) -> None:
    for n in range(5):
        api.add_pod(f"a{n}", labels={"app": "a"})
        api.add_pod(f"b{n}", labels={"app": "b"})
    api.page = 2
    assert [pod["metadata"]["name"] for pod in cluster.list_pods("default", "app=a")] == [
        f"a{n}" for n in range(5)
    ]


def test_a_list_whose_pages_expire_begins_anew(api: FakeApi, cluster: kube.Cluster) -> None:
    for n in range(5):
        api.add_pod(f"p{n}")
    api.page, api.expire_continue = 2, 1
    assert [pod["metadata"]["name"] for pod in cluster.list_pods("default")] == [f"p{n}" for n in range(5)]


def test_a_list_whose_pages_always_expire_is_read_as_one(api: FakeApi, cluster: kube.Cluster) -> None:
    for n in range(5):
        api.add_pod(f"p{n}")
    api.expire_continue = 1000
    found, version = lists.list_all(cluster.transport, "/api/v1/namespaces/default/pods", page=2)
    assert len(found) == 5
    assert version == str(api.version)


# Watches


def test_a_watch_gives_what_is_there_and_then_each_change(
    api: FakeApi, watching: Callable[..., Watching]
) -> None:
    api.add_pod("a")
    seen = watching()
    wait_for_watch(api)
    api.add_pod("b")
    mark(api, "a", "1")
    api.delete_pod("b")
    assert seen.until(4) == [
        ("ADDED", "a", ""),
        ("ADDED", "b", ""),
        ("MODIFIED", "a", "1"),
        ("DELETED", "b", ""),
    ]


def test_a_watch_is_limited_by_selectors(api: FakeApi, watching: Callable[..., Watching]) -> None:
    seen = watching(label_selector="app=x")
    wait_for_watch(api)
    api.add_pod("other", labels={"app": "y"})
    api.add_pod("ours", labels={"app": "x"})
    assert seen.until(1) == [("ADDED", "ours", "")]


@pytest.mark.parametrize("way", ["cut", "end_streams"])
def test_a_watch_that_is_cut_or_ended_goes_on_from_where_it_was(
    way: str, api: FakeApi, watching: Callable[..., Watching]
) -> None:
    api.add_pod("a")
    seen = watching()
    for n in range(5):
        wait_for_watch(api, n + 1)
        getattr(api, way)()
        mark(api, "a", str(n))
        seen.until(n + 2)
    assert seen.end() == [("ADDED", "a", ""), *(("MODIFIED", "a", str(n)) for n in range(5))]
    assert len(api.seen(LIST)) == 1


def test_a_watch_that_the_server_ends_by_its_time_limit_goes_on(
    api: FakeApi, watching: Callable[..., Watching]
) -> None:
    api.watch_limit_s = 0.1
    seen = watching()
    wait_for_watch(api, 3)
    api.add_pod("a")
    assert seen.until(1) == [("ADDED", "a", "")]


@pytest.mark.parametrize("how", ["http", "event"])
def test_after_a_410_the_list_is_read_again_and_every_difference_given_once(
    how: str, api: FakeApi, watching: Callable[..., Watching]
) -> None:
    api.expire_as = how
    for name in ("stays", "changes", "goes"):
        api.add_pod(name)
    seen = watching()
    seen.until(3)
    wait_for_watch(api)
    hold = api.fail(WATCH, times=1000, status=503)
    api.end_streams()
    wait_for_watch(api, 2)
    api.delete_pod("goes")
    mark(api, "changes", "1")
    api.add_pod("comes")
    api.expire()
    hold.times = 0
    seen.until(6)
    api.add_pod("later")
    assert sorted(seen.until(7)[3:]) == [
        ("ADDED", "comes", ""),
        ("ADDED", "later", ""),
        ("DELETED", "goes", ""),
        ("MODIFIED", "changes", "1"),
    ]
    assert len(seen.end()) == 7


def test_bookmarks_move_the_version_so_that_a_quiet_watch_does_not_expire(
    api: FakeApi, watching: Callable[..., Watching]
) -> None:
    api.add_pod("a")
    seen = watching(label_selector="!other")
    wait_for_watch(api)
    api.bookmark_s = 0.05
    api.end_streams()
    wait_for_watch(api, 2)
    for n in range(3):
        api.add_pod(f"o{n}", labels={"other": "1"})
    time.sleep(0.3)
    api.oldest = api.version
    api.end_streams()
    wait_for_watch(api, 3)
    mark(api, "a", "1")
    seen.until(2)
    assert len(api.seen(LIST)) == 1


def test_a_watch_that_falls_silent_is_taken_up_again(api: FakeApi, watching: Callable[..., Watching]) -> None:
    api.fail(WATCH, stall_after=0)
    seen = watching(silence_s=0.3)
    wait_for_watch(api)
    api.add_pod("a")
    assert seen.until(1) == [("ADDED", "a", "")]


def test_a_watch_survives_an_api_server_that_is_away_for_a_while(
    api: FakeApi, watching: Callable[..., Watching]
) -> None:
    seen = watching()
    wait_for_watch(api)
    api.fail(WATCH, times=4, drop=True)
    api.cut()
    api.add_pod("a")
    assert seen.until(1) == [("ADDED", "a", "")]


def test_a_watch_gives_up_when_its_patience_is_over(api: FakeApi, cluster: kube.Cluster) -> None:
    api.fail(WATCH, times=10_000, status=500, message="broken for good")
    with pytest.raises(
        kube.ApiError, match="failed to watch pods in namespace 'default': 500 broken for good"
    ):
        list(cluster.watch_pods("default", stop=kube.Stop(60), patience_s=0.3))


def test_a_right_to_watch_that_is_missing_is_named(api: FakeApi, cluster: kube.Cluster) -> None:
    api.deny("watch", "pods")
    with pytest.raises(kube.ForbiddenError, match="not allowed to watch pods in namespace 'default'"):
        list(cluster.watch_pods("default", stop=kube.Stop(60)))


def test_stopping_ends_a_watch_that_waits_for_data(api: FakeApi, watching: Callable[..., Watching]) -> None:
    seen = watching()
    wait_for_watch(api)
    began = time.monotonic()
    seen.end()
    assert time.monotonic() - began < 45
    assert seen.error is None


def test_a_deadline_ends_a_watch(cluster: kube.Cluster) -> None:
    assert list(cluster.watch_pods("default", stop=kube.Stop(0.3))) == []


def test_a_pod_made_again_under_its_old_name_is_deleted_and_added(
    api: FakeApi, watching: Callable[..., Watching]
) -> None:
    api.add_pod("a")
    seen = watching()
    wait_for_watch(api)
    hold = api.fail(WATCH, times=1000, status=503)
    api.end_streams()
    wait_for_watch(api, 2)
    api.delete_pod("a")
    api.add_pod("a")
    api.expire()
    hold.times = 0
    assert seen.until(3) == [("ADDED", "a", ""), ("DELETED", "a", ""), ("ADDED", "a", "")]


def test_random_faults_lose_and_double_nothing(
    api: FakeApi, tmp_path: Path, watching: Callable[..., Watching]
) -> None:
    api.add_pod("a")
    seen = watching(silence_s=0.5)
    faults: list[Callable[[], object]] = [
        api.cut,
        api.end_streams,
        lambda: api.fail(WATCH, cut_after=700),
        lambda: api.fail(WATCH, stall_after=30),
        lambda: api.fail(WATCH, status=429, headers={"Retry-After": "0"}),
        lambda: api.fail(WATCH, drop=True),
    ]
    for n in range(60):
        mark(api, "a", str(n))
        if n % 3 == 0:
            faults[n // 3 % len(faults)]()
        time.sleep(0.01)
    until = time.monotonic() + 60
    while seen.events[-1][2] != "59":
        assert time.monotonic() < until, seen.events
        time.sleep(0.01)
    marks = [mark for _, _, mark in seen.end()]
    first = int(marks[0] or -1)  # the first listing may come after some changes
    assert marks[1:] == [str(n) for n in range(first + 1, 60)]
