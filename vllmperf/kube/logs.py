"""Container logs: raw bytes with the runtime's stamps, followed across broken connections without losing or repeating a line.

The wire knows only whole seconds to begin from, so what is asked for again after a cut begins a little earlier than the
last line seen, and lines that were seen are dropped by stamp and text, as often as they were seen.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from vllmperf.errors import TargetError
from vllmperf.kube.container import Container, Run
from vllmperf.kube.errors import ApiError, BadRequestError, LogsGoneError, NotFoundError
from vllmperf.kube.recent import Recent
from vllmperf.kube.stamps import NS_PER_S, format_stamp, parse_stamp
from vllmperf.kube.stop import Stop
from vllmperf.kube.transport import LONG_PATIENCE_S, Request, Transport, chunks

SILENCE_S = 30.0
"""Balancers drop idle connections without telling; after such a silence a followed log is asked for again."""
LONGEST_STAMP = 40
POLL_S, CUT_S = 1.0, 0.1
START_TRIES = 30
SETTLE_S = 1.0
"""The API learns of a restart a moment after the node."""
LATE_S = 120.0
"""A first line this long after the container's start hints at rotation."""
LOST_LOG = b"unable to retrieve container logs for "
WATCHER_FAILED = b"failed to create fsnotify watcher"


class LogLine(NamedTuple):
    """`stamp_ns` is the runtime's (UTC, since the epoch), None where it sent none; `text` has no line end."""

    stamp_ns: int | None
    text: bytes


@dataclass(frozen=True)
class Note:
    """Something the reader of the log must know. kind: "rotated", "late", "gone"."""

    kind: str
    text: str
    stamp_ns: int | None = None


