"""When the head of an answer comes. Clients in Go before 1.21, and caddy 2.6 made of them, break a request off whose head
comes in the moment between their last byte and their knowing that it was the last."""

from __future__ import annotations

import json
import select
import time
from pathlib import Path
from typing import Any

import pytest
from wire import Wire, request

from vllmperf.sim import Server

COMPLETE = {"prompt": "a", "max_tokens": 3, "stream": True}
BATCHING = {"mode": "batching", "alpha_ms": 0.5, "beta_ms": 0}


def truth_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if "request_id" in line]


def run(tmp_path: Path, **settings: Any) -> tuple[float, dict[str, Any]]:
    """ms from the request to the head, as the server tells, and all that it tells."""
    path = tmp_path / "truth"
    with Server(truth=str(path), **settings) as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", COMPLETE))
        assert len(wire.reply().tokens) == 3
    (row,) = truth_of(path)
    return (row["head_mono_ns"] - row["read_mono_ns"]) / 1e6, row


def test_the_head_comes_some_ms_after_the_request(tmp_path: Path) -> None:
    head_ms, row = run(tmp_path, ttft_ms=60, itl_ms=1)
    assert head_ms >= 4
    assert row["head_mono_ns"] < row["written_mono_ns"][0]
    assert all(at >= due for at, due in zip(row["written_mono_ns"], row["planned_mono_ns"], strict=True))


@pytest.mark.parametrize("mode", [{"ttft_ms": 1, "itl_ms": 1}, BATCHING])
def test_it_does_not_come_after_the_first_token(tmp_path: Path, mode: dict[str, Any]) -> None:
    _, row = run(tmp_path, head_ms=600_000, **mode)
    assert row["head_mono_ns"] <= row["written_mono_ns"][0]


@pytest.mark.parametrize("mode", [{"ttft_ms": 300, "itl_ms": 1}, {**BATCHING, "front_ms": 300}])
def test_it_can_come_at_once(tmp_path: Path, mode: dict[str, Any]) -> None:
    with Server(head_ms=0, **mode) as server, Wire(server.port) as wire:
        wire.send(request("POST", "/v1/completions", COMPLETE))
        while b"\r\n\r\n" not in wire.pending:
            assert wire.more()
        assert b"data:" not in wire.pending  # the tokens are far away
        assert len(wire.reply().tokens) == 3


@pytest.mark.parametrize("front_ms", [0, 20, 100])
def test_it_comes_before_during_and_after_the_wait_for_the_engine(tmp_path: Path, front_ms: float) -> None:
    settings = {**BATCHING, "alpha_ms": 60, "front_ms": front_ms, "head_ms": 50}
    head_ms, row = run(tmp_path, **settings)
    assert head_ms >= 50
    assert row["head_mono_ns"] < row["written_mono_ns"][0]
    assert row["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/completions", {"prompt": "a", "max_tokens": -1}, 400),
        ("/v1/completions", b"{", 400),
        ("/tokenize", {"prompt": "a"}, 200),
        ("/nothing", {"a": 1}, 404),
    ],
)
def test_nothing_comes_at_once_behind_a_body(path: str, body: Any, status: int) -> None:
    with Server(head_ms=150) as server, Wire(server.port) as wire:
        begin = time.monotonic()
        wire.send(request("POST", path, body))
        assert select.select([wire.socket], [], [], 60)[0]
        assert time.monotonic() - begin >= 0.15
        assert wire.reply().status == status


def test_what_has_no_body_is_answered_at_once() -> None:
    with Server(head_ms=600_000) as server, Wire(server.port) as wire:
        wire.send(request("GET", "/v1/models") + request("POST", "/ping", b""))
        assert wire.reply().status == 200
        assert wire.reply().status == 200


def test_silence_ends_with_the_head_and_the_tokens_in_their_time(tmp_path: Path) -> None:
    head_ms, row = run(tmp_path, ttft_ms=80, itl_ms=1, faults=["silent:ms=30"])
    assert head_ms >= 30
    assert row["written_mono_ns"][0] - row["read_mono_ns"] >= 80e6
