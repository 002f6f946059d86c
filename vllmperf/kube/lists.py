"""Lists in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllmperf.kube.errors import GoneError
from vllmperf.kube.stop import Stop
from vllmperf.kube.transport import PATIENCE_S, Request, Transport

PAGE = 250
RESTARTS = 3

Object = dict[str, Any]
"""Any object of the API, as its JSON."""


def pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def selected(labels: str | None) -> dict[str, str]:
    """The query for the objects that have these labels; None: for all."""
    return {"labelSelector": labels} if labels else {}


def list_all(
    transport: Transport,
    path: str,
    query: Mapping[str, str] | None = None,
    stop: Stop | None = None,
    patience_s: float = PATIENCE_S,
    page: int = PAGE,
) -> tuple[list[Object], str]:
    """All objects of a list, and the version it is of.

    When the server no longer keeps the version between two pages (410), the list begins anew: its own offer, to go on
    with newer objects, would give a list that never was.
    """
    query = dict(query or {})
    for _ in range(RESTARTS):
        try:
            return _pages(transport, path, {**query, "limit": str(page)}, stop, patience_s)
        except GoneError:
            continue
    return _pages(transport, path, query, stop, patience_s)


def _pages(
    transport: Transport, path: str, query: dict[str, str], stop: Stop | None, patience_s: float
) -> tuple[list[Object], str]:
    items: list[Object] = []
    while True:
        answer = transport.call(Request("GET", path, query), stop, patience_s)
        meta = answer.get("metadata") or {}
        items += answer.get("items") or []
        if not meta.get("continue"):
            return items, str(meta.get("resourceVersion") or "")
        query = {**query, "continue": meta["continue"]}
