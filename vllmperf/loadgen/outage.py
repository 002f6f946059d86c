"""A server that goes while it is loaded: what its requests count as, and how long to wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.errors import SettingError, TargetError
from vllmperf.loadgen.session import Subscriber, Turn
from vllmperf.loadgen.subscribers import PAUSED
from vllmperf.loadgen.task import Task
from vllmperf.plan.knobs import patience_s
from vllmperf.record.batches import joined, picked
from vllmperf.target import AnswerError, Client, client_of

RECORD = np.dtype(_engine.RECORD_DTYPE)
Records = NDArray[np.void]
Flags = NDArray[np.bool_]


def _numbers(*names: str) -> list[int]:
    return [_engine.OUTCOMES.index(name) for name in names]


UNREACHED = _numbers("refused", "dns_failed", "connect_timeout", "tls_failed")
"""Outcomes of requests that no server has seen."""
BROKEN = _numbers("reset", "truncated", "first_token_timeout", "stalled")
HTTP_ERROR, INCOMPLETE, RESET = _numbers("http_error", "incomplete", "reset")
NO_FIRST_TOKEN, STALLED = _numbers("first_token_timeout", "stalled")
GONE = (500, 502, 503, 504)
"""What a gateway says of a server that is gone, and vLLM's front end of an engine that died."""
NO_SUCH_PAGE = (404, 405)
ANSWER_S = 10.0
LOOK_S = 1.0


# ---- waiting ----


class Patience:
    """Of a run that waits for its server. limit_s: how long; infinity: as long as it takes."""

    def __init__(self, task: Task, limit_s: float) -> None:
        self.limit_s = limit_s
        self._clients = [client_of(one, task.credentials) for one in task.plan.target.each]

    def is_there(self) -> bool:
        """Whether all servers of the run are ready."""
        return all(map(_is_ready, self._clients))

    def wait(self, is_over: Callable[[], object] = lambda: False) -> bool:
        """Until they are; False after limit_s, and as soon as `is_over` says so."""
        deadline_s = time.monotonic() + self.limit_s
        while not self.is_there():
            if time.monotonic() >= deadline_s or is_over():
                return False
            time.sleep(LOOK_S)
        return True

    def wait_for_start(self) -> None:
        """Raises TargetError when they are not ready within limit_s."""
        if not self.wait():
            names = ", ".join(client.base_url for client in self._clients)
            raise TargetError(
                f"{names} was not ready within {self.limit_s:g} s: raise --on-server-loss wait:T"
            )


def patience(task: Task) -> Patience | None:
    """None for a task that records what fails, and goes on. Raises SettingError for a run that cannot be resumed."""
    limit_s = patience_s(task.knobs.on_server_loss)
    if limit_s is None or task.plan.target.simulator is not None:
        return None
    if task.plan.load.until is not None:
        raise SettingError(
            "{on_server_loss} wait does not go with {until}: its checks are those of one piece"
        )
    if task.plan.workload.dataset.conversations is not None:
        raise SettingError(
            "{on_server_loss} wait does not go with {dataset_name} {name}: its sessions need the answers that they had",
            name=task.plan.workload.dataset_name,
        )
    return Patience(task, limit_s)


def _is_ready(client: Client) -> bool:
    """By /health, and of servers without one by the list of models."""
    for path in ("/health", "/v1/models"):
        try:
            client.get(path, timeout_s=ANSWER_S)
            return True
        except AnswerError as error:
            if error.status not in NO_SUCH_PAGE:
                return False
    return True


