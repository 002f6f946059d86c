"""Against what vLLM 0.32.0 answered: recorded/NAME.http are its raw bytes, NAME.req.* what was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Reply, Wire, request

from vllmperf.sim import Server

RECORDED = Path(__file__).parent / "recorded"
INDEX = {row["name"]: row for row in map(json.loads, (RECORDED / "index.jsonl").read_text().splitlines())}
NAMES = sorted(path.stem for path in RECORDED.glob("*.http"))
# Errors whose texts hold nothing that depends on the tokenizer or on the model.
SAME_BYTES = [name for name in NAMES if name.startswith("error_")] + ["get_version", "get_ping", "get_load"]
BODIES = [name for name in NAMES if "plain" in name or "tokenize" in name] + ["get_models"]


class Replay(Wire):
    """Recorded bytes in place of a connection."""

    def __init__(self, data: bytes) -> None:
        self.came, self.at = data, 0

    def more(self) -> bool:
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(
        ttft_ms=1, itl_ms=0.1, model="tiny", max_model_len=2048, vocab_size=4096, close_connections=True
    ) as server:
        yield server


def recorded(name: str) -> Reply:
    return Replay((RECORDED / f"{name}.http").read_bytes()).reply()


def answered(server: Server, name: str) -> Reply:
    row = INDEX[name]
    files = list(RECORDED.glob(f"{name}.req.*"))
    body = files[0].read_bytes() if files else None
    headers = {"content-type": "text/plain"} if name == "error_content_type" else {}
    if name == "request_id_header":
        headers = {"x-request-id": "my-request-1"}
    with Wire(server.port) as wire:
        wire.send(request(row["method"], row["path"], body, headers))
        return wire.reply()


def shape(value: Any, key: str = "") -> Any:
    """What of a JSON value does not depend on the model: keys in their order, types, and finish reasons."""
    if isinstance(value, dict):
        if key == "top_logprobs" and all(isinstance(number, (int, float)) for number in value.values()):
            return "numbers by token"
        return [(k, shape(v, k)) for k, v in value.items()]
    if isinstance(value, list):
        return [shape(value[0], key)] if value else []
    if key in ("finish_reason", "role", "object", "owned_by", "type"):
        return value
    kind = type(value).__name__
    return "number" if kind in ("int", "float") else kind


def event_shapes(reply: Reply) -> list[Any]:
    """Shapes of the events in their order, each run of equal ones once, choices taken as one."""
    shapes: list[Any] = []
    for data in reply.data:
        value = json.loads(data) if data != "[DONE]" else data
        found = shape(value)
        if found not in shapes:
            shapes.append(found)
    return shapes


def constant_headers(reply: Reply) -> list[tuple[str, str]]:
    changing = {"date", "content-length", "x-request-id"}
    return [(name, "" if name in changing else value) for name, value in reply.headers]


@pytest.mark.parametrize("name", NAMES)
def test_heads_are_those_of_vllm(server: Server, name: str) -> None:
    ours, theirs = answered(server, name), recorded(name)
    assert ours.status == theirs.status
    assert constant_headers(ours) == constant_headers(theirs)
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", ours.header("date") or "")


@pytest.mark.parametrize("name", SAME_BYTES)
def test_errors_are_those_of_vllm_byte_for_byte(server: Server, name: str) -> None:
    assert answered(server, name).body == recorded(name).body


@pytest.mark.parametrize("name", [n for n in NAMES if "stream" in n and not n.startswith("error_")])
def test_events_have_the_keys_of_vllm_in_its_order(server: Server, name: str) -> None:
    assert event_shapes(answered(server, name)) == event_shapes(recorded(name))


@pytest.mark.parametrize("name", BODIES)
def test_bodies_have_the_keys_of_vllm_in_its_order(server: Server, name: str) -> None:
    assert shape(answered(server, name).json) == shape(recorded(name).json)


@pytest.mark.parametrize("name", ["completions_stream_usage", "chat_stream_usage"])
def test_each_event_is_one_chunk_ended_by_an_empty_line(server: Server, name: str) -> None:
    for reply in (answered(server, name), recorded(name)):
        assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in reply.chunks)
        assert all(chunk.count(b"\n\n") == 1 for chunk in reply.chunks)


def test_usage_of_a_recorded_request_counts_what_it_asked_for(server: Server) -> None:
    reply = answered(server, "completions_stream_usage")
    assert reply.events[-1]["usage"]["completion_tokens"] == 32 == len(reply.tokens)


def test_the_clients_request_id_comes_back_in_header_and_body(server: Server) -> None:
    ours, theirs = answered(server, "request_id_header"), recorded("request_id_header")
    assert ours.header("x-request-id") == theirs.header("x-request-id") == "my-request-1"
    assert ours.events[0]["id"] == theirs.events[0]["id"] == "cmpl-my-request-1"
