"""A batching server that shares nothing with the simulator: asyncio, text chunks, its own ideas of when to flush.

Runs in a process of its own. Its engine works in steps; what differs from the ideal can be switched on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import random
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Times in ms. jitter: share of each step's time; stall_every: steps between two stops of stall_ms; late_ms: half of the
    streams are flushed so much later than the others; context: per token that decodes look back on; chunk: prompt
    tokens in a step at most; multiple: tokens in an event; engines: that share the requests."""

    alpha: float = 12.0
    beta: float = 0.3
    gamma: float = 2.0
    delta: float = 0.02
    context: float = 0.0
    slots: int = 16
    chunk: int = 100_000
    jitter: float = 0.0
    late_ms: float = 0.0
    stall_every: int = 0
    stall_ms: float = 0.0
    multiple: int = 1
    engines: int = 1
    ghosts: int = 0  # sequences of another client that always decode


class Stream:
    def __init__(self, prompt: int, output: int) -> None:
        self.left, self.wanted, self.said, self.prompt = prompt, output, 0, prompt
        self.out: asyncio.Queue[int | None] = asyncio.Queue()


class Engine:
    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind, self.random = kind, random.Random(seed)
        self.waiting: list[Stream] = []
        self.running: list[Stream] = []
        self.steps = 0

    async def work(self) -> None:
        due = time.monotonic()
        while True:
            if not self.waiting and not self.running:
                await asyncio.sleep(0.0005)
                due = time.monotonic()
                continue
            while self.waiting and len(self.running) < self.kind.slots:
                self.running.append(self.waiting.pop(0))
            decoding = [one for one in self.running if not one.left]
            tokens = self._prefill()
            due = max(due, time.monotonic() - 0.05) + self._step_ms(decoding, tokens) / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._speak()

    def _prefill(self) -> int:
        room = self.kind.chunk
        for one in self.running:
            part = min(one.left, room)
            one.left, room = one.left - part, room - part
        return self.kind.chunk - room

    def _step_ms(self, decoding: list[Stream], tokens: int) -> float:
        kind = self.kind
        self.steps += 1
        step = kind.alpha + kind.beta * (len(decoding) + kind.ghosts)
        step += kind.context * sum(one.prompt + one.said for one in decoding)
        step += kind.gamma + kind.delta * tokens if tokens else 0.0
        step *= 1 + self.random.gauss(0, kind.jitter)
        if kind.stall_every and self.steps % kind.stall_every == 0:
            step += kind.stall_ms
        return step

    def _speak(self) -> None:
        for one in [one for one in self.running if not one.left]:
            one.said += 1
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
        answers = {
            "/v1/models": {"data": [{"id": "other"}]},
            "/server_info": {"a": {"max_num_seqs": self.kind.slots}},
        }
        known = answers.get(path.partition("?")[0])
        text = json.dumps(known or {}).encode()
        status = b"200 OK" if known else b"404 Not Found"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        await writer.drain()

    async def _complete(self, asked: dict, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        number = self.count
        stream = Stream(len(asked["prompt"]), asked["max_tokens"])
        self.engines[number % len(self.engines)].waiting.append(stream)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        held = 0
        while (token := await stream.out.get()) is not None:
            held += 1
            if held < self.kind.multiple and token < stream.wanted:
                continue
            if self.kind.late_ms and number % 2:
                await asyncio.sleep(self.kind.late_ms / 1000)
            self._event(writer, {"choices": [{"index": 0, "text": " w" * held, "token_ids": [7] * held}]})
            held = 0
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
