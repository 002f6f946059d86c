"""Probes a pod's server from outside: first 200 on /health, first token, sleep and wake-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vllmperf.starts.live import sleep_wake
from vllmperf.starts.live.measurement import Measurement
from vllmperf.starts.live.pod_phases import Fact, PodSeen
from vllmperf.starts.live.probe import Route, first_model, first_token, status
from vllmperf.starts.live.routes import Proxy, route_of
from vllmperf.starts.result import NS_PER_S, SleepCycle

if TYPE_CHECKING:
    from vllmperf.kube import Cluster, Stop

Json = Mapping[str, Any]
POLL_S = 0.02
PROXY_POLL_S = 0.1
THROUGH_PROXY = (
    "probed through the API server's proxy, which adds its own time: one /health through it took {ms:.0f} ms"
)
NOT_FIRST = "it was ready before it was looked at: the first token asked for was not its first, and is no part of its start"


@dataclass
class Probed:
    """What the probing thread found; `is_done` when it will find nothing more."""

    has_begun: bool = False
    has_answered: bool = False
    is_done: bool = False
    was_ready: bool = False
    seen: PodSeen = field(default_factory=PodSeen)
    facts: dict[str, Fact] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cycles: sleep_wake.Cycles = field(default_factory=lambda: sleep_wake.Cycles(()))

    def sleep_facts(self, logged: Iterable[SleepCycle]) -> dict[str, Fact]:
        return sleep_wake.facts(self.cycles.steps, logged)


def probe(
    cluster: Cluster,
    pod: Json,
    container: str,
    asked: Measurement,
    now_ns: Callable[[], int],
    stop: Stop,
    found: Probed,
) -> None:
    """Waits for the first 200, then asks; fills `found` as it goes. Raises what asking again cannot mend."""
    route = route_of(cluster, pod, container, asked.url, stop, asked.access)
    poll_s = PROXY_POLL_S if isinstance(route, Proxy) else POLL_S
    while status(route) != 200:
        if stop.wait(poll_s):
            return
    found.has_answered = True
    found.facts["probed"] = route.name
    if not found.was_ready:
        found.seen = replace(found.seen, health_ns=now_ns(), poll_s=poll_s)
    model = first_model(route)
    if asked.probe_first_token:
        _first_token(route, model, now_ns, found)
    if isinstance(route, Proxy):
        _note_proxy(route, now_ns, found)
    if asked.sleep_wake and not stop.is_set():
        found.cycles = sleep_wake.drive(route, asked.sleep_wake, now_ns, model)
        if found.cycles.why_not:
            found.notes.append(f"{sleep_wake.NOT_MEASURED}: {found.cycles.why_not}")
        stop.wait(sleep_wake.LAST_LINES_S)


def _first_token(route: Route, model: str | None, now_ns: Callable[[], int], found: Probed) -> None:
    if model is None:
        found.notes.append("no first token was asked for: /v1/models names no model")
        return
    got = first_token(route, model, now_ns)
    if got.token_ns is None:
        found.notes.append(f"no first token came: {got.why_not}")
        return
    found.facts["first_request_to_token_s"] = (got.token_ns - got.sent_ns) / NS_PER_S
    if found.was_ready:
        found.notes.append(NOT_FIRST)
    else:
        found.seen = replace(found.seen, first_request_ns=got.sent_ns, first_token_ns=got.token_ns)


def _note_proxy(route: Proxy, now_ns: Callable[[], int], found: Probed) -> None:
    before = now_ns()
    status(route)
    took_s = (now_ns() - before) / NS_PER_S
    found.facts["proxy_health_s"] = took_s
    found.notes.append(THROUGH_PROXY.format(ms=took_s * 1000))
