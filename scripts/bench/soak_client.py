"""The client of scripts/bench/soak: keeps streams open for long, feeding each request at the moment it is due.

    soak_client.py URL STREAMS TOKENS REQUESTS_PER_S SECONDS FOLDER

Records as `vllmperf bench` does. stdout: a line with the prefix of the request ids and the start of the run (ns on
CLOCK_MONOTONIC); then each batch, as two int64 lengths and the bytes of its records and of its stamps.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from vllmperf import _engine
from vllmperf.loadgen import limits, resolve
from vllmperf.loadgen.bodies import bodies
from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.run import engine_config, request_id_prefix
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.session import Block, Session, Turn
from vllmperf.loadgen.subscribers import recorder
from vllmperf.loadgen.task import Task
from vllmperf.plan import Knobs, Plan
from vllmperf.record.writer import RunWriter

DRAIN_S = 0.02
"""The queue of the engine is empty before each of these: every feed has to wake it."""


def task_of(url: str, tokens: int, rate: float, seconds: float) -> Task:
    plan = Plan.of(base_url=url, request_rate=rate, arrival="constant", duration=seconds,
                   input_len=16, output_len=tokens, model="sim")  # fmt: skip
    knobs = Knobs(spin_us=50.0, record_chunks=True)
    return Task(plan.replace(request_id_prefix=request_id_prefix(plan)), knobs=knobs)


class Streams:
    """Keeps so many streams open: for each that ended one more, due at the moment it is fed."""

    n, is_timed, wait_s, ended = None, True, DRAIN_S, False
    size = np.dtype(_engine.RECORD_DTYPE).itemsize

    def __init__(self, plan: Plan, streams: int) -> None:
        self._bodies = (body.data for body in bodies(plan, "sim"))
        self._first = [round(i * 1e9 / plan.load.request_rate) for i in range(streams)]
        self.fed_ns = 0

    def more(self, turn: Turn) -> Iterator[Block]:
        times_ns = self._first or [turn.elapsed_ns] * (len(turn.batch["records"]) // self.size)
        self._first = []
        if times_ns:
            yield Block(list(islice(self._bodies, len(times_ns))), np.asarray(times_ns, dtype=np.int64))
        self.fed_ns = turn.elapsed_ns  # this thread, too, can lose its core in between


class Teller:
    """Writes what the soak needs to stdout."""

    def __init__(self, streams: Streams, prefix: str | None) -> None:
        self._streams, self._prefix, self._is_told = streams, prefix, False

    def __call__(self, turn: Turn) -> None:
        out, start_ns = sys.stdout.buffer, turn.counters["start_mono_ns"]
        if not self._is_told and start_ns:
            self._is_told = True
            out.write(f"{self._prefix} {start_ns}\n".encode())
        records, stamps = turn.batch["records"], turn.batch["stamps"]
        if n := len(records) // Streams.size:
            lengths = struct.pack("qqqq", len(records), len(stamps), n, self._streams.fed_ns)
            out.write(lengths + records + stamps)
        out.flush()


def main() -> None:
    url, streams, tokens, rate, seconds, folder = sys.argv[1:]
    task = task_of(url, int(tokens), float(rate), float(seconds))
    limits.make_room(int(streams))
    source = Streams(task.plan, int(streams))
    session = Session(
        engine_config(task, resolve.usable_addresses(task.plan.url), schedule(task.plan)), source
    )
    with RunWriter(
        Path(folder) / "run.vllmperf", task.plan.to_dict(), environment(), facts=task.facts()
    ) as writer:
        session.subscribe(recorder(writer), Teller(source, task.plan.workload.request_id_prefix))
        session.run()


if __name__ == "__main__":
    main()
