"""Watching objects: each change once, whatever happens to the connection.

List, then watch from the list's version. A server that ends the watch (its normal way after some minutes), a cut, and
a silence longer than bookmarks leave are followed by a watch from the last version seen. A version that is too old is
told as HTTP 410 or, within a good answer, as an ERROR event; then the list is read again and what differs from the
objects known is given as changes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from vllmperf.errors import TargetError
from vllmperf.kube.errors import GoneError
from vllmperf.kube.lists import Object, list_all, selected
from vllmperf.kube.stop import Stop
from vllmperf.kube.transport import LONG_PATIENCE_S, Request, Transport, chunks

WATCH_S = 240
"""Asked for as the length of one watch; the server picks what it likes."""
SILENCE_S = 90.0
"""Servers send a bookmark each minute: a watch that is silent for longer is taken for dead."""
SHORT_S = 1.0


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED or DELETED (then `object` is its last state)."""

    type: str
    object: Object


class Watch:
    """Iterate to get WatchEvents: first one ADDED for each object that is there, then changes, until `stop`.

    Raises ApiError (a right that is missing, say) and UnreachableError when the server stays away longer than `patience_s`.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        label_selector: str | None = None,
        stop: Stop | None = None,
        patience_s: float = LONG_PATIENCE_S,
        silence_s: float = SILENCE_S,
    ):
        self._transport, self._path = transport, path
        self._patience_s, self._silence_s = patience_s, silence_s
        self._stop = stop or Stop()
        self._selectors = selected(label_selector)
        self._known: dict[str, Object] = {}
        self._version: str | None = None

    def __iter__(self) -> Iterator[WatchEvent]:
        while not self._stop.is_set():
            try:
                if self._version is None:
                    yield from self._listed()
                else:
                    yield from self._watched()
            except GoneError:
                self._version = None
            except TargetError:
                if self._stop.is_set():
                    return
                raise

    def _listed(self) -> Iterator[WatchEvent]:
        items, version = list_all(self._transport, self._path, self._selectors, self._stop, self._patience_s)
        there = {_uid(item) for item in items}
        for uid in [uid for uid in self._known if uid not in there]:
            yield WatchEvent("DELETED", self._known.pop(uid))
        for item in items:
            yield from self._changed(item)
        self._version = version

    def _changed(self, item: Object) -> Iterator[WatchEvent]:
        """The event for an object that is there, unless this state of it was given already."""
        before = self._known.get(_uid(item))
        if before is not None and _version_of(before) == _version_of(item):
            return
        self._known[_uid(item)] = item
        yield WatchEvent("ADDED" if before is None else "MODIFIED", item)

    def _watched(self) -> Iterator[WatchEvent]:
        """One watch, from the last version to its end."""
        began = time.monotonic()
        response = self._transport.open(self._request(), self._stop, self._patience_s)
        with contextlib.closing(response), self._stop.interrupting(response):
            for line in _whole_lines(response):
                if self._stop.is_set():
                    return
                event = json.loads(line)
                yield from self._event(event["type"], event["object"])
        if time.monotonic() - began < SHORT_S:  # a server that keeps ending watches is not to be hammered
            self._stop.wait(0.2)

    def _request(self) -> Request:
        length_s = max(1, int(self._stop.at_most(WATCH_S)))
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": str(self._version)}
        query |= {"timeoutSeconds": str(length_s), **self._selectors}
        return Request("GET", self._path, query, read_limit_s=self._silence_s)

    def _event(self, kind: str, item: Object) -> Iterator[WatchEvent]:
        if kind == "ERROR":
            # Whatever it is (410 mostly): the list tells what is true now, or fails with a message of its own.
            self._stop.wait(0.0 if item.get("code") == 410 else 1.0)
            raise GoneError(f"the watch ended: {item.get('message')}", int(item.get("code") or 0))
        if kind == "DELETED":
            if self._known.pop(_uid(item), None) is not None:
                yield WatchEvent("DELETED", item)
        elif kind != "BOOKMARK":
            yield from self._changed(item)
        self._version = _version_of(item)


def _whole_lines(response: Any) -> Iterator[bytes]:
    """Complete lines of a body; what is cut off in the middle, by whatever, just ends it: the next watch has it again."""
    from urllib3.exceptions import HTTPError

    parts: list[bytes] = []
    try:
        for data in chunks(response):
            first, *others = data.split(b"\n")
            parts.append(first)
            for line in others:
                whole = b"".join(parts)
                parts = [line]
                if whole.strip():
                    yield whole
    except (HTTPError, OSError):
        return


def _uid(item: Object) -> str:
    meta = item["metadata"]
    return str(meta.get("uid") or f"{meta.get('namespace')}/{meta['name']}")


def _version_of(item: Object) -> str:
    return str(item["metadata"].get("resourceVersion"))