class LogStream:
    """Iterate once to get LogLines; `notes` grows meanwhile.

    Without `follow`: what the node still has of the current run, or with `previous` of the one before.
    With `follow`: waits for the container to start, gives its lines as they come, and ends when that run of it ends,
    the pod is deleted, or `stop` is set. Raises LogsGoneError, ApiError, UnreachableError.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        pod: str,
        container: str | None = None,
        follow: bool = False,
        previous: bool = False,
        since_ns: int | None = None,
        stop: Stop | None = None,
        patience_s: float = LONG_PATIENCE_S,
        silence_s: float = SILENCE_S,
    ):
        self.notes: list[Note] = []
        self._follow, self._previous, self._since_ns = follow, previous, since_ns
        self._transport, self._stop = transport, stop or Stop()
        self._patience_s, self._silence_s = patience_s, silence_s
        self._container = Container(transport, namespace, pod, container, self._stop, patience_s)
        self._run: Run | None = None
        self._recent = Recent()

    def __iter__(self) -> Iterator[LogLine]:
        try:
            self._container.choose()
            yield from self._followed() if self._follow else self._read_all(self._previous)
        except NotFoundError:
            if not self._follow:
                raise
            self._note("gone", f"pod {self._container.pod} was deleted")
        except TargetError:
            if not self._stop.is_set():
                raise

    # One run

    def _followed(self) -> Iterator[LogLine]:
        run = self._container.first_run(POLL_S)
        while run is not None:
            response = self._opened(run)
            if response is None:
                break
            self._run = run
            ended = yield from self._lines(response, keep_tail=False)
            now = self._container.run()
            if now.identity != run.identity or not now.running:
                break
            self._stop.wait(POLL_S if ended else CUT_S)
        if run is not None and not self._stop.is_set():
            yield from self._rest(run)

    def _opened(self, run: Run) -> Any:
        """The followed log of this run; None when the run is over.

        Between a container's start and its log there is a moment in which nodes say that there is none.
        """
        failure: ApiError | None = None
        for _ in range(START_TRIES):
            if self._stop.is_set():
                return None
            try:
                response = self._open(follow=True)
            except (BadRequestError, NotFoundError) as error:
                response, failure = None, error
            same_run = self._container.run().identity == run.identity
            if response is not None and same_run:
                return response
            if response is not None:
                response.close()
            if not same_run:
                return None
            self._stop.wait(POLL_S)
        raise LogsGoneError(f"the log of {self._container} cannot be read: {failure}")

    def _rest(self, run: Run) -> Iterator[LogLine]:
        """What the run wrote after the connection was cut: it has ended, so reading to the end is enough."""
        now = self._container.run()
        if now.restarts > run.restarts + 1:
            self._note("gone", f"{self._container} was restarted twice: the end of this log is lost")
            return
        try:
            yield from self._read_all(previous=now.identity != run.identity)
        except (BadRequestError, LogsGoneError) as gone:
            self._note("gone", f"the end of the log of {self._container} may be missing: {gone}")

    def _read_all(self, previous: bool) -> Iterator[LogLine]:
        """To the end of a log that is not followed, however often the connection breaks."""
        ended = False
        while not ended and not self._stop.is_set():
            ended = yield from self._lines(self._open(previous=previous), keep_tail=True)
            if not ended:
                self._stop.wait(CUT_S)

    # One answer

    def _open(self, follow: bool = False, previous: bool = False) -> Any:
        query = {"container": str(self._container.name), "timestamps": "true"}
        query |= {"follow": "true"} if follow else {}
        query |= {"previous": "true"} if previous else {}
        since_ns = self._recent.resume_ns()
        since_ns = self._since_ns if since_ns is None else since_ns
        query |= {"sinceTime": format_stamp(since_ns)} if since_ns is not None else {}
        request = Request("GET", self._container.path + "/log", query, read_limit_s=self._silence_s)
        return self._transport.open(request, self._stop, self._patience_s)

    def _lines(self, response: Any, keep_tail: bool) -> Generator[LogLine, None, bool]:
        """New lines of one answer. Returns whether it came to its proper end.

        A last line without a line end counts only with keep_tail: elsewhere it may be half a line, and comes again.
        """
        body = _Body(response)
        seen = self._recent.again()
        with contextlib.closing(response), self._stop.interrupting(response):
            for raw in body.lines():
                if self._stop.is_set():
                    return False
                line = _parsed(raw)
                if line.stamp_ns is None and self._is_error(line.text):
                    return False
                if not seen.repeated(*line) and self._wanted(line):
                    if seen.missing(line.stamp_ns) and self._restarted():
                        return False
                    self._look_for_late_start(line)
                    self._recent.add(*line)
                    yield line
        tail = _parsed(body.tail)
        if body.tail and tail.stamp_ns is None and self._is_error(tail.text):
            return False
        if keep_tail and body.tail and not seen.repeated(*tail) and self._wanted(tail):
            self._recent.add(*tail)
            yield tail
        return body.ended

    def _is_error(self, text: bytes) -> bool:
        """The node says what went wrong in the place of the log, with status 200."""
        if text.startswith(LOST_LOG):
            raise LogsGoneError(f"the node no longer has this log of {self._container}")
        failed = text.startswith(WATCHER_FAILED)
        if failed:
            self._stop.wait(POLL_S)
        return failed

    def _wanted(self, line: LogLine) -> bool:
        return self._since_ns is None or line.stamp_ns is None or line.stamp_ns >= self._since_ns

    def _restarted(self) -> bool:
        """Lines read before did not come again: was the log rotated, or is this another run's, told late by the API?"""
        if self._run is not None:
            self._stop.wait(SETTLE_S)
            if self._container.run().identity != self._run.identity:
                return True
        text = "the log was rotated while the connection was down: lines may be missing"
        self._note("rotated", text, self._recent.newest_ns)
        return False

    def _look_for_late_start(self, line: LogLine) -> None:
        started_ns = self._run.started_ns if self._run else None
        first = self._recent.newest_ns is None and self._since_ns is None
        if not first or started_ns is None or line.stamp_ns is None:
            return
        late_s = (line.stamp_ns - started_ns) / NS_PER_S
        if late_s > LATE_S:
            text = f"the first line is {late_s:.0f} s after the container's start: earlier ones may be rotated away"
            self._note("late", text, line.stamp_ns)

    def _note(self, kind: str, text: str, stamp_ns: int | None = None) -> None:
        self.notes.append(Note(kind, text, stamp_ns))


class _Body:
    """The lines of a body; `ended` tells a proper end from a cut, `tail` is what came after the last line end."""

    def __init__(self, response: Any):
        self._response = response
        self.ended, self.tail = False, b""

    def lines(self) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        parts: list[bytes] = []
        try:
            for data in chunks(self._response):
                first, *others = data.split(b"\n")
                parts.append(first)
                for rest in others:
                    yield b"".join(parts)
                    parts = [rest]
        except (HTTPError, OSError):
            return
        self.ended, self.tail = True, b"".join(parts)


def _parsed(raw: bytes) -> LogLine:
    # The form in which the kubelet writes nearly all: parse_stamp() would take most of the time.
    if raw[19:20] == b"." and raw[29:31] == b"Z " and raw[20:29].isdigit():
        second_ns = _second_ns(raw[:19])
        if second_ns is not None:
            return LogLine(second_ns + int(raw[20:29]), raw[31:])
    stamp, _, text = raw.partition(b" ")
    stamp_ns = parse_stamp(stamp.decode("ascii", "replace")) if len(stamp) <= LONGEST_STAMP else None
    return LogLine(None, raw) if stamp_ns is None else LogLine(stamp_ns, text)


@functools.lru_cache(maxsize=16)
def _second_ns(text: bytes) -> int | None:
    return parse_stamp(text.decode("ascii", "replace") + "Z")
