"""Hands requests to the engine as the users become free, and remembers what each asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vllmperf.dropin.llm_bench import providers
from vllmperf.dropin.llm_bench.answers import Answer
from vllmperf.dropin.llm_bench.lengths import Lengths
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.dropin.llm_bench.pacing import Pacing, Send
from vllmperf.dropin.llm_bench.prompts import prompts
from vllmperf.dropin.llm_bench.target import Target
from vllmperf.loadgen.session import Block

LEAST_AHEAD, MOST_AHEAD = 64, 1024
AHEAD_BYTES = 16 << 20
AHEAD_S = 1.0
AHEAD_OF_LAST = 4
"""The backlog is at least this many times what was taken since the last look."""
BLOCK = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked for. body: kept only where it is to be shown."""

    due_s: float
    max_tokens: int
    prompt_tokens: int | None
    body: bytes | None = None


class Sender:
    """Makes the requests. Raises UsageError at once for prompts that cannot be made.

    late_s: of the last blocks(), how late those were whose time had passed when a user took them.
    """

    def __init__(self, options: Options, pacing: Pacing, generator: random.Random) -> None:
        self._options, self._pacing, self._generator = options, pacing, generator
        self._lengths = lengths(options)
        self._prompts = prompts(options, generator)
        self._ahead: Iterator[float] | None = None
        self._fed = self._fed_bytes = self._backlog = 0
        self._due_s = 0.0
        self.late_s: list[float] = []
        self.asked: dict[int, Asked] = {}

    @property
    def follows_users(self) -> bool:
        """Users are told apart still: blocks() must be asked often."""
        return self._ahead is None

    def freed(self, answers: Sequence[Answer]) -> None:
        """These requests have ended. Call before blocks(), and before their entries in `asked` are dropped."""
        if self._ahead is None:
            for answer in answers:
                self._pacing.freed(self.asked[answer.index].due_s, answer.end_s)

    def blocks(self, target: Target, now_s: float, backlog: int) -> Iterator[Block]:
        """What is due soon, so many requests being with the engine already."""
        self.late_s = []
        if self._ahead is None:
            sends = sorted(self._pacing.take(now_s), key=lambda send: send.due_s)
            self.late_s = [send.late_s for send in sends if send.late_s > 0]
            if sends:
                yield self._block(target, sends)
            self._ahead = self._pacing.ahead(now_s)
        if self._ahead is not None:
            yield from self._top_up(target, self._ahead, now_s, backlog)

    def _top_up(self, target: Target, ahead: Iterator[float], now_s: float, backlog: int) -> Iterator[Block]:
        most = max(self._most_ahead(), AHEAD_OF_LAST * (self._backlog - backlog))
        while backlog < most and self._due_s < now_s + AHEAD_S:
            sends = [Send(next(ahead)) for _ in range(min(BLOCK, most - backlog))]
            yield self._block(target, sends)
            backlog += len(sends)
        self._backlog = backlog

    def _most_ahead(self) -> int:
        fitting = AHEAD_BYTES * self._fed // max(1, self._fed_bytes)
        return max(LEAST_AHEAD, min(MOST_AHEAD, fitting))

    def _block(self, target: Target, sends: list[Send]) -> Block:
        bodies = [self._body(target, send.due_s) for send in sends]
        self._fed_bytes += sum(map(len, bodies))
        self._due_s = sends[-1].due_s
        return Block(bodies, np.rint(np.asarray([send.due_s for send in sends]) * 1e9).astype(np.int64))

    def _body(self, target: Target, due_s: float) -> bytes:
        max_tokens = self._lengths.sample(self._generator)
        prompt, tokens = next(self._prompts)
        body = providers.body(target.provider, self._options, target.model, prompt, max_tokens)
        shown = body if self._options.show_request else None
        self.asked[self._fed] = Asked(due_s, max_tokens, tokens, shown)
        self._fed += 1
        return body


def lengths(options: Options) -> Lengths:
    """How many tokens the requests ask for."""
    return Lengths(
        options.max_tokens_distribution, options.max_tokens, options.max_tokens_cap, options.max_tokens_range
    )
