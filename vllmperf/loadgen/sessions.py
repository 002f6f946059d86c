"""The source of runs with conversations: a turn is sent when the answer before it has come, so the load is closed by session."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

import numpy as np

import vllmperf._engine as _engine
from vllmperf.datasets import Prompt
from vllmperf.loadgen.bodies import Body, renderer
from vllmperf.loadgen.session import Block, Turn
from vllmperf.loadgen.talks import Talk, talks
from vllmperf.plan import Plan
from vllmperf.record.batches import texts_of

POLL_S = 0.002
"""A turn leaves up to this long after the answer before it."""
NS = 1_000_000_000
COMPLETED = _engine.OUTCOMES.index("completed")
UNKNOWN = (None, None)
OVER = ("draining", "ended")
Asked = tuple[int | None, ...]


class SessionFeeder:
    """At most so many sessions at once; when one ends, the next one begins. A session whose answer failed ends there.

    The engine has no limit of its own then: its threads share a limit out, and a session could wait for another one's answer.
    Raises UsageError for bad data, at the first more().
    """

    n, is_timed, wait_s = None, False, POLL_S

    def __init__(self, plan: Plan, model: str) -> None:
        self._talks = talks(plan)
        self._rendered: Callable[[Prompt], Body] = renderer(plan, model)
        self._at_once = plan.load.max_concurrency or plan.load.num_prompts or 1
        self._think_ns = round(plan.load.think_time * NS)
        self._open: dict[int, tuple[int, Talk]] = {}  # by the number of the request that is out
        self._due: list[tuple[int, int, Talk]] = []  # (ns after the start, session, its talk)
        self._asked: dict[int, Asked] = {}
        self._begun = self._fed = 0
        self._has_all = self.ended = False

    def asked(self, indexes: Iterable[int]) -> list[Asked]:
        """What stands beside the records of these requests, in the order of record.fields.ASKED; once, as of Feeder."""
        return [self._asked.pop(index, UNKNOWN) for index in indexes]

    def more(self, turn: Turn) -> Iterator[Block]:
        """The turns that may leave now."""
        self._hear(turn)
        if turn.counters["state"] in OVER:
            return
        ready = self._ready(turn.elapsed_ns)
        if ready:
            yield self._block(ready)
        is_over = (self._has_all and not self._open) or self._is_lost(turn)
        self.ended = is_over and not ready and not self._due

    def _hear(self, turn: Turn) -> None:
        records = np.frombuffer(turn.batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
        for record, text in zip(records, texts_of(turn.batch), strict=True):
            session, talk = self._open.pop(int(record["index"]))
            if record["outcome"] == COMPLETED and talk.turn < talk.n:
                talk.hear(text)
                heapq.heappush(self._due, (int(record["end_ns"]) + self._think_ns, session, talk))

    def _ready(self, now_ns: int) -> list[tuple[int, Talk]]:
        found = []
        while self._due and (self._due[0][0] <= now_ns or not self._think_ns):
            _, session, talk = heapq.heappop(self._due)
            found.append((session, talk))
        while not self._has_all and len(self._open) + len(self._due) + len(found) < self._at_once:
            fresh = next(self._talks, None)
            if fresh is None:
                self._has_all = True
            else:
                found.append((self._begun, fresh))
                self._begun += 1
        return found

    def _block(self, ready: list[tuple[int, Talk]]) -> Block:
        bodies = []
        for session, talk in ready:
            turn, body = talk.turn, self._rendered(talk.next())
            self._asked[self._fed] = (body.prompt_tokens, body.output_tokens, session, turn, talk.n)
            self._open[self._fed] = (session, talk)
            self._fed += 1
            bodies.append(body.data)
        return Block(bodies, sessions=np.array([session for session, _ in ready], dtype=np.int64))

    def _is_lost(self, turn: Turn) -> bool:
        """Results that there was no memory for will not come: their sessions cannot go on."""
        counters = turn.counters
        return bool(counters["lost"]) and counters["in_flight"] + counters["backlog"] == 0