class ServerProbe:
    """Asks once whether the server is there, in a thread of its own: a session must not wait for the answer."""

    def __init__(self, is_there: Callable[[], bool]) -> None:
        self._is_there, self._found = is_there, True
        self._thread = threading.Thread(target=self._ask, name="is the server there", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        self._found = self._is_there()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> bool:
        self._thread.join()
        return self._found


# ---- counting ----


class LossGuard:
    """Stands between a session and its subscribers. A failure that may mean a lost server makes it look; requests whose
    connection nobody accepted are held back until it knows. If the server is there, they are failures as any other. If it is
    gone, no more is sent, those requests were never sent, and what was in flight counts with the outcome that it got.

    from_ns: the time of the run at which this part of it begins.
    """

    def __init__(
        self, is_there: Callable[[], bool], subscribers: Sequence[Subscriber], from_ns: int = 0
    ) -> None:
        self._is_there, self._subscribers, self._from_ns = is_there, list(subscribers), from_ns
        self._probe: ServerProbe | None = None
        self._held: list[_engine.Batch] = []
        self._since_ns: int | None = None
        self.is_lost = self.has_paused = False
        self.not_sent = 0

    def __call__(self, turn: Turn) -> None:
        batch = self._settled(turn)
        if turn.state == "running":
            self._give(turn._replace(batch=batch))
            return
        if batch["records"]:  # what was held until now; the last turn is empty
            self._give(turn._replace(batch=batch, state="running"))
        # Nobody stopped it but this, or a limit of failures, which requests reached that were never sent.
        self.has_paused = self.is_lost and (turn.state == "finished" or turn.counters["gave_up"] is not None)
        self._give(self._paused(turn) if self.has_paused else turn)

    def _paused(self, turn: Turn) -> Turn:
        lost = {"at_ns": self._from_ns + (self._since_ns or 0), "not_sent": self.not_sent}
        counters = {**turn.counters, "gave_up": None, "server_lost": lost}
        return turn._replace(counters=cast("_engine.Counters", counters), state=PAUSED)

    def _give(self, turn: Turn) -> None:
        for subscriber in self._subscribers:
            subscriber(turn)

    def _settled(self, turn: Turn) -> _engine.Batch:
        """What the subscribers get now."""
        batch = turn.batch
        records = np.frombuffer(batch["records"], dtype=RECORD)
        suspect = _is_suspect(records)
        if suspect.any() and not self.is_lost:
            first = int(records["end_ns"][suspect].min())
            self._since_ns = first if self._since_ns is None else min(self._since_ns, first)
            self._probe = self._probe or ServerProbe(self._is_there)
        kept_back = np.isin(records["outcome"], UNREACHED)
        if kept_back.any():
            self._held.append(picked(batch, kept_back))
            batch = picked(batch, ~kept_back)
        if self._probe is not None and (self._probe.is_over or turn.state != "running"):
            self._learn(self._probe.wait(), turn)
        if self.is_lost:
            return _with_outcomes(joined([*self._reached(), batch]))
        if self._probe is None and self._held:
            batch = joined([*self._held, batch])
            self._held = []
        return batch

    def _learn(self, is_there: bool, turn: Turn) -> None:
        self._probe = None
        if is_there:
            self._since_ns = None
        else:
            self.is_lost = True
            turn.end()

    def _reached(self) -> list[_engine.Batch]:
        """Of what was held: requests that had been sent before, on a connection that broke. The others were never sent."""
        held, self._held = self._held, []
        flags = [_never_reached(np.frombuffer(one["records"], dtype=RECORD)) for one in held]
        self.not_sent += sum(int(never.sum()) for never in flags)
        return [picked(one, ~never) for one, never in zip(held, flags, strict=True)]


def _is_suspect(records: Records) -> Flags:
    outcome = records["outcome"]
    by_gateway = (outcome == HTTP_ERROR) & np.isin(records["status"], GONE)
    found: Flags = np.isin(outcome, UNREACHED + BROKEN) | by_gateway
    return found


def _never_reached(records: Records) -> Flags:
    """No server accepted a connection for them. One that was tried again had been sent before, on a connection that broke."""
    found: Flags = np.isin(records["outcome"], UNREACHED) & (records["retries"] == 0)
    return found


def _with_outcomes(batch: _engine.Batch) -> _engine.Batch:
    """Of a lost server: what was in flight is over, whatever the client still hoped for. So that it is not sent again, a request
    that was tried again in vain is `reset`, and one that was cut after waiting has the time-out that it waits for."""
    records = np.frombuffer(batch["records"], dtype=RECORD).copy()
    outcome = records["outcome"]
    is_cut = (outcome == INCOMPLETE) & (records["sent_ns"] != _engine.NONE)
    has_begun = records["first_token_ns"] != _engine.NONE
    outcome[np.isin(outcome, UNREACHED)] = RESET
    outcome[is_cut] = np.where(has_begun[is_cut], STALLED, NO_FIRST_TOKEN)
    return {**batch, "records": records.tobytes()}
