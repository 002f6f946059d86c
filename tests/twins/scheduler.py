"""Continuous batching, slow and obvious: lists that are searched, prefixes that are compared token by token.

The rules are those of docs/simulator.md; there is no noise and there are no graph sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Token = tuple[Any, ...]


@dataclass
class Block:
    holders: int = 0
    content: tuple[Token, ...] | None = None  # all tokens up to its end


@dataclass
class Request:
    number: int
    priority: int
    arrival_ns: int
    prompt: list[Token]
    output: int
    said: list[Token] = field(default_factory=list)
    computed: int = 0
    now: int = 0  # tokens in this step
    blocks: list[Block] = field(default_factory=list)
    cached: int = 0
    preemptions: int = 0
    scheduled_ns: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None

    @property
    def tokens(self) -> list[Token]:
        return self.prompt + self.said

    @property
    def missing(self) -> int:
        return len(self.tokens) - self.computed


class Engine:
    """Settings as vllmperf.sim.config has them, all given."""

    def __init__(self, settings: dict[str, Any], requests: list[Request]) -> None:
        self.settings = settings
        self.size = settings["block_size"]
        self.unheld = [Block() for _ in range(settings["num_gpu_blocks"])]  # the one to take next is first
        self.known: list[Block] = []  # those with a content, in the order in which they got it
        self.coming = requests
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.steps: list[dict[str, int]] = []

    # ---- blocks ----

    def find(self, content: tuple[Token, ...]) -> Block | None:
        return next((block for block in reversed(self.known) if block.content == content), None)

    def prefix(self, request: Request) -> list[Block]:
        found: list[Block] = []
        if not self.settings["enable_prefix_caching"]:
            return found
        for end in range(self.size, len(request.tokens), self.size):
            block = self.find(tuple(request.tokens[:end]))
            if block is None:
                break
            found.append(block)
        return found

    def take(self, request: Request, tokens: int) -> bool:
        """Blocks for so many tokens in all."""
        more = -(-tokens // self.size) - len(request.blocks)
        if more > len(self.unheld):
            return False
        for _ in range(max(0, more)):
            block = self.unheld.pop(0)
            self.known = [other for other in self.known if other is not block]
            block.holders, block.content = 1, None
            request.blocks.append(block)
        return True

    def seal(self, request: Request) -> None:
        if not self.settings["enable_prefix_caching"]:
            return
        for i in range(request.computed // self.size, (request.computed + request.now) // self.size):
            if request.blocks[i].content is None:
                request.blocks[i].content = tuple(request.tokens[: (i + 1) * self.size])
                self.known.append(request.blocks[i])

    def release(self, request: Request) -> None:
        while request.blocks:
            block = request.blocks.pop()
            block.holders -= 1
            if block.holders == 0:
                self.unheld.append(block)

    # ---- a step ----

    def order(self, request: Request) -> tuple[int, int]:
        return (request.priority, request.number)

    def preempt(self) -> Request:
        by_priority = self.settings["scheduling_policy"] == "priority"
        out = max(self.running, key=self.order) if by_priority else self.running[-1]
        self.running.remove(out)
        self.release(out)
        out.computed, out.now = 0, 0
        out.preemptions += 1
        self.waiting.insert(0, out)
        if by_priority:
            self.waiting.sort(key=self.order)
        return out

    @property
    def budget(self) -> int:
        return int(self.settings["max_num_batched_tokens"]) - sum(request.now for request in self.running)

    def schedule_running(self) -> int:
        preempted = 0
        for request in list(self.running):
            if self.budget <= 0:
                break
            if request not in self.running:
                continue
            tokens = min(request.missing, self.budget)
            while not self.take(request, request.computed + tokens):
                preempted += 1
                if self.preempt() is request:
                    return preempted
            request.now = tokens
            self.seal(request)
        return preempted

    def admit(self, request: Request, now_ns: int) -> bool:
        found = self.prefix(request)
        computed = len(found) * self.size
        tokens = len(request.tokens) - computed
        if tokens > self.budget and not self.settings["enable_chunked_prefill"]:
            return False
        tokens = min(tokens, self.budget)
        free = [block for block in self.unheld if not any(block is other for other in found)]
        if -(-(computed + tokens) // self.size) - len(found) > len(free):
            return False
        self.unheld = free
        for block in found:
            block.holders += 1
        request.blocks = found
        self.take(request, computed + tokens)
        request.computed, request.now = computed, tokens
        if request.preemptions == 0:
            request.scheduled_ns, request.cached = now_ns, computed
        self.waiting.remove(request)
        self.running.append(request)
        self.seal(request)
        return True

    def schedule_waiting(self, now_ns: int) -> int:
        admitted = 0
        while self.waiting and self.budget > 0 and len(self.running) < self.settings["max_num_seqs"]:
            if not self.admit(self.waiting[0], now_ns):
                break
            admitted += 1
        return admitted

    def work(self) -> dict[str, int]:
        batch = [request for request in self.running if request.now]
        decodes = [request for request in batch if request.said and request.missing == 1]
        prefills = [request for request in batch if request not in decodes]
        return {
            "decodes": len(decodes),
            "decode_context": sum(len(request.tokens) for request in decodes),
            "prefills": len(prefills),
            "prefill_tokens": sum(request.now for request in prefills),
            "prefill_attention": sum(
                position + 1
                for request in prefills
                for position in range(request.computed, request.computed + request.now)
            ),
        }

    def duration_ns(self, work: dict[str, int]) -> int:
        law = self.settings
        ms = law["alpha_ms"] + law["beta_ms"] * work["decodes"] + law["kv_ms"] * work["decode_context"]
        if work["prefill_tokens"]:
            ms += law["gamma_ms"] + law["delta_ms"] * work["prefill_tokens"]
            ms += law["attention_ms"] * work["prefill_attention"]
        return round(ms * 1e6)

    def step(self, now_ns: int) -> int:
        """The end of the step that begins now."""
        preempted, admitted = 0, 0
        while not any(request.now for request in self.running):
            more = self.schedule_running()
            preempted += more
            admitted += 0 if more else self.schedule_waiting(now_ns)
        work = self.work()
        end_ns = now_ns + self.duration_ns(work)
        self.steps.append(
            work
            | {
                "start_ns": now_ns,
                "end_ns": end_ns,
                "running": len(self.running),
                "waiting": len(self.waiting),
            }
            | {"admitted": admitted, "preempted": preempted}
            | {"used_blocks": self.settings["num_gpu_blocks"] - len(self.unheld)}
        )
        for request in list(self.running):
            self.finish(request, end_ns)
        return end_ns

    def finish(self, request: Request, end_ns: int) -> None:
        computed, request.now = request.now, 0
        request.computed += computed
        if not computed or request.missing:
            return
        request.said.append(("said", request.number, len(request.said)))
        request.first_ns = request.first_ns if len(request.said) > 1 else end_ns
        request.last_ns = end_ns
        if len(request.said) == request.output:
            self.running.remove(request)
            self.release(request)

    def run(self) -> None:
        now_ns = 0
        while self.coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                now_ns = max(now_ns, self.coming[0].arrival_ns)
            while self.coming and self.coming[0].arrival_ns <= now_ns:
                self.waiting.append(self.coming.pop(0))
                if self.settings["scheduling_policy"] == "priority":
                    self.waiting.sort(key=self.order)
            now_ns = self.step(now_ns)
