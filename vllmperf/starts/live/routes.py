"""The ways to a pod's server: a URL that people give, or the API server's proxy to the pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vllmperf.errors import SettingError, TargetError
from vllmperf.starts.live.probe import Access, Route
from vllmperf.target import Answer, AnswerError

if TYPE_CHECKING:
    from vllmperf.kube import Cluster, Stop

Json = Mapping[str, Any]
PORT = 8000
PLACES = ("pod_ip", "pod", "namespace")


class Proxy:
    """A pod through the API server. What it measures holds the proxy's own time, some ms."""

    def __init__(self, cluster: Cluster, namespace: str, pod: str, port: int | str, stop: Stop) -> None:
        self._cluster, self._where, self._stop = cluster, (namespace, pod, port), stop
        self.name = f"pod {pod}, port {port}, through the API server"

    @contextmanager
    def ask(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = 5.0
    ) -> Iterator[Answer]:
        """Raises ForbiddenError, BadRequestError (of the API server itself); nothing there is a status of 502 to 504."""
        how: dict[str, Any] = {"method": method, "body": body, "timeout_s": timeout_s, "stop": self._stop}
        try:
            if body:
                with self._cluster.pod_stream(*self._where, path, **how) as stream:
                    yield Answer(stream.status, stream.pieces())
            else:
                answer = self._cluster.pod_request(*self._where, path, **how)
                yield Answer(answer.status, iter([answer.body]))
        except TargetError as error:
            if getattr(error, "status", None):
                raise
            raise AnswerError(str(error), str(error)) from None


def port_of(pod: Json, container: str) -> int | str:
    """The server's port: of a probe on it, else --port among its arguments, else its first port, else 8000."""
    containers: list[Json] = pod["spec"].get("containers") or []
    spec = next((one for one in containers if one["name"] == container), {})
    for kind in ("readinessProbe", "startupProbe", "livenessProbe"):
        if port := ((spec.get(kind) or {}).get("httpGet") or {}).get("port"):
            return _number(spec, port)
    words = [*(spec.get("command") or []), *(spec.get("args") or [])]
    for at, word in enumerate(words):
        value = words[at + 1] if word == "--port" and at + 1 < len(words) else word.partition("--port=")[2]
        if value.isdigit():
            return int(value)
    ports = spec.get("ports") or []
    return int(ports[0]["containerPort"]) if ports else PORT


def _number(spec: Json, port: int | str) -> int | str:
    """A port's number; probes may name it."""
    for one in spec.get("ports") or []:
        if one.get("name") == port:
            return int(one["containerPort"])
    return port


def url_of(template: str, pod: Json) -> str:
    """The URL for a pod, with {pod_ip}, {pod} and {namespace} filled in."""
    address = str((pod.get("status") or {}).get("podIP") or "")
    values = {
        "pod_ip": f"[{address}]" if ":" in address else address,
        "pod": pod["metadata"]["name"],
        "namespace": pod["metadata"].get("namespace", "default"),
    }
    try:
        return template.format_map(values)
    except (KeyError, ValueError, IndexError):
        names = ", ".join(f"{{{place}}}" for place in PLACES)
        raise SettingError(
            "{url} {template!r}: only {names} can be filled in", template=template, names=names
        ) from None


def route_of(
    cluster: Cluster, pod: Json, container: str, url: str | None, stop: Stop, access: Access
) -> Route:
    """The URL when one is given, else the API server's proxy."""
    if url is not None:
        return access.client(url_of(url, pod))
    meta = pod["metadata"]
    return Proxy(cluster, meta.get("namespace", "default"), meta["name"], port_of(pod, container), stop)
