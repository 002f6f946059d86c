"""One pod from its first sight to the end of its start: follows its logs, probes it, and knows when it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vllmperf.errors import TargetError, VllmperfError
from vllmperf.starts.axis import Axis
from vllmperf.starts.live import pod_status, trouble
from vllmperf.starts.live.container_runs import ContainerRun, earlier_start
from vllmperf.starts.live.containers import choose
from vllmperf.starts.live.logfile import LogFile
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.live.pod_phases import Fact, PodSeen, Told, pod_start
from vllmperf.starts.live.pod_probe import Probed, probe
from vllmperf.starts.result import Failure, Start

if TYPE_CHECKING:
    from vllmperf.kube import Cluster

Json = Mapping[str, Any]
LOG_WAIT_S = 3.0
PROBE_WAIT_S = 60.0
"""How long a pod that is Ready may leave /health unanswered: a wrong --url, say."""
EVENTS_EVERY_S = 3.0


@dataclass
class _Known:
    """What was learnt of the pod; changed by the main thread alone."""

    runs: dict[int, pod_status.Ran] = field(default_factory=dict)
    container_runs: dict[int, ContainerRun] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ready_ns: int | None = None
    failure: Failure | None = None
    settled_s: float | None = None  # when nothing but log and probe was missing (monotonic)


class PodWatch:
    """`follows`: reads logs as they come; else once, to where they are."""

    def __init__(self, cluster: Cluster, asked: Measurement, axis: Axis, pod: Json, follows: bool) -> None:
        from vllmperf.kube import Stop

        self.name = str(pod["metadata"]["name"])
        self.uid = str(pod["metadata"].get("uid"))
        self.container = choose(pod, asked.containername)
        self._cluster, self._asked, self._axis, self._follows = cluster, asked, axis, follows
        self._stop = Stop()
        self._threads: list[threading.Thread] = []
        self._probed = Probed()
        self._was_ready = pod_status.condition_ns(pod, "Ready") is not None
        self._known = _Known()
        self._pod: Json = pod
        self._events_at_s = float("-inf")

    # ---- what comes ----

    def update(self, pod: Json, seen_ns: int) -> None:
        """A newer state of the pod, seen at this instant."""
        self._pod = pod
        known = self._known
        if (
            known.ready_ns is None
            and not self._was_ready
            and pod_status.condition_ns(pod, "Ready") is not None
        ):
            known.ready_ns = seen_ns
        count = pod_status.restarts(pod, self.container)
        if current := pod_status.current(pod, self.container):
            known.runs[count] = current
            self._read_logs(count)
            self._start_probe()
        if before := pod_status.previous(pod, self.container):
            known.runs[count - 1] = before

    def deleted(self) -> None:
        if not self.is_done:
            self._known.failure = Failure(
                None, None, f"pod {self.name} was deleted before it was ready", "Deleted"
            )

    def tick(self, now_ns: int) -> None:
        """Looks at events and for trouble."""
        if self.is_done:
            return
        if time.monotonic() - self._events_at_s >= EVENTS_EVERY_S:
            self._read_events()
        failure = trouble.find(self._pod, self._known.events, self.container, now_ns, self._asked.grace)
        if failure is not None:
            self._known.failure = failure

    def note(self, text: str) -> None:
        self._known.notes.append(text)

    def give_up(self, text: str, reason: str) -> None:
        """It takes too long, or nobody can see it any more."""
        if not self.is_done:
            self._known.failure = Failure(None, None, text, reason)

    # ---- where it is ----

    @property
    def is_done(self) -> bool:
        """Failed, or ready with its log caught up and its probes answered."""
        if self._known.failure is not None:
            return True
        return self._is_ready and self._probe_is_over() and self._log_caught_up()

    @property
    def is_reading(self) -> bool:
        """Whether logs or probes are still on their way."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def _is_ready(self) -> bool:
        return self._known.ready_ns is not None or self._was_ready

    def _probe_is_over(self) -> bool:
        """Done, or without an answer for too long after the pod was Ready."""
        if self._probed.is_done or self._probed.has_answered:
            return self._probed.is_done
        if self._waited_s() <= PROBE_WAIT_S:
            return False
        self._known.notes.append(
            f"no 200 on /health came within {PROBE_WAIT_S:g} s of Ready: it was not probed"
        )
        self._probed.is_done = True
        return True

    def _waited_s(self) -> float:
        """Seconds since nothing but log and probe was missing."""
        now_s = time.monotonic()
        self._known.settled_s = self._known.settled_s or now_s
        return now_s - self._known.settled_s

    def _log_caught_up(self) -> bool:
        current = self._current_run()
        log = current.log() if current is not None and not current.has_ended else None
        if current is None or current.has_ended or (log is not None and log.reached_ready):
            return True
        return self._waited_s() > LOG_WAIT_S

    def start(self, now_ns: int | None) -> Start:
        """What is known of its start; one that goes on ends now, or (None) is open."""
        known, one = self._known, self._current_run()
        log = one.log() if one is not None else None
        failure = trouble.with_log(known.failure, log) if known.failure else None
        last = one.last_lines() if one is not None else ()
        told = Told(
            failure=failure,
            evidence=trouble.evidence(self._pod, known.events, known.failure, failure, last)
            if failure
            else (),
            earlier=self._earlier(),
            log_path=one.file.path if one is not None else None,
            notes=(
                *self._restart_notes(),
                *known.notes,
                *(one.notes if one is not None else ()),
                *self._probed.notes,
            ),
            facts=self._facts(log.sleep if log else ()),
            now_ns=now_ns,
        )
        return pod_start(self._pod, known.events, self.container, log, self._seen(), told)

    def close(self) -> None:
        """Ends its threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(LOG_WAIT_S)

    def finish(self) -> None:
        """The last events, and after a failure the rest of the log; then its threads are ended."""
        self._read_events()
        one = self._current_run()
        deadline = time.monotonic() + LOG_WAIT_S
        while self._known.failure and one and not one.has_ended and time.monotonic() < deadline:
            time.sleep(0.05)
        self.close()
        self._pardon()

    def _pardon(self) -> None:
        """A server that was up and ended well later did start, as its log shows once it is read."""
        failure, one = self._known.failure, self._current_run()
        log = one.log() if one is not None else None
        over = failure is not None and failure.reason in ("Completed", "Succeeded")
        if (
            over
            and log is not None
            and log.reached_ready
            and pod_status.ended_well(self._pod, self.container)
        ):
            self._known.failure = None

    # ---- parts ----

    def _seen(self) -> PodSeen:
        found = self._probed.seen
        return replace(found, ready_ns=self._known.ready_ns)

    def _restart_notes(self) -> tuple[str, ...]:
        """Why a pod that has not failed for good is not ready yet."""
        before = pod_status.previous(self._pod, self.container)
        if self._is_ready or self._known.failure or before is None:
            return ()
        count = pod_status.restarts(self._pod, self.container)
        return (
            f"not ready: restarted {count} times so far, after exit code {before.exit_code} ({before.reason})",
        )

    def _facts(self, logged: Any) -> dict[str, Fact]:
        return {**self._probed.facts, **self._probed.sleep_facts(logged)}

    def _current_run(self) -> ContainerRun | None:
        count = pod_status.restarts(self._pod, self.container)
        return self._known.container_runs.get(count)

    def _earlier(self) -> tuple[Start, ...]:
        current = pod_status.restarts(self._pod, self.container)
        attempts = {
            count: one for count, one in sorted(self._known.container_runs.items()) if count < current
        }
        return tuple(earlier_start(self.name, one, self._known.runs.get(at)) for at, one in attempts.items())

    def _read_events(self) -> None:
        self._events_at_s = time.monotonic()
        try:
            self._known.events = self._cluster.events(self._asked.namespace, uid=self.uid)
        except TargetError as error:
            note = f"its events cannot be read: {error}"
            if note not in self._known.notes:
                self._known.notes.append(note)

    def _read_logs(self, count: int) -> None:
        """Follow this run's log, once; at the first sight of a restarted container read the log before it too."""
        if count in self._known.container_runs:
            return
        for at, one in self._known.container_runs.items():
            one.file.rename(self._log_name(at, is_previous=True))
        if count and not self._known.container_runs:
            self._read_log(count - 1, is_previous=True)
            if count > 1:
                self._known.notes.append(f"of {count} earlier attempts only the last one has a log still")
        self._read_log(count)

    def _read_log(self, count: int, is_previous: bool = False) -> None:
        asked = self._asked
        file = LogFile(asked.output, self._log_name(count, is_previous), asked.log_timestamps)
        one = self._known.container_runs[count] = ContainerRun(count, file, is_previous)
        lines = self._cluster.logs(
            asked.namespace,
            self.name,
            self.container,
            follow=self._follows and not is_previous,
            previous=is_previous,
            stop=self._stop,
        )
        self._run(one.read, lines)

    def _log_name(self, count: int, is_previous: bool) -> str:
        """<pod>-log.txt is always that of the last try."""
        return f"{self.name}-log-try-{count + 1}.txt" if is_previous else f"{self.name}-log.txt"

    def _start_probe(self) -> None:
        asked = self._asked
        is_asked = asked.probe_first_token or asked.sleep_wake
        if not is_asked or not (self._follows or self._was_ready):
            self._probed.is_done = True
        elif not self._probed.has_begun and (self._pod.get("status") or {}).get("podIP"):
            self._probed.has_begun = True
            self._probed.was_ready = self._was_ready
            self._run(self._probe, self._pod)

    def _probe(self, pod: Json) -> None:
        try:
            probe(
                self._cluster,
                pod,
                self.container,
                self._asked,
                self._axis.now_ns,
                self._stop,
                self._probed,
            )
        except VllmperfError as error:
            self._probed.notes.append(f"it could not be probed: {error}")
        finally:
            self._probed.is_done = True

    def _run(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, name=f"vllmperf-{self.name}", daemon=True)
        thread.start()
        self._threads.append(thread)
