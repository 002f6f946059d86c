"""What the events of a pod tell: image pulls with time, waiting and bytes, failing probes, warnings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.kube.events import parse_pulled
from vllmperf.kube.stamps import parse_stamp

Json = Mapping[str, Any]
_CONTAINER = re.compile(r"\{(?P<name>[^}]*)\}$")
_PROBE = re.compile(r"(Startup|Readiness|Liveness) probe (?:failed|errored)")


@dataclass(frozen=True)
class Pull:
    """One image pull. `seconds` is the kubelet's number without, `waiting_s` with the time in its queue."""

    container: str
    start_ns: int | None
    end_ns: int
    is_present: bool
    seconds: float | None = None
    waiting_s: float | None = None
    bytes: int | None = None


def of_pod(events: Iterable[Json], pod: Json) -> list[Json]:
    """The events of this very pod (an earlier one of the same name has another uid), each once, in order of time."""
    meta = pod["metadata"]
    mine = [event for event in events if _is_of(_object(event), meta)]
    once = {(event["metadata"].get("uid") or id(event)): event for event in mine}
    return sorted(once.values(), key=lambda event: last_ns(event) or 0)


def _object(event: Json) -> Json:
    found: Json = event.get("involvedObject") or event.get("regarding") or {}
    return found


def _is_of(about: Json, meta: Json) -> bool:
    if about.get("uid") and meta.get("uid"):
        return bool(about["uid"] == meta["uid"])
    return about.get("kind") == "Pod" and about.get("name") == meta["name"]


def first_ns(event: Json) -> int | None:
    """When it first happened."""
    return _first(event, "eventTime", "firstTimestamp", "deprecatedFirstTimestamp", "lastTimestamp")


def last_ns(event: Json) -> int | None:
    """When it last happened."""
    series = event.get("series") or {}
    return parse_stamp(series.get("lastObservedTime")) or _first(
        event, "lastTimestamp", "deprecatedLastTimestamp", "eventTime", "firstTimestamp"
    )


def _first(event: Json, *names: str) -> int | None:
    for name in names:
        if (found := parse_stamp(event.get(name))) is not None:
            return found
    return parse_stamp(event["metadata"].get("creationTimestamp"))


def count(event: Json) -> int:
    """How often it happened."""
    series = event.get("series") or {}
    return int(series.get("count") or event.get("count") or event.get("deprecatedCount") or 1)


def message(event: Json) -> str:
    return str(event.get("message") or event.get("note") or "")


def container(event: Json) -> str | None:
    """The container it is about, from fieldPath: spec.containers{vllm}."""
    found = _CONTAINER.search(_object(event).get("fieldPath") or "")
    return found["name"] if found else None


def pulls(events: Iterable[Json]) -> list[Pull]:
    """The first pull of each container, in order; one that is still going is not among them."""
    began: dict[str, int | None] = {}
    found: dict[str, Pull] = {}
    for event in sorted(events, key=lambda event: first_ns(event) or 0):
        name = container(event)
        if name is None or name in found:
            continue
        if event.get("reason") == "Pulling":
            began.setdefault(name, first_ns(event))
        elif event.get("reason") == "Pulled" and (pull := _pull(name, event, began.get(name))):
            found[name] = pull
    return list(found.values())


def pulling_ns(events: Iterable[Json], name: str | None = None) -> int | None:
    """When the first pull began, of one container or of any."""
    began = [
        at
        for event in events
        if event.get("reason") == "Pulling" and name in (None, container(event))
        if (at := first_ns(event)) is not None
    ]
    return min(began, default=None)


def _pull(name: str, event: Json, start_ns: int | None) -> Pull | None:
    at = first_ns(event)
    if at is None:
        return None
    told = parse_pulled(message(event))
    if told is None:
        return None
    if told.already_present:
        return Pull(name, at, at, True)
    if start_ns is None and (whole_s := told.with_waiting_s or told.duration_s) is not None:
        start_ns = at - round(whole_s * 1e9)
    return Pull(name, start_ns, at, False, told.duration_s, told.with_waiting_s, told.image_bytes)


def probe_failures(events: Iterable[Json]) -> dict[str, int]:
    """{"startup": 3, "readiness": 12}: how often each kind of probe failed."""
    counted: Counter[str] = Counter()
    for event in events:
        if event.get("reason") == "Unhealthy" and (found := _PROBE.match(message(event))):
            counted[found[1].lower()] += count(event)
    return dict(counted)


def describe(event: Json) -> str:
    """One line: type, reason, count, message."""
    times = f" (x{count(event)})" if count(event) > 1 else ""
    return f"{event.get('type', '')} {event.get('reason', '')}{times}: {' '.join(message(event).split())}".strip()
