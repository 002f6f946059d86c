"""Puts a server to sleep and wakes it up, measured from outside beside the numbers of its own log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vllmperf.starts.live.probe import Route, first_token
from vllmperf.starts.result import NS_PER_S, SleepCycle
from vllmperf.target import AnswerError

WAIT_S = 300.0
LAST_LINES_S = 0.3
"""How long after the last answer its line may still be on its way into the log."""
CLOCK_SLACK_NS = 2 * NS_PER_S
NOT_MEASURED = "sleep and wake-up were not measured"
NO_ROUTE = "the server has no {path}: start it with VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode"
Kind = Literal["sleep", "wake"]
Fact = str | int | float | None


@dataclass(frozen=True)
class Step:
    """One /sleep or /wake_up from the request to its answer; to the first token after it when one was asked for."""

    kind: Kind
    sent_ns: int
    answered_ns: int
    first_token_ns: int | None = None


@dataclass(frozen=True)
class Cycles:
    """What was measured, and why it ended early when it did."""

    steps: tuple[Step, ...]
    why_not: str | None = None


class _RefusedError(Exception):
    """The server did not do it."""


def drive(route: Route, cycles: int, now_ns: Callable[[], int], model: str | None = None) -> Cycles:
    """Sleep (level 1) and wake up `cycles` times; with a model, ask for a token after each wake-up."""
    steps: list[Step] = []
    try:
        for _ in range(cycles):
            steps.append(_step(route, "sleep", "/sleep?level=1", now_ns))
            _expect_sleeping(route, True)
            wake = _step(route, "wake", "/wake_up", now_ns)
            steps.append(wake)
            _expect_sleeping(route, False)
            token = first_token(route, model, now_ns).token_ns if model else None
            steps[-1] = Step("wake", wake.sent_ns, wake.answered_ns, token)
    except _RefusedError as error:
        return Cycles(tuple(steps), str(error))
    except AnswerError as error:
        return Cycles(tuple(steps), f"the server does not answer: {error.why}")
    return Cycles(tuple(steps))


def _step(route: Route, kind: Kind, path: str, now_ns: Callable[[], int]) -> Step:
    sent = now_ns()
    with route.ask("POST", path, b"", timeout_s=WAIT_S) as answer:
        body = answer.read()
        done = now_ns()
    if answer.status in (404, 405):
        raise _RefusedError(NO_ROUTE.format(path=path.partition("?")[0]))
    if answer.status != 200:
        said = body[:200].decode("utf-8", "replace")
        raise _RefusedError(f"POST {path} was answered with HTTP status {answer.status}: {said}".rstrip(": "))
    return Step(kind, sent, done)


def _expect_sleeping(route: Route, wanted: bool) -> None:
    """Servers without /is_sleeping are believed."""
    with route.ask("GET", "/is_sleeping", timeout_s=30.0) as answer:
        body = answer.read().replace(b" ", b"").lower()
    if answer.status == 200 and (b"true" in body) is not wanted:
        state = "awake after /sleep" if wanted else "asleep after /wake_up"
        raise _RefusedError(f"/is_sleeping says that the server is {state}")


def facts(steps: Sequence[Step], logged: Iterable[SleepCycle]) -> dict[str, Fact]:
    """{"sleep_1_s": 0.31, "sleep_1_log_s": 0.30, "wake_1_s": …, "wake_1_to_first_token_s": …}; log numbers are
    those that the log gives for the same step, None when it gives none."""
    found: dict[str, Fact] = {}
    left = list(logged)
    numbers = {"sleep": 0, "wake": 0}
    for step in steps:
        numbers[step.kind] += 1
        name = f"{step.kind}_{numbers[step.kind]}"
        found[f"{name}_s"] = (step.answered_ns - step.sent_ns) / NS_PER_S
        own = _own(step, left)
        found[f"{name}_log_s"] = own.duration_s if own else None
        if own is not None and own.freed_gib is not None:
            found[f"{name}_freed_gib"] = own.freed_gib
        if step.first_token_ns is not None:
            found[f"{name}_to_first_token_s"] = (step.first_token_ns - step.sent_ns) / NS_PER_S
    return found


def _own(step: Step, left: list[SleepCycle]) -> SleepCycle | None:
    """The log's first not yet used line of this kind that is not from before the request."""
    for cycle in left:
        if cycle.kind != step.kind:
            continue
        if cycle.at_ns is None or cycle.at_ns >= step.sent_ns - CLOCK_SLACK_NS:
            left.remove(cycle)
            return cycle
    return None
