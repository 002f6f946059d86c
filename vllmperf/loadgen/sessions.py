"""The source of runs with conversations: a turn is sent when the answer before it has come, so the load is closed by session."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

import vllmperf._engine as _engine
from vllmperf.datasets import Prompt
from vllmperf.loadgen.bodies import Body, renderer
from vllmperf.loadgen.session import Block, Turn
from vllmperf.loadgen.talks import Messages, Talk, talks
from vllmperf.plan import Plan
from vllmperf.record.batches import texts_of

POLL_S = 0.002
"""A turn leaves up to this long after the answer before it."""
NS = 1_000_000_000
COMPLETED = _engine.OUTCOMES.index("completed")
UNKNOWN = (None, None)
OVER = ("draining", "ended")
Asked = tuple[int | None, ...]
AnyTalk = Talk[str] | Talk[Messages]


class Next(NamedTuple):
    """A turn that may leave from due_ns on, after the start."""

    due_ns: int
    session: int
    turn: int


class SessionFeeder:
    """At most so many sessions at once; when one ends, the next one begins. A session whose answer failed sends nothing more.

    turnaround: how much later than they might have turns behind answers left, in ns. The engine has no limit of its own: its
    threads share a limit out, and a session could wait for another one's answer. Raises UsageError for bad data, at the first
    more().
    """

    n, is_timed, wait_s = None, False, POLL_S

    def __init__(self, plan: Plan, model: str) -> None:
        self.turnaround = _engine.Histogram()
        self._talks = talks(plan)
        self._rendered: Callable[[Prompt], Body] = renderer(plan, model)
        self._at_once = plan.load.max_concurrency or plan.load.num_prompts or 1
        self._think_s = plan.load.think_time
        self._live: dict[int, AnyTalk] = {}  # sessions that go on
        self._pending: dict[int, int] = {}  # turns of each that are out or due
        self._open: dict[int, Next] = {}  # by the number of the request that is out
        self._due: list[Next] = []
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
        self._begin()
        ready = self._ready(turn.elapsed_ns)
        if ready:
            yield self._block(ready)
        is_over = (self._has_all and not self._open) or self._is_lost(turn)
        self.ended = is_over and not ready and not self._due

    def _hear(self, turn: Turn) -> None:
        """In the order of their ends: the last answer that a turn waits for says when it may leave."""
        records = np.frombuffer(turn.batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE))
        texts = list(texts_of(turn.batch))
        for row in np.argsort(records["end_ns"], kind="stable").tolist():
            self._take(records[row], texts[row])

    def _take(self, record: np.void, text: str) -> None:
        asked = self._open.pop(int(record["index"]))
        if asked.due_ns and record["sent_ns"] != _engine.NONE:
            self.turnaround.add(max(0, int(record["sent_ns"]) - asked.due_ns))
        talk = self._live.get(asked.session)
        if talk is not None and record["outcome"] != COMPLETED:
            self._give_up(asked.session)
        elif talk is not None:
            for turn in talk.hear(asked.turn, text):
                wait_s = talk.wait_s(turn)
                wait_ns = round((self._think_s if wait_s is None else wait_s) * NS)
                self._plan(Next(int(record["end_ns"]) + wait_ns, asked.session, turn))
        self._done(asked.session)

    def _give_up(self, session: int) -> None:
        """Nothing more of it is sent; what is out goes on."""
        del self._live[session]
        kept = [each for each in self._due if each.session != session]
        self._pending[session] -= len(self._due) - len(kept)
        self._due = kept
        heapq.heapify(self._due)

    def _plan(self, following: Next) -> None:
        self._pending[following.session] = self._pending.get(following.session, 0) + 1
        heapq.heappush(self._due, following)

    def _done(self, session: int) -> None:
        """A turn of it is over, and whatever followed is planned."""
        self._pending[session] -= 1
        if not self._pending[session]:
            del self._pending[session]
            self._live.pop(session, None)

    def _begin(self) -> None:
        while not self._has_all and len(self._pending) < self._at_once:
            talk = next(self._talks, None)
            if talk is None:
                self._has_all = True
                return
            self._live[self._begun] = talk
            for turn in talk.first():
                self._plan(Next(0, self._begun, turn))
            self._begun += 1

    def _ready(self, now_ns: int) -> list[Next]:
        found = []
        while self._due and self._due[0].due_ns <= now_ns:
            found.append(heapq.heappop(self._due))
        return found

    def _block(self, ready: list[Next]) -> Block:
        bodies = []
        for each in ready:
            talk = self._live[each.session]
            body = self._rendered(talk.prompt(each.turn))
            self._asked[self._fed] = (body.prompt_tokens, body.output_tokens, each.session, each.turn, talk.n)
            self._open[self._fed] = each
            self._fed += 1
            bodies.append(body.data)
        return Block(bodies, sessions=np.array([each.session for each in ready], dtype=np.int64))

    def _is_lost(self, turn: Turn) -> bool:
        """Results that there was no memory for will not come: their sessions cannot go on."""
        counters = turn.counters
        return bool(counters["lost"]) and counters["in_flight"] + counters["backlog"] == 0
