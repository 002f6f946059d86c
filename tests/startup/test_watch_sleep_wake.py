"""Sleep and wake-up, measured from outside and joined with the log's own numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vllmperf.starts.live.sleep_wake import Step, drive, facts
from vllmperf.starts.result import SleepCycle
from vllmperf.target import Answer


class Server:
    """Sleeps and wakes as told; `without` are paths that it does not have."""

    name = "test"

    def __init__(self, without: str = "", is_stuck: bool = False) -> None:
        self.without, self.is_stuck, self.is_asleep = without, is_stuck, False
        self.asked: list[str] = []

    @contextmanager
    def ask(self, method: str, path: str, *_: Any, **_settings: Any) -> Iterator[Any]:
        self.asked.append(f"{method} {path}")
        if self.without and path.startswith(self.without):
            yield Answer(404, iter([]))
            return
        if path.startswith("/sleep"):
            self.is_asleep = True
        elif path == "/wake_up":
            self.is_asleep = self.is_stuck
        state = str(self.is_asleep).lower().encode()
        body = b'{"is_sleeping": %s}' % state
        yield Answer(200, iter([body if path == "/is_sleeping" else b'data: {"choices": [{"text": ""}]}']))


def clock() -> Any:
    return itertools.count(0, 1_000_000_000).__next__


def test_each_cycle_sleeps_and_wakes_and_asks_whether_it_did() -> None:
    server = Server()
    found = drive(server, 2, clock())
    assert found.why_not is None
    assert [step.kind for step in found.steps] == ["sleep", "wake"] * 2
    assert server.asked[:4] == [
        "POST /sleep?level=1",
        "GET /is_sleeping",
        "POST /wake_up",
        "GET /is_sleeping",
    ]
    assert all(step.answered_ns - step.sent_ns == 1_000_000_000 for step in found.steps)


def test_a_token_after_the_wake_up_is_timed_when_a_model_is_given() -> None:
    found = drive(Server(), 1, clock(), "tiny")
    assert found.steps[1].first_token_ns is not None


@pytest.mark.parametrize("path", ["/sleep", "/wake_up"])
def test_a_server_without_the_route_says_what_it_needs(path: str) -> None:
    found = drive(Server(without=path), 1, clock())
    assert found.why_not == (
        f"the server has no {path}: start it with VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode"
    )


def test_a_server_that_stays_asleep_is_not_believed() -> None:
    assert (
        drive(Server(is_stuck=True), 1, clock()).why_not
        == "/is_sleeping says that the server is asleep after /wake_up"
    )


def test_a_server_without_is_sleeping_is_believed() -> None:
    assert drive(Server(without="/is_sleeping"), 1, clock()).why_not is None


def test_the_logs_numbers_go_to_their_own_step() -> None:
    second = 1_000_000_000
    steps = [Step("sleep", 100 * second, 101 * second), Step("wake", 102 * second, 104 * second)]
    old = SleepCycle("sleep", 9.0, 50 * second)
    own = SleepCycle("sleep", 0.9, 101 * second, freed_gib=12.5)
    found = facts(steps, [old, own])
    assert found == {
        "sleep_1_s": 1.0, "sleep_1_log_s": 0.9, "sleep_1_freed_gib": 12.5, "wake_1_s": 2.0, "wake_1_log_s": None,
    }  # fmt: skip
