"""Events of the core API, raw, in the order in which things happened, and what the one about a pull says.

Not events.k8s.io: there the packages of Kubernetes refuse events without eventTime, and every kubelet event is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vllmperf.kube.lists import Object, list_all
from vllmperf.kube.stamps import NS_PER_S, parse_duration, parse_stamp
from vllmperf.kube.transport import Transport

_PULLED = re.compile(
    r'Successfully pulled image ".*?"(?: in (\S+?))?(?: \((\S+) including waiting\))?\.?(?:\s|$)'
)
_SIZE = re.compile(r"Image size: (\d+) bytes")
_PRESENT = re.compile(r'(?:Container )?[Ii]mage ".*?" already present on machine')


@dataclass(frozen=True)
class Pulled:
    """What a Pulled event says; None where its Kubernetes does not say it."""

    duration_s: float | None
    with_waiting_s: float | None  # from the kubelet's wish to the end, with other pulls before this one
    image_bytes: int | None
    already_present: bool


def events(
    transport: Transport,
    namespace: str,
    uid: str | None = None,
    name: str | None = None,
    kind: str | None = None,
) -> list[Object]:
    """Events about an object (by uid, name, kind; all of the namespace without), oldest first. Servers keep them for 1 h."""
    about = {"involvedObject.uid": uid, "involvedObject.name": name, "involvedObject.kind": kind}
    selector = ",".join(f"{key}={value}" for key, value in about.items() if value)
    query = {"fieldSelector": selector} if selector else {}
    found, _ = list_all(transport, f"/api/v1/namespaces/{namespace}/events", query)
    return sorted(found, key=_order)


def event_ns(event: Object) -> int | None:
    """When it happened, ns since the epoch: eventTime (µs) if there, else lastTimestamp, else creation (1 s)."""
    series = event.get("series") or {}
    given = (
        series.get("lastObservedTime"),
        event.get("eventTime"),
        event.get("lastTimestamp"),
        (event.get("metadata") or {}).get("creationTimestamp"),
    )
    return next((ns for ns in map(parse_stamp, given) if ns is not None), None)


def _order(event: Object) -> tuple[int, int]:
    """Whole seconds, then versions: the scheduler's µs would put its events behind the kubelet's of the same second."""
    version = str((event.get("metadata") or {}).get("resourceVersion") or "")
    return (event_ns(event) or 0) // NS_PER_S, int(version) if version.isdigit() else 0


def parse_pulled(message: str) -> Pulled | None:
    """Reads the message of a Pulled event (kubelet of Kubernetes 1.18 to 1.37); None when it is no such message."""
    if _PRESENT.match(message):
        return Pulled(None, None, None, True)
    found = _PULLED.match(message)
    if found is None:
        return None
    size = _SIZE.search(message)
    # The dot that ends the sentence may stick to the duration.
    spans = [parse_duration(text.rstrip(".")) if text else None for text in found.groups()]
    return Pulled(spans[0], spans[1], int(size[1]) if size else None, False)
