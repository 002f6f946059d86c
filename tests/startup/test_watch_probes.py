"""Pods that are asked for their first token, and to sleep, through the proxy of the API server."""

from __future__ import annotations

import time
from typing import Any

from fake_api import FakeApi
from fake_http import Served
from watched_pods import (
    LOG,
    UP,
    begin,
    in_background,
    log,
    measure,
    parts_ns,
    when_watched,
)

from vllmperf.starts.result import Start


class Server:
    """Behind the API server's proxy: 503 until `is_up`; models, completions, sleep."""

    def __init__(self, dev_mode: bool = True) -> None:
        self.is_up, self.is_asleep, self.dev_mode = False, False, dev_mode

    def __call__(self, served: Served) -> None:
        path = served.where
        if not self.is_up:
            served.send_bytes(503, b"", "text/plain")
        elif path == "/v1/models":
            served.send_json({"data": [{"id": "tiny"}]})
        elif path == "/v1/completions":
            served.begin("text/event-stream")
            for part in (b'data: {"choi', b'ces": [{"text": "a"}]}\n\n', b"data: [DONE]\n\n"):
                time.sleep(0.05)
                served.piece(part)
        elif path in ("/sleep", "/wake_up") and self.dev_mode:
            self.is_asleep = path == "/sleep"
            served.send_bytes(200, b"", "text/plain")
        elif path == "/is_sleeping" and self.dev_mode:
            served.send_json({"is_sleeping": self.is_asleep})
        else:
            served.send_bytes(200 if path == "/health" else 404, b"", "text/plain")


def probed(api: FakeApi, config: str, server: Server, **more: Any) -> Start:
    begin(api, "a")
    api.proxied["default", "a", 8000] = server

    def cluster() -> None:
        when_watched(api)
        log(api, "a", LOG)
        api.append_log("a", UP)
        server.is_up = True
        time.sleep(0.5)
        api.set_condition("a", "Ready")

    in_background(cluster)
    (start,) = measure(config, **more)
    return start


def test_the_first_token_is_the_end_when_it_is_asked_for(api: FakeApi, config: str) -> None:
    start = probed(api, config, Server(), probe_first_token=True)
    assert start.reached
    assert start.end == "first token"
    token = next(phase for phase in start.phases if phase.name == "first_token")
    assert token.duration_s >= 0.1  # two pieces
    assert start.facts["proxy_health_s"] > 0
    assert any("proxy, which adds its own time" in note for note in start.notes)
    assert any(phase.name == "ready" and not phase.critical for phase in start.phases)
    assert parts_ns(start) == start.end_ns - start.origin_ns


def test_a_proxy_that_is_forbidden_is_a_note_and_ready_the_end(api: FakeApi, config: str) -> None:
    api.deny("get", "pods/proxy")
    start = probed(api, config, Server(), probe_first_token=True)
    assert start.reached
    assert start.end == "ready"
    assert any("could not be probed" in note and "pods/proxy" in note for note in start.notes)


def test_sleep_and_wake_up_are_measured(api: FakeApi, config: str) -> None:
    start = probed(api, config, Server(), sleep_wake=2)
    assert {"sleep_1_s", "wake_1_s", "sleep_2_s", "wake_2_s"} <= set(start.facts)


def test_a_server_without_sleep_says_what_it_needs(api: FakeApi, config: str) -> None:
    start = probed(api, config, Server(dev_mode=False), sleep_wake=1)
    assert any("VLLM_SERVER_DEV_MODE=1" in note for note in start.notes)
