"""A batching server that shares nothing with the simulator: asyncio, text chunks, its own ideas of when to flush.

`other_server` runs it in a process of its own; `arrivals` runs its engines in virtual time, which no busy machine delays.
The engine works in steps; what differs from the ideal can be switched on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import random
import selectors
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from vllmperf.model.arrivals import Arrivals


@dataclass(frozen=True)
class Kind:
    """Times in ms. jitter: share of each step's time; stall_every: steps between two stops of stall_ms; context: per token
    that decodes look back on; chunk: prompt tokens in a step at most; multiple: tokens in an event; engines: that share
    the requests; ghosts: sequences of another client that always decode; others: sequences of another client that come
    and go, each with a prompt; separate: prompts are computed in steps of their own, in which nobody decodes; graph:
    decodes are padded to multiples of it; most_guessed: a step gives each sequence 1 to so many tokens; metrics: /metrics
    is answered."""

    alpha: float = 12.0
    beta: float = 0.3
    gamma: float = 2.0
    delta: float = 0.02
    context: float = 0.0
    slots: int = 16
    chunk: int = 100_000
    jitter: float = 0.0
    stall_every: int = 0
    stall_ms: float = 0.0
    multiple: int = 1
    engines: int = 1
    ghosts: int = 0
    others: int = 0
    separate: bool = False
    graph: int = 1
    most_guessed: int = 1
    metrics: bool = False


class Stream:
    def __init__(self, prompt: int, output: int) -> None:
        self.left, self.wanted, self.said, self.prompt = prompt, output, 0, prompt
        self.out: asyncio.Queue[int | None] = asyncio.Queue()


class Stranger(Stream):
    """Of another client: nobody here reads it."""

    def __init__(self, random: random.Random) -> None:
        super().__init__(random.randint(200, 400), random.randint(20, 80))


class Engine:
    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind, self.random = kind, random.Random(seed)
        self.waiting: list[Stream] = []
        self.running: list[Stream] = []
        self.steps = 0

    async def work(self) -> None:
        now = asyncio.get_running_loop().time
        due = now()
        while True:
            if not self.waiting and not self.running:
                await asyncio.sleep(0.0005)
                due = now()
                continue
            while self.waiting and len(self.running) < self.kind.slots:
                self.running.append(self.waiting.pop(0))
            self._invite()
            decoding = [one for one in self.running if not one.left]
            tokens = self._prefill()
            prompts = [one for one in self.running if one not in decoding and not one.left]
            if self.kind.separate and tokens:
                decoding = []
            due = max(due, now() - 0.05) + self._step_ms(decoding, tokens) / 1000
            await asyncio.sleep(max(0.0, due - now()))
            self._speak(decoding + prompts)

    def _invite(self) -> None:
        """Another client sends as many as it always has."""
        there = sum(isinstance(one, Stranger) for one in self.running)
        for _ in range(min(self.kind.others - there, self.kind.slots - len(self.running))):
            self.running.append(Stranger(self.random))

    def _prefill(self) -> int:
        room = self.kind.chunk
        for one in self.running:
            part = min(one.left, room)
            one.left, room = one.left - part, room - part
        return self.kind.chunk - room

    def _step_ms(self, decoding: list[Stream], tokens: int) -> float:
        kind = self.kind
        self.steps += 1
        sequences = -(-(len(decoding) + kind.ghosts) // kind.graph) * kind.graph
        step = 0.0 if kind.separate and tokens else kind.alpha + kind.beta * sequences
        step += kind.context * sum(one.prompt + one.said for one in decoding)
        step += kind.gamma + kind.delta * tokens if tokens else 0.0
        step *= 1 + self.random.gauss(0, kind.jitter)
        if kind.stall_every and self.steps % kind.stall_every == 0:
            step += kind.stall_ms
        return step

    def _speak(self, streams: list[Stream]) -> None:
        for one in streams:
            most = self.kind.most_guessed if one.said else 1
            one.said = min(one.said + self.random.randint(1, most), one.wanted)
            one.out.put_nowait(one.said)
            if one.said >= one.wanted:
                one.out.put_nowait(None)
                self.running.remove(one)


class Server:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.engines = [Engine(kind, seed) for seed in range(kind.engines)]
        self.count = 0

    async def serve(self, ready: object) -> None:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        await asyncio.gather(*(engine.work() for engine in self.engines))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(x.split(":")[1]) for x in head.splitlines() if "content-length" in x.lower()), 0
                )
                body = await reader.readexactly(length)
                await self._route(head.split()[1], body, writer)
        writer.close()

    async def _route(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/completions"):
            await self._complete(json.loads(body), writer)
            return
        answers: dict[str, object] = {
            "/v1/models": {"data": [{"id": "other"}]},
            "/server_info": {"a": {"max_num_seqs": self.kind.slots}},
        }
        if self.kind.metrics:
            answers["/metrics"] = self._metrics()
        known = answers.get(path.partition("?")[0])
        text = known.encode() if isinstance(known, str) else json.dumps(known or {}).encode()
        status = b"200 OK" if known else b"404 Not Found"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        await writer.drain()

    def _metrics(self) -> str:
        lines = (
            f'vllm:num_requests_running{{engine="{number}"}} {len(engine.running) + self.kind.ghosts}.0\n'
            for number, engine in enumerate(self.engines)
        )
        return "# TYPE vllm:num_requests_running gauge\n" + "".join(lines)

    async def tokens(self, stream: Stream) -> AsyncIterator[int]:
        """How many tokens each event of an answer carries, as they come."""
        self.count += 1
        self.engines[self.count % len(self.engines)].waiting.append(stream)
        held = said = 0
        while (token := await stream.out.get()) is not None:
            held, said = held + token - said, token
            if held >= self.kind.multiple or token >= stream.wanted:
                yield held
                held = 0

    async def _complete(self, asked: dict, writer: asyncio.StreamWriter) -> None:
        stream = Stream(len(asked["prompt"]), asked["max_tokens"])
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        async for held in self.tokens(stream):
            self._event(writer, {"choices": [{"index": 0, "text": " w" * held, "token_ids": [7] * held}]})
        usage = {"prompt_tokens": stream.prompt, "completion_tokens": stream.wanted, "total_tokens": 0}
        self._event(writer, {"choices": [], "usage": usage})
        self._event(writer, None)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    @staticmethod
    def _event(writer: asyncio.StreamWriter, data: dict | None) -> None:
        text = b"data: " + (b"[DONE]" if data is None else json.dumps(data).encode()) + b"\n\n"
        writer.write(b"%x\r\n" % len(text) + text + b"\r\n")


def _main(kind: Kind, ready: object) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Server(kind).serve(ready))


@contextlib.contextmanager
def other_server(kind: Kind):
    """Its base URL, while it runs."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(kind, there), daemon=True)
    process.start()
    try:
        if not here.poll(60):
            raise RuntimeError("the server did not start")
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join(10)


