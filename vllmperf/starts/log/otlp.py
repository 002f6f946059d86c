"""Log records as the OpenTelemetry collector writes them: JSON of OTLP, one request a line or a whole file.

Names are those of opentelemetry-proto 1.x, `logs/v1/logs.proto`, in its JSON mapping (64-bit numbers are strings).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vllmperf.starts.log.envelope import Wrapped, from_json

MARK = '"resourceLogs"'
_NAMES = (
    ("k8s.pod.name", "k8s.container.name"),
    ("container.name", "container.id"),
    ("service.name", "service.instance.id"),
)


def is_request(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("resourceLogs"), list)


def records(request: Mapping[str, Any]) -> Iterator[Wrapped]:
    """Every record with a text, in the order of the request, each with the collector's stamp."""
    for resource in _objects(request.get("resourceLogs")):
        source = _source(_attributes(_object(resource.get("resource")).get("attributes")))
        for scope in _objects(resource.get("scopeLogs", resource.get("instrumentationLibraryLogs"))):
            for record in _objects(scope.get("logRecords", scope.get("logs"))):
                if (found := _record(record, source)) is not None:
                    yield found


def _record(record: Mapping[str, Any], source: str) -> Wrapped | None:
    body = plain_value(record.get("body"))
    entry: dict[str, Any] = {**_attributes(record.get("attributes"))}
    if isinstance(body, dict):
        entry |= body
    elif body is not None:
        entry["message"] = str(body)
    entry.setdefault("level", record.get("severityText") or None)
    found = from_json(entry)
    if found is None:
        return None
    stamps = (record.get("timeUnixNano"), record.get("observedTimeUnixNano"))
    ns = next((at for at in map(_nanoseconds, stamps) if at), None)
    if ns is not None:
        found = found._replace(stamp_ns=ns, digits=9, local=False)
    return found._replace(source=source)


def plain_value(value: object) -> Any:
    """An AnyValue as a plain one."""
    if not isinstance(value, dict):
        return value
    for kind in ("stringValue", "intValue", "doubleValue", "boolValue"):
        if kind in value:
            return value[kind]
    if isinstance(inner := value.get("kvlistValue"), dict):
        return _attributes(inner.get("values"))
    if isinstance(inner := value.get("arrayValue"), dict):
        return [plain_value(one) for one in _list(inner.get("values"))]
    return None


def _attributes(pairs: object) -> dict[str, Any]:
    return {str(pair.get("key")): plain_value(pair.get("value")) for pair in _objects(pairs)}


def _source(attributes: Mapping[str, Any]) -> str:
    for names in _NAMES:
        found = [str(attributes[name]) for name in names if attributes.get(name)]
        if found:
            return f"pod/{'/'.join(found)}"
    return ""


def _nanoseconds(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) <= 19 else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(values: object) -> Iterator[Mapping[str, Any]]:
    return (value for value in _list(values) if isinstance(value, dict))
