"""Recorded responses of real servers (tests/data/recorded_streams), and what they say by plain Python."""

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "recorded_streams"


@dataclass(frozen=True)
class Stream:
    version: str
    name: str
    path: str
    request: dict[str, Any]
    response: bytes
    reads: list[int]

    @property
    def pieces(self) -> list[bytes]:
        """The body as it came: what each read of the socket added to it, without the chunk framing."""
        head = self.response.index(b"\r\n\r\n") + 4
        ends = list(accumulate(self.reads))
        whole = [dechunked(self.response[head:end]) for end in ends if end > head]
        starts = [0, *map(len, whole)]
        return [body[start:] for start, body in zip(starts, whole, strict=False)]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def is_cut(self) -> bool:
        return not self.body.endswith(b"data: [DONE]\n\n")


def dechunked(framed: bytes) -> bytes:
    body = b""
    while b"\r\n" in framed:
        size, _, framed = framed.partition(b"\r\n")
        body += framed[: int(size, 16)]
        framed = framed[int(size, 16) + 2 :]
    return body


def recorded() -> list[Stream]:
    streams = []
    for file in sorted(FOLDER.glob("*.jsonl.gz")):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            row = json.loads(line)
            row["response"] = row["response"].encode("latin-1")
            streams.append(Stream(version=file.name.removesuffix(".jsonl.gz"), **row))
    return streams


def objects(body: bytes) -> list[dict[str, Any]]:
    """The JSON of every whole event but [DONE]. vLLM writes one data line and LF LF, so splitting is enough."""
    texts = [event.removeprefix("data: ") for event in body.decode().split("\n\n")[:-1]]
    return [json.loads(text) for text in texts if text != "[DONE]"]


@dataclass(frozen=True)
class Said:
    texts: dict[int, str]
    finish_reasons: dict[int, str]
    ids: int | None
    usage: tuple[int, int] | None
    error: Any


def said(body: bytes) -> Said:
    """What a response says, straight from its JSON."""
    texts: dict[int, str] = defaultdict(str)
    reasons, ids, usage, error = {}, None, None, None
    for top in objects(body):
        error = top.get("error", error)
        if top.get("usage"):
            usage = (top["usage"]["prompt_tokens"], top["usage"]["completion_tokens"])
        for choice in top.get("choices", []):
            source = choice.get("delta", choice)
            texts[choice["index"]] += source.get("content") or source.get("text") or ""
            if choice["finish_reason"]:
                reasons[choice["index"]] = choice["finish_reason"]
            if choice.get("token_ids") is not None:
                ids = (ids or 0) + len(choice["token_ids"])
    return Said(dict(texts), reasons, ids, usage, error)
