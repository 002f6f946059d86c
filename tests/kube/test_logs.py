"""Logs: every line once, in order, byte for byte, whatever happens to the connection or the container."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_api import FakeApi, Run
from fake_objects import restart
from hypothesis import given
from hypothesis import strategies as st

from vllmperf import kube
from vllmperf.errors import UsageError
from vllmperf.kube import logs
from vllmperf.kube.logs import LogLine
from vllmperf.kube.recent import Recent

T = 1_764_000_000 * 10**9
LOG = "GET .*/log"


pytestmark = pytest.mark.usefixtures("hurried_logs")


class Following:
    """A followed log read in a thread."""

    def __init__(self, cluster: kube.Cluster, pod: str = "a", **how: Any):
        self.stop = kube.Stop(120)
        self.lines: list[LogLine] = []
        self.error: Exception | None = None
        self.log = cluster.logs("default", pod, follow=True, stop=self.stop, **how)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self.log:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        except Exception as error:
            self.error = error

    def until(self, n: int) -> list[bytes]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) >= n, 60), (self.texts(), self.error)
            return self.texts()

    def texts(self) -> list[bytes]:
        return [line.text for line in self.lines]

    def kinds(self) -> list[str]:
        return [note.kind for note in self.log.notes]

    def ended(self) -> list[bytes]:
        """The lines, once the log has come to its end by itself."""
        self._thread.join(60)
        assert not self._thread.is_alive(), self.texts()
        assert self.error is None
        return self.texts()

    def end(self) -> list[bytes]:
        self.stop.set()
        return self.ended()


Follow = Callable[..., Following]


@pytest.fixture
def follow(api: FakeApi, cluster: kube.Cluster) -> Iterator[Follow]:
    """Follows the log of a pod "a", which is there."""
    started: list[Following] = []

    def start(**how: Any) -> Following:
        started.append(Following(cluster, **how))
        return started[-1]

    api.add_pod("a")
    yield start
    for each in started:
        each.stop.set()
        each._thread.join(60)


def read(cluster: kube.Cluster, **how: Any) -> list[LogLine]:
    return list(cluster.logs("default", "a", **how))


def opened(api: FakeApi, n: int) -> None:
    """Waits until the log was asked for n times."""
    until = time.monotonic() + 60
    while len(api.seen(LOG)) < n:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_lines_are_given_as_they_are_written(api: FakeApi, follow: Follow) -> None:
    log = follow()
    opened(api, 1)
    for n in range(3):
        api.append_log("a", str(n))
        log.until(n + 1)
    assert log.end() == [b"0", b"1", b"2"]


def test_a_log_is_followed_from_the_container_that_is_yet_to_start(
    api: FakeApi, cluster: kube.Cluster
) -> None:
    api.add_pod("a", running=False)
    log = Following(cluster)
    time.sleep(0.1)
    api.start_container("a")
    api.append_log("a", "hello")
    assert log.until(1) == [b"hello"]
    log.end()


@pytest.mark.parametrize("way", ["cut", "end_streams"])
def test_equal_lines_within_one_second_survive_a_reconnection_exactly(
    way: str, api: FakeApi, follow: Follow
) -> None:
    log = follow()
    stamps = [T, T, T, T + 1, T + 10**9 - 1]
    for n, stamp in enumerate(stamps):
        api.append_log("a", "same", stamp_ns=stamp)
        log.until(n + 1)
        getattr(api, way)()
        opened(api, n + 2)
    api.append_log("a", "same", stamp_ns=T)
    api.append_log("a", "last", stamp_ns=T + 10**9)
    assert log.until(7) == [b"same"] * 6 + [b"last"]
    log.end()
    assert [line.stamp_ns for line in log.lines] == [*stamps, T, T + 10**9]
    assert log.kinds() == []


def test_a_line_whose_stamp_runs_backwards_is_not_lost_by_a_reconnection(
    api: FakeApi, follow: Follow
) -> None:
    log = follow()
    api.append_log("a", "from stdout", stamp_ns=T + 10)
    log.until(1)
    hold = api.fail(LOG, times=1000, status=503)
    api.cut()
    api.append_log("a", "from stderr, stamped before", stamp_ns=T - 5)
    hold.times = 0
    assert log.until(2)[1] == b"from stderr, stamped before"


def test_a_reconnection_asks_from_a_whole_second(api: FakeApi, follow: Follow) -> None:
    log = follow()
    api.append_log("a", "x", stamp_ns=T + 5_700_000_000)
    log.until(1)
    api.cut()
    opened(api, 2)
    assert api.seen(LOG)[1].query["sinceTime"] == kube.format_stamp(T + 4 * 10**9)


def test_a_followed_log_that_falls_silent_is_asked_for_again(api: FakeApi, follow: Follow) -> None:
    api.append_log("a", "before", stamp_ns=T)
    api.fail(LOG, stall_after=48)
    log = follow(silence_s=0.3)
    log.until(1)
    api.append_log("a", "after", stamp_ns=T + 1)
    assert log.until(2) == [b"before", b"after"]


def test_the_end_of_the_container_ends_the_log_with_its_last_lines(api: FakeApi, follow: Follow) -> None:
    log = follow()
    opened(api, 1)
    api.append_log("a", "bye\nbye")
    api.end_container("a")
    assert log.ended() == [b"bye", b"bye"]


def test_a_restart_ends_the_log_of_that_run(api: FakeApi, follow: Follow) -> None:
    log = follow()
    opened(api, 1)
    api.append_log("a", "first run")
    api.restart_container("a")
    api.append_log("a", "second run")
    assert log.ended() == [b"first run"]


def test_a_restart_while_the_connection_is_down_does_not_mix_or_lose_runs(
    api: FakeApi, follow: Follow
) -> None:
    log = follow()
    api.append_log("a", "seen", stamp_ns=T)
    log.until(1)
    hold = api.fail(LOG, times=1000, status=503)
    api.cut()
    api.append_log("a", "last words", stamp_ns=T + 1)
    api.restart_container("a")
    api.append_log("a", "second run", stamp_ns=T + 2)
    hold.times = 0
    assert log.ended() == [b"seen", b"last words"]
    assert log.kinds() == []


def test_a_restart_that_the_api_tells_later_than_the_node_does_not_mix_runs(
    api: FakeApi, follow: Follow
) -> None:
    log = follow()
    api.append_log("a", "seen", stamp_ns=T)
    log.until(1)
    hold = api.fail(LOG, times=1000, status=503)
    api.cut()
    opened(api, 2)
    api.append_log("a", "last words", stamp_ns=T + 1)
    with api.changed:  # the node has begun the next run, and the pod's status still names the first
        whole = api.log_of("a")
        whole.run.ended = True
        whole.previous, whole.run = whole.run, Run([(T + 2, b"second run")])
    hold.times = 0
    opened(api, len(api.seen(LOG)) + 1)
    api.change_pod("a", lambda pod: restart(pod["status"]["containerStatuses"][0], 1, "Error"))
    assert log.ended() == [b"seen", b"last words"]
    assert log.kinds() == []


def test_two_restarts_while_the_connection_is_down_are_said_to_have_lost_the_end(
    api: FakeApi, follow: Follow
) -> None:
    log = follow()
    api.append_log("a", "seen", stamp_ns=T)
    log.until(1)
    hold = api.fail(LOG, times=1000, status=503)
    api.cut()
    api.restart_container("a")
    api.append_log("a", "second run", stamp_ns=T + 2)
    api.restart_container("a")
    hold.times = 0
    assert log.ended() == [b"seen"]
    assert log.kinds() == ["gone"]


def test_a_container_in_a_crash_loop_gives_the_log_of_its_last_run(api: FakeApi, follow: Follow) -> None:
    api.append_log("a", "no GPU")
    api.crash_container("a")
    assert follow().ended() == [b"no GPU"]


def test_a_deleted_pod_ends_the_log(api: FakeApi, follow: Follow) -> None:
    log = follow()
    api.append_log("a", "hello")
    log.until(1)
    api.delete_pod("a")
    assert log.ended() == [b"hello"]
    assert log.kinds() == ["gone"]


def test_rotation_while_connected_loses_nothing(api: FakeApi, follow: Follow) -> None:
    log = follow()
    for n in range(6):
        api.append_log("a", str(n), stamp_ns=T + n)
        log.until(n + 1)
        if n % 2:
            api.rotate_log("a")
    assert log.end() == [b"%d" % n for n in range(6)]
    assert log.kinds() == []


def test_rotation_while_the_connection_is_down_is_noticed(api: FakeApi, follow: Follow) -> None:
    log = follow()
    api.append_log("a", "seen", stamp_ns=T)
    log.until(1)
    hold = api.fail(LOG, times=1000, status=503)
    api.cut()
    opened(api, 2)
    api.append_log("a", "never seen", stamp_ns=T + 1)
    api.rotate_log("a")
    api.append_log("a", "after", stamp_ns=T + 2)
    hold.times = 0
    assert log.until(2) == [b"seen", b"after"]
    assert [(note.kind, note.stamp_ns) for note in log.log.notes] == [("rotated", T)]


def test_a_first_line_long_after_the_start_hints_at_rotation(api: FakeApi, follow: Follow) -> None:
    api.append_log("a", "INFO serving", stamp_ns=time.time_ns() + 600 * 10**9)
    log = follow()
    log.until(1)
    assert log.kinds() == ["late"]


def test_a_node_without_watchers_left_is_asked_again(api: FakeApi, follow: Follow) -> None:
    api.append_log("a", "hello", stamp_ns=T)
    body = b"2025-11-24T16:00:00.000000000Z hello\nfailed to create fsnotify watcher: too many open files"
    api.fail(LOG, times=2, status=200, body=body)
    log = follow()
    opened(api, 3)
    api.append_log("a", "more", stamp_ns=T + 1)
    assert log.until(2) == [b"hello", b"more"]


def test_half_a_line_before_an_orderly_end_is_not_taken_for_a_line(api: FakeApi, follow: Follow) -> None:
    api.append_log("a", "hello", stamp_ns=T)
    api.fail(LOG, status=200, body=f"{kube.format_stamp(T)[:-1]}.000000000Z hel".encode())
    assert follow().until(1) == [b"hello"]


def test_stopping_ends_a_log_that_waits_for_data(api: FakeApi, follow: Follow) -> None:
    log = follow()
    opened(api, 1)
    began = time.monotonic()
    log.end()
    assert time.monotonic() - began < 45


def test_a_deadline_ends_a_log(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    assert list(cluster.logs("default", "a", follow=True, stop=kube.Stop(0.3))) == []


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_lose_and_double_no_line(seed: int, api: FakeApi, follow: Follow) -> None:
    rng = random.Random(seed)
    log = follow(silence_s=0.4)
    faults: list[Callable[[], object]] = [
        api.cut,
        api.end_streams,
        lambda: api.fail(LOG, cut_after=rng.randrange(200)),
        lambda: api.fail(LOG, stall_after=rng.randrange(200)),
        lambda: api.fail(LOG, drop=True),
        lambda: api.fail(LOG, status=rng.choice([429, 500, 503])),
        lambda: api.fail("GET .*/pods/a$", status=503),
    ]
    written, stamp = [], T
    for _ in range(120):
        stamp += rng.choice([0, 0, 1, 10**6, 10**9])
        text = rng.choice([b"same", b"%d" % rng.randrange(9), b""])
        written.append(LogLine(stamp, text))
        api.append_log("a", text, stamp_ns=stamp)
        if rng.random() < 0.15:
            rng.choice(faults)()
        time.sleep(0.004)
    api.faults.clear()
    api.end_container("a")
    log.ended()
    assert log.lines == written
    assert log.kinds() == []


def test_a_deadline_ends_a_log_that_never_pauses(api: FakeApi, cluster: kube.Cluster) -> None:
    api.add_pod("a")
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.01):
            api.append_log("a", "more")

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    lines = list(cluster.logs("default", "a", follow=True, stop=kube.Stop(3)))
    over.set()
    writer.join()
    assert lines
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("follow_it", [False, True])
def test_an_unknown_container_is_refused_with_the_known_ones_listed(
    follow_it: bool, api: FakeApi, cluster: kube.Cluster
) -> None:
    api.add_pod("a", containers=("vllm", "proxy"), init_containers=("fetch",))
    with pytest.raises(UsageError, match="pod a has no container wllm; it has: vllm, proxy, fetch"):
        list(cluster.logs("default", "a", "wllm", follow=follow_it))


@pytest.mark.parametrize("status", [400, 404])
def test_a_log_that_is_not_there_at_the_moment_of_the_start_is_asked_for_again(
    status: int, api: FakeApi, follow: Follow
) -> None:
    api.append_log("a", "hello")
    api.fail(LOG, times=3, status=status)
    assert follow().until(1) == [b"hello"]


def test_a_log_that_is_refused_for_good_is_an_error(
    api: FakeApi, cluster: kube.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "START_TRIES", 3)
    api.add_pod("a")
    api.fail(LOG, times=1000, status=400, message="the node has another opinion")
    with pytest.raises(kube.LogsGoneError, match="the node has another opinion"):
        list(cluster.logs("default", "a", follow=True))


# What decides on repeated lines


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=30), st.integers(0, 30))
def test_a_reading_that_begins_again_anywhere_repeats_and_misses_nothing(
    drawn: list[tuple[int, int]], cut: int
) -> None:
    stamps = sorted(T + n * 4 * 10**8 for n, _ in drawn)
    lines = [LogLine(stamp, b"%d" % text) for stamp, (_, text) in zip(stamps, drawn, strict=True)]
    recent, got = Recent(), lines[:cut]
    for line in got:
        recent.add(*line)
    begin = recent.resume_ns() or 0
    again = recent.again()
    for line in lines:
        if (line.stamp_ns or 0) >= begin and not again.repeated(*line):
            assert not again.missing(line.stamp_ns)
            got = [*got, line]
    assert got == lines
