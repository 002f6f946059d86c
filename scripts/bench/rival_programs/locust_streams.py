"""What a user of locust does in scripts/bench/rivals: it sends a request, reads the stream and stamps each event.

    locust -f locust_streams.py --headless ...     with the load as JSON in LOAD

locust has no streams of its own. This user takes what its fastest client (FastHttpUser) offers, parses each event, and leaves
all times in a file. At a rate, the users share one schedule.
"""

import itertools
import json
import os
import time

import gevent
from locust import FastHttpUser, events, task

LOAD = json.loads(os.environ["LOAD"])
BODY = json.dumps(LOAD["body"])
TICKS = itertools.count()
ttft_ms: list[float] = []
itl_ms: list[float] = []
outcomes = {"completed": 0, "failed": 0}
began_s = 0.0


def wait_for_tick() -> None:
    """Returns when the next request is due; never for those beyond the last one."""
    global began_s
    tick = next(TICKS)
    if tick >= LOAD["requests"]:
        gevent.sleep(3600)
    began_s = began_s or time.perf_counter()
    if LOAD["rate"]:
        gevent.sleep(max(0.0, began_s + tick / LOAD["rate"] - time.perf_counter()))


def stamps(stream) -> list[float]:
    """The time of each token of one answer."""
    times = []
    while event := stream.readline(b"\n\n"):
        now = time.perf_counter()
        data = event.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            stream.read()
            return times
        if json.loads(data)["choices"]:
            times.append(now)
    raise ConnectionError("the answer ended without [DONE]")


class Streams(FastHttpUser):
    network_timeout = connection_timeout = LOAD["timeout_s"]

    @task
    def complete(self) -> None:
        wait_for_tick()
        sent = time.perf_counter()
        with self.client.post("/v1/completions", data=BODY, headers={"Content-Type": "application/json"},
                              stream=True, catch_response=True) as response:  # fmt: skip
            try:
                response.raise_for_status()
                times = stamps(response.stream)
            except Exception as error:
                outcomes["failed"] += 1
                response.failure(error)
            else:
                outcomes["completed"] += 1
                ttft_ms.append((times[0] - sent) * 1e3)
                itl_ms.extend((b - a) * 1e3 for a, b in itertools.pairwise(times))
        if sum(outcomes.values()) == LOAD["requests"]:
            gevent.spawn(self.environment.runner.quit)


@events.quitting.add_listener
def write_result(**_more: object) -> None:
    with open(LOAD["result"], "w") as file:  # noqa: PTH123
        json.dump({"ttft_ms": ttft_ms, "itl_ms": itl_ms, **outcomes}, file)
