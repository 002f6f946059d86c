"""An engine in virtual time that is not the product's: makes arrivals by a known law, for tests of the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vllmperf.model.arrivals import NONE, Arrivals

NS_PER_MS = 1e6


@dataclass(frozen=True)
class Law:
    alpha: float = 7.0
    beta: float = 0.05
    gamma: float = 2.0
    delta: float = 0.01
    front: float = 1.0
    step_noise: float = 0.0  # ms, standard deviation of each step
    stamp_noise: float = 0.0  # ms, mean of an exponential delay of each arrival


@dataclass(frozen=True)
class Made:
    arrivals: Arrivals
    steps: int
    decodes: list[int]


def run(
    law: Law, streams: int, requests: int, prompt: int, output: int | tuple[int, int], seed: int = 0
) -> Made:
    """A closed loop of `streams`; output: tokens, or (least, most) drawn evenly."""
    rng = np.random.default_rng(seed)
    low, high = output if isinstance(output, tuple) else (output, output)
    wanted = rng.integers(low, high + 1, requests)
    sent = np.full(requests, NONE, dtype=np.int64)
    first = np.full(requests, NONE, dtype=np.int64)
    now, next_request, ready, running = 0.0, 0, [], {}
    rows: list[tuple[float, int, int]] = []
    decodes: list[int] = []

    def send(at: float) -> None:
        nonlocal next_request
        if next_request < requests:
            sent[next_request] = int(at * NS_PER_MS)
            ready.append((at + law.front, next_request))
            next_request += 1

    for _ in range(streams):
        send(rng.uniform(0, law.alpha))
    while ready or running:
        if not running:
            now = max(now, min(at for at, _ in ready))
        admitted = [r for at, r in ready if at <= now]
        ready = [(at, r) for at, r in ready if at > now]
        duration = law.alpha + law.beta * len(running) + rng.normal(0, law.step_noise)
        duration += law.gamma + law.delta * prompt * len(admitted) if admitted else 0
        now += duration
        decodes.append(len(running))
        for r in list(running):
            rows.append((now + rng.exponential(law.stamp_noise), r, running[r]))
            running[r] += 1
        for r in admitted:
            at = now + rng.exponential(law.stamp_noise)
            first[r] = int(at * NS_PER_MS)
            rows.append((at, r, 0))
            running[r] = 1
        for r in [r for r in running if running[r] >= wanted[r]]:
            del running[r]
            send(now + rng.exponential(0.3))
    rows.sort()
    at, stream, place = (np.array(column) for column in zip(*rows, strict=True))
    return Made(
        Arrivals(
            at * NS_PER_MS,
            stream,
            place,
            np.zeros(len(at), bool),
            sent,
            first,
            np.full(requests, prompt, dtype=np.int64),
            0.0,
        ),
        len(decodes),
        decodes,
    )
