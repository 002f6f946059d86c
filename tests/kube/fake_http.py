"""The wire of FakeApi: paths, lists in pages, watches, logs, reviews, the proxy. See fake_api.py."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fake_objects import chosen, merge

if TYPE_CHECKING:
    from fake_api import FakeApi, Fault

PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+)(?P<rest>/.*)?)?)?$"
)
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
}
REASONS |= {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
KINDS = {"pods": "Pod", "events": "Event", "deployments": "Deployment", "replicasets": "ReplicaSet"}


class BrokenError(Exception):
    """The connection is to be broken now."""


class RefusedError(Exception):
    """The answer is an error."""

    def __init__(self, code: int, message: str, reason: str = "", **meta: str):
        super().__init__(message)
        self.code, self.message, self.reason, self.meta = code, message, reason or REASONS.get(code, ""), meta


def start(api: FakeApi, tls: ssl.SSLContext | None) -> tuple[ThreadingHTTPServer, threading.Thread]:
    handler = type("Handler", (Served,), {"api": api})
    server = Quiet(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    return server, thread


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any):
        self.connections: list[socket.socket] = []
        super().__init__(*args)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def server_close(self) -> None:
        super().server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is part of the tests."""


class Served(BaseHTTPRequestHandler):
    """One request being answered; handlers of proxied ports get it and may use send_json(), begin(), piece()."""

    api: FakeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one(self) -> None:
        self.fault: Fault | None = None
        self.sent, self.chunked = 0, False
        split = urlsplit(self.path)
        self.where, self.query = split.path, dict(parse_qsl(split.query))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.body: Any = json.loads(raw) if raw else None
        except ValueError:
            self.body = raw
        try:
            self._answer()
        except RefusedError as refused:
            self.send_status(refused)
        except BrokenError:
            self.break_off()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815

    def _answer(self) -> None:
        from fake_api import Seen

        api = self.api
        seen = Seen(self.command, unquote(self.where), self.query, dict(self.headers.items()), self.body)
        with api.changed:  # a cut that comes after the request is seen is one of its own
            api.requests.append(seen)
            self.breaks, self.ends = api.breaks, api.ends
        self.fault = api.take_fault(seen.line)
        if self.fault and self.fault.drop:
            raise BrokenError
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if api.tokens is not None and token not in api.tokens:
            raise RefusedError(401, "Unauthorized")
        if self.fault and self.fault.status:
            return self._fail(self.fault)
        self._route()
        if api.on_request is not None:
            api.on_request(seen)
        return None

    def _fail(self, fault: Fault) -> None:
        if fault.body is not None:
            return self.send_bytes(fault.status or 500, fault.body, "text/plain", fault.headers)
        refused = RefusedError(
            fault.status or 500, fault.message or f"made to fail with {fault.status}", fault.reason
        )
        return self.send_status(refused, fault.headers)

    # Answers

    def send_bytes(self, code: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self._write(body)

    def send_json(self, value: Any, code: int = 200) -> None:
        self.send_bytes(code, json.dumps(value).encode(), "application/json")

    def send_status(self, refused: RefusedError, headers: dict[str, str] | None = None) -> None:
        status = status_of(refused)
        self.send_bytes(refused.code, json.dumps(status).encode(), "application/json", headers)

    def begin(self, kind: str = "application/json", code: int = 200) -> None:
        """Begins an answer in chunks, flushed at once."""
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.chunked = True

    def piece(self, data: bytes) -> None:
        """One chunk."""
        if data:
            self._write(data)

    def end_pieces(self) -> None:
        """Ends an answer in chunks."""
        self.chunked = False
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _write(self, data: bytes) -> None:
        fault = self.fault
        for limit, after in (
            (fault and fault.cut_after, self.break_off),
            (fault and fault.stall_after, self.stall),
        ):
            if limit is not None and self.sent + len(data) > limit:
                self._send(data[: limit - self.sent], announced=len(data))
                after()
                raise BrokenError
        self._send(data, len(data))
        self.sent += len(data)

    def _send(self, data: bytes, announced: int) -> None:
        head, tail = (
            (b"%x\r\n" % announced, b"\r\n" * (len(data) == announced)) if self.chunked else (b"", b"")
        )
        self.wfile.write(head + data + tail)
        self.wfile.flush()

    def break_off(self) -> None:
        self.close_connection, self.chunked = True, False
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Says nothing more until the test ends."""
        with self.api.changed:
            self.api.changed.wait_for(lambda: self.api.closing, 30)

    # Paths

    def _route(self) -> None:
        if self.where == "/version":
            return self.send_json({"major": "1", "minor": "37", "gitVersion": "v1.37.0-fake"})
        found = PATH.match(self.where)
        if not found:
            raise RefusedError(404, "the server could not find the requested resource")
        part = {key: unquote(value) if value else value for key, value in found.groupdict().items()}
        if part["plural"] in ("selfsubjectaccessreviews", "selfsubjectreviews"):
            return self._review(part["plural"])
        self._authorize(part)
        verb = {"GET": self._get, "DELETE": self._delete, "PATCH": self._patch}.get(self.command)
        if part["sub"] == "proxy":
            return self._proxy(part)
        if verb is None:
            raise RefusedError(405, "the server does not allow this method on the requested resource")
        return verb(part)

    def _authorize(self, part: dict[str, Any]) -> None:
        resource = part["plural"] + (f"/{part['sub']}" if part["sub"] else "")
        read = "get" if part["name"] else "watch" if self.query.get("watch") else "list"
        verb = {"GET": read, "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}[
            self.command
        ]
        if not self.api.allowed(verb, resource):
            text = f'{resource} is forbidden: User "{self.api.user}" cannot {verb} resource "{resource}" in API group '
            text += f'"{part["group"] or ""}" in the namespace "{part["namespace"]}"'
            raise RefusedError(403, text)

    def _review(self, plural: str) -> None:
        if plural == "selfsubjectreviews":
            return self.send_json(
                {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": self.api.user}}}, 201
            )
        asked = self.body["spec"]["resourceAttributes"]
        resource = asked["resource"] + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        allowed = self.api.allowed(asked["verb"], resource)
        return self.send_json({**self.body, "status": {"allowed": allowed}}, 201)

    def _object(self, part: dict[str, Any]) -> dict[str, Any]:
        key = (part["plural"], part["namespace"], part["name"])
        with self.api.changed:
            if key not in self.api.objects:
                raise RefusedError(404, f'{part["plural"]} "{part["name"]}" not found')
            return copy.deepcopy(self.api.objects[key])

    def _get(self, part: dict[str, Any]) -> None:
        if part["name"] is None:
            return self._watch(part) if self.query.get("watch") in ("1", "true") else self._list(part)
        if part["sub"] == "log":
            return self._log(part)
        return self.send_json(self._object(part))

    def _list(self, part: dict[str, Any]) -> None:
        api = self.api
        items, version = api.select(part["plural"], part["namespace"], self.query), str(api.version)
        first = 0
        if "continue" in self.query:
            if api.expire_continue > 0:
                api.expire_continue -= 1
                raise RefusedError(
                    410, "The provided continue parameter is too old", **{"continue": "inconsistent"}
                )
            first = int(base64.b64decode(self.query["continue"]))
        last = first + min(api.page, int(self.query.get("limit") or api.page))
        meta = {"resourceVersion": version}
        if last < len(items):
            meta["continue"] = base64.b64encode(str(last).encode()).decode()
        kind = KINDS.get(part["plural"], "Thing") + "List"
        for item in items:  # as the real one does: items of a list have no kind
            item.pop("kind", None), item.pop("apiVersion", None)
        self.send_json({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items[first:last]})

    def _delete(self, part: dict[str, Any]) -> None:
        item = self._object(part)
        if part["plural"] == "pods":
            self.api.delete_pod(part["name"], part["namespace"])
        else:
            self.api.put(part["plural"], item, "DELETED")
        self.send_json(item)

    def _patch(self, part: dict[str, Any]) -> None:
        with self.api.changed:
            item = self._object(part)
            merge(item, self.body)
            if part["plural"] == "deployments":
                item["metadata"]["generation"] = item["metadata"].get("generation", 1) + 1
            item = self.api.put(part["plural"], item)
        if part["sub"] == "scale":
            item = {
                "kind": "Scale",
                "metadata": item["metadata"],
                "spec": {"replicas": item["spec"]["replicas"]},
            }
        self.send_json(item)

    def _proxy(self, part: dict[str, Any]) -> None:
        scheme_name = part["name"].split(":")
        name, port = scheme_name[-2:] if len(scheme_name) > 1 else (part["name"], "80")
        self._object({**part, "name": name})
        serve = self.api.proxied.get((part["namespace"], name, int(port)))
        if serve is None:
            text = f"error trying to reach service: dial tcp 10.0.0.7:{port}: connect: connection refused"
            raise RefusedError(503, text)
        self.where = part["rest"] or "/"
        serve(self)
        if self.chunked:
            self.end_pieces()

    # Watch

    def _watch(self, part: dict[str, Any]) -> None:
        api, since = self.api, int(self.query.get("resourceVersion") or 0)
        too_old = RefusedError(410, f"too old resource version: {since} ({api.oldest})", "Expired")
        if since < api.oldest and api.expire_as == "http":
            raise too_old
        self.begin()
        if since < api.oldest:
            self.piece(event_line("ERROR", status_of(too_old)))
            return self.end_pieces()
        for line in self._events(part, since):
            self.piece(line)
        return self.end_pieces()

    def _events(self, part: dict[str, Any], since: int) -> Iterator[bytes]:
        """Lines of the watch until it is to end; BrokenError when it is to be cut."""
        api, at, until = self.api, 0, self._deadline()
        breaks, ends = self.breaks, self.ends
        bookmark_at = (
            time.monotonic() + api.bookmark_s
            if api.bookmark_s and self.query.get("allowWatchBookmarks")
            else None
        )
        while True:
            with api.changed:
                wake = min(until, bookmark_at or until)
                api.changed.wait_for(
                    lambda at=at: (
                        at < len(api.history) or api.closing or (api.breaks, api.ends) != (breaks, ends)
                    ),
                    max(0.0, wake - time.monotonic()),
                )
                new, at, version = api.history[at:], len(api.history), api.version
                over = api.closing or api.ends != ends or time.monotonic() >= until
                broken = api.breaks != breaks
            yield from self._lines(part, new, since)
            if broken:
                self.piece_cut()
            if over:
                return
            if bookmark_at and api.bookmark_s and time.monotonic() >= bookmark_at:
                bookmark_at += api.bookmark_s
                kind = KINDS[part["plural"]]
                yield event_line("BOOKMARK", {"kind": kind, "metadata": {"resourceVersion": str(version)}})

    def _lines(self, part: dict[str, Any], new: list[Any], since: int) -> Iterator[bytes]:
        for version, kind, plural, item in new:
            inside = part["namespace"] in (None, item["metadata"]["namespace"])
            if version > since and plural == part["plural"] and inside and chosen(item, self.query):
                yield event_line(kind, item)

    def _deadline(self) -> float:
        spans = [float(self.query.get("timeoutSeconds") or 1800), self.api.watch_limit_s or 1800]
        return time.monotonic() + min(spans)

    def piece_cut(self, data: bytes = b'{"type":"MODIFIED","object":{') -> None:
        """Half a chunk, then nothing: what a dying proxy leaves behind."""
        self._send(data[:-4], announced=len(data))
        raise BrokenError

    # Logs

    def _log(self, part: dict[str, Any]) -> None:
        api = self.api
        pod, follow = self._object({**part, "sub": None}), self.query.get("follow") == "true"
        container = self.query.get("container") or pod["spec"]["containers"][0]["name"]
        state = next((s for s in _statuses(pod) if s["name"] == container), None)
        if state is None:
            raise RefusedError(400, f"container {container} is not valid for pod {part['name']}")
        log = api.log_of(part["name"], container, part["namespace"])
        previous, waiting = self.query.get("previous") == "true", "waiting" in state["state"]
        if previous and log.previous is None:
            raise RefusedError(
                400, f'previous terminated container "{container}" in pod "{part["name"]}" not found'
            )
        if waiting and not state["containerID"]:
            reason = state["state"]["waiting"]["reason"]
            raise RefusedError(
                400, f'container "{container}" in pod "{part["name"]}" is waiting to start: {reason}'
            )
        self.begin("text/plain")
        run = log.previous if previous else log.run
        for data in self._log_pieces(run, follow):
            self.piece(data)
        return self.end_pieces()

    def _log_pieces(self, run: Any, follow: bool) -> Iterator[bytes]:
        api, at = self.api, run.first
        breaks, ends = self.breaks, self.ends
        while True:
            with api.changed:
                new, at = run.lines[at:], len(run.lines)
                over = not follow or run.ended or api.closing or api.ends != ends
                broken = api.breaks != breaks
            yield self._text(new)
            if broken:
                self.piece_cut(self._text(new[-1:]) or b"2026-01-01T00:00:00.000000000Z half a li")
            if over:
                return
            with api.changed:
                api.changed.wait_for(
                    lambda at=at: (
                        len(run.lines) > at
                        or run.ended
                        or api.closing
                        or (api.breaks, api.ends) != (breaks, ends)
                    ),
                    60,
                )

    def _text(self, lines: list[tuple[int, bytes]]) -> bytes:
        since = self.query.get("sinceTime")
        limit = int(datetime.fromisoformat(since).timestamp()) * 10**9 if since else 0
        if self.query.get("timestamps") != "true":
            return b"".join(text + b"\n" for stamp, text in lines if stamp >= limit)
        return b"".join(_stamp(stamp) + b" " + text + b"\n" for stamp, text in lines if stamp >= limit)


def _stamp(ns: int) -> bytes:
    seconds, rest = divmod(ns, 10**9)
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z").encode()


def _statuses(pod: dict[str, Any]) -> list[Any]:
    status = pod["status"]
    return [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]


def status_of(refused: RefusedError) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": dict(refused.meta),
        "status": "Failure",
        "message": refused.message,
        "reason": refused.reason,
        "code": refused.code,
    }


def event_line(kind: str, item: Any) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"
