"""Pods by the API: as they are now (`look`), or waited for until each is ready or has failed (`wait_for`)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vllmperf.errors import TargetError, VllmperfError
from vllmperf.starts.axis import Axis
from vllmperf.starts.live.interrupted import Interrupted
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.live.pod_watch import PodWatch
from vllmperf.starts.result import Failure, Start

if TYPE_CHECKING:
    from vllmperf.kube import Cluster, Stop

Json = Mapping[str, Any]
TICK_S = 0.1
UPDATE_S = 0.5
NEWCOMERS_S = 2.0
"""Without a number of pods to expect: how long after the last one is done another may still appear."""
READ_S = 120.0


def look(
    cluster: Cluster, asked: Measurement, label: str, is_mine: Callable[[Json], bool] = lambda _: True
) -> list[Start]:
    """What is known of the pods that are there, ready or not."""
    axis = Axis()
    pods = [pod for pod in cluster.list_pods(asked.namespace, label) if is_mine(pod) and not _is_going(pod)]
    if not pods:
        raise TargetError(
            f"no pods match {label!r} in namespace {asked.namespace}; --watch waits for some to appear"
        )
    group = _Group(cluster, asked, axis, follows=False)
    try:
        for pod in pods:
            group.take("ADDED", pod, axis.now_ns())
        deadline = time.monotonic() + READ_S
        while group.is_reading() and time.monotonic() < deadline:
            time.sleep(TICK_S / 5)
        group.tick(is_last=True)
    except KeyboardInterrupt:
        raise Interrupted(group.starts()) from None
    finally:
        group.close()
    return group.starts()


def wait_for(
    cluster: Cluster,
    asked: Measurement,
    label: str,
    is_mine: Callable[[Json], bool] = lambda _: True,
    expected: int | None = None,
    cause: Callable[[], None] = lambda: None,
) -> list[Start]:
    """The pods that are there and that appear, until all (or `expected` of them) are ready or have failed.

    `cause` is called when the watch has begun.
    """
    from vllmperf.kube import Stop

    axis, stop = Axis(), Stop()
    group = _Group(cluster, asked, axis, follows=True)
    present = cluster.list_pods(
        asked.namespace, label
    )  # a right that is missing is told before a start is caused
    changes = _Changes(cluster, asked.namespace, label, axis, stop)
    try:
        for pod in filter(is_mine, present):
            group.take("ADDED", pod, axis.now_ns())
        cause()
        _loop(group, changes, is_mine, expected)
    except TargetError as error:
        if not group.pods:
            raise
        group.give_up(
            f"its pod can be watched no longer: {error}", "unwatched"
        )  # what the others have shown is kept
    except KeyboardInterrupt:
        raise Interrupted(group.starts()) from None
    finally:
        stop.set()
        group.close()
    if not group.pods:
        raise TargetError(
            f"no pods that match {label!r} appeared in namespace {asked.namespace} within {asked.timeout:g} s"
        )
    return [*group.starts(), *_never_came(group, expected, asked)]


def _never_came(group: _Group, expected: int | None, asked: Measurement) -> list[Start]:
    """A start for the pods that were to come and did not."""
    missing = (expected or 0) - len(group.pods)
    if missing <= 0:
        return []
    text = f"{missing} of {expected} pods did not appear within {asked.timeout:g} s"
    failure = Failure("scheduling", None, text, "timeout")
    return [
        Start(
            "(no pod)", "created", "ready", None, None, (), reached=False, failure=failure, evidence=(text,)
        )
    ]


def _loop(group: _Group, changes: _Changes, is_mine: Callable[[Json], bool], expected: int | None) -> None:
    deadline = time.monotonic() + group.asked.timeout
    done_s: float | None = None
    while time.monotonic() < deadline:
        for kind, pod, seen_ns in changes.take(TICK_S):
            if is_mine(pod):
                group.take(kind, pod, seen_ns)
        group.tick()
        if not group.is_done():
            done_s = None
        elif expected is not None and len(group.pods) >= expected:
            return
        else:
            done_s = done_s or time.monotonic()
            if expected is None and time.monotonic() - done_s > NEWCOMERS_S:
                return
    group.give_up(f"not ready within {group.asked.timeout:g} s")


def _is_going(pod: Json) -> bool:
    """Whether it is being deleted: no start of it is to come."""
    return bool(pod["metadata"].get("deletionTimestamp"))


class _Changes:
    """Pod changes from a watch in a thread of its own, each with the instant at which it was seen."""

    def __init__(self, cluster: Cluster, namespace: str, label: str, axis: Axis, stop: Stop) -> None:
        self._queue: queue.Queue[tuple[str, Json, int] | VllmperfError] = queue.Queue()
        self._watch = cluster.watch_pods(namespace, label, stop=stop)
        self._axis = axis
        threading.Thread(target=self._read, name="vllmperf-pods", daemon=True).start()

    def _read(self) -> None:
        try:
            for kind, pod in self._watch:
                self._queue.put((kind, pod, self._axis.now_ns()))
        except VllmperfError as error:
            self._queue.put(error)

    def take(self, wait_s: float) -> list[tuple[str, Json, int]]:
        """What came, after at most wait_s. Raises what ended the watch."""
        found: list[tuple[str, Json, int]] = []
        try:
            one = self._queue.get(timeout=wait_s)
            while True:
                if isinstance(one, VllmperfError):
                    raise one
                found.append(one)
                one = self._queue.get_nowait()
        except queue.Empty:
            return found


class _Group:
    """The pods of one measurement."""

    def __init__(self, cluster: Cluster, asked: Measurement, axis: Axis, follows: bool) -> None:
        self.asked, self._cluster, self._axis, self._follows = asked, cluster, axis, follows
        self.pods: dict[str, PodWatch] = {}
        self._finished: dict[str, Start] = {}
        self._updated_s = 0.0

    def take(self, kind: str, pod: Json, seen_ns: int) -> None:
        uid = str(pod["metadata"].get("uid"))
        if uid not in self.pods:
            if kind == "DELETED" or _is_going(pod):
                return
            self.pods[uid] = PodWatch(self._cluster, self.asked, self._axis, pod, self._follows)
        if uid in self._finished:
            return
        if kind == "DELETED":
            self.pods[uid].deleted()
        else:
            self.pods[uid].update(pod, seen_ns)

    def tick(self, is_last: bool = False) -> None:
        now_ns = self._axis.now_ns()
        for uid, pod in self.pods.items():
            if uid in self._finished:
                continue
            pod.tick(now_ns)
            if is_last and pod.is_reading:
                pod.note(f"its log was not read to its end within {READ_S:g} s")
            if pod.is_done or is_last:
                pod.finish()
                self._finished[uid] = pod.start(self._axis.now_ns())
        self._update()

    def is_done(self) -> bool:
        return bool(self.pods) and len(self._finished) == len(self.pods)

    def is_reading(self) -> bool:
        return any(pod.is_reading for pod in self.pods.values())

    def give_up(self, why: str, reason: str = "timeout") -> None:
        for pod in self.pods.values():
            pod.give_up(why, reason)
        self.tick()

    def starts(self, is_open: bool = False) -> list[Start]:
        """By name; what is not finished ends now, or is left open for the live view."""
        now_ns = None if is_open else self._axis.now_ns()
        found = [self._finished.get(uid) or pod.start(now_ns) for uid, pod in self.pods.items()]
        return sorted(found, key=lambda start: start.name)

    def close(self) -> None:
        for uid, pod in self.pods.items():
            if uid not in self._finished:
                pod.close()

    def _update(self) -> None:
        if (
            self._follows
            and self.asked.on_update is not None
            and time.monotonic() - self._updated_s >= UPDATE_S
        ):
            self._updated_s = time.monotonic()
            self.asked.on_update(self.starts(is_open=True))