class _Skipping(selectors.SelectSelector):
    """Where everybody waits, the time has come."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        self.now += timeout or 0.0
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(selector := _Skipping())
        self.time = lambda: selector.now


def arrivals(kind: Kind, concurrency: int, prompt: int, output: int, seconds: float, seed: int) -> Arrivals:
    """What a client of a closed loop sees of it in so many virtual seconds; lengths are drawn within 20 %."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(_closed_loop(kind, concurrency, (prompt, output), seconds, seed))


async def _closed_loop(
    kind: Kind, concurrency: int, lengths: tuple[int, int], seconds: float, seed: int
) -> Arrivals:
    server, now, rng = Server(kind), asyncio.get_running_loop().time, np.random.default_rng(seed)
    engines = [asyncio.create_task(engine.work()) for engine in server.engines]
    requests: list[tuple[float, int]] = []
    chunks: list[tuple[float, int, int, int]] = []

    async def client() -> None:
        while now() < seconds:
            prompt, output = (int(mean * rng.uniform(0.8, 1.2)) for mean in lengths)
            number, place = len(requests), 0
            requests.append((now(), prompt))
            await asyncio.sleep(0.0005)
            async for held in server.tokens(Stream(prompt, output)):
                chunks.append((now() + rng.exponential(0.00005), number, place, held))
                place += 1

    await asyncio.gather(*(client() for _ in range(concurrency)))
    for engine in engines:
        engine.cancel()
    at, stream, place, held = map(np.array, zip(*sorted(chunks), strict=True))
    sent, prompts = map(np.array, zip(*requests, strict=True))
    first = np.zeros(len(requests))
    first[stream[place == 0]] = at[place == 0]
    return Arrivals(
        at_ns=at * 1e9,
        stream=stream,
        place=place,
        shared=np.zeros(len(at), dtype=bool),
        sent_ns=(sent * 1e9).astype(np.int64),
        first_ns=(first * 1e9).astype(np.int64),
        prompt_tokens=prompts,
        multiple=float(np.mean(held[place > 0] > 1)),
        tokens_per_chunk=float(np.mean(held[place > 0])),
    )
