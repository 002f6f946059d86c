"""The client of scripts/bench/soak: keeps streams open for long, feeding each request at the moment it is due.

    soak_client.py URL STREAMS TOKENS REQUESTS_PER_S SECONDS FOLDER

Records as `vllmperf bench` does. stdout: a line with the prefix of the request ids and the start of the run (ns on
CLOCK_MONOTONIC); then each batch, as two int64 lengths and the bytes of its records and of its stamps.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from vllmperf import _engine
from vllmperf.load import limits, resolve
from vllmperf.load.bodies import bodies
from vllmperf.load.environment import environment
from vllmperf.load.run import CHECKPOINT_S, elapsed_ns, engine_config, make_engine, request_id_prefix
from vllmperf.load.schedule import schedule
from vllmperf.load.watch import Watch
from vllmperf.plan import Plan
from vllmperf.record.writer import RunWriter

DRAIN_S = 0.02
"""The queue of the engine is empty before each of these: every feed has to wake it."""


def plan_of(url: str, tokens: int, rate: float, seconds: float) -> Plan:
    plan = Plan(base_url=url, request_rate=rate, arrival="constant", duration_s=seconds, num_prompts=None,
                input_len=16, output_len=tokens, ignore_eos=True, record_chunks=True, model="sim")  # fmt: skip
    return replace(plan, request_id_prefix=request_id_prefix(plan))


def feed(engine: _engine.Engine, source: Iterator[bytes], times_ns: list[int]) -> None:
    pieces = list(islice(source, len(times_ns)))
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    engine.feed(b"".join(pieces), offsets.tobytes(), np.asarray(times_ns, dtype=np.int64).tobytes())


def soak(engine: _engine.Engine, writer: RunWriter, plan: Plan, streams: int) -> None:
    out, watch = sys.stdout.buffer, Watch(None, plan.duration_s)
    source = (body.data for body in bodies(plan, "sim"))
    feed(engine, source, [round(i * 1e9 / plan.request_rate) for i in range(streams)])
    engine.start()
    size, checkpoint_at, is_told = np.dtype(_engine.RECORD_DTYPE).itemsize, 0.0, False
    while (batch := engine.drain(DRAIN_S)) is not None:
        counters = engine.counters()
        if not is_told and counters["start_mono_ns"]:
            is_told = True
            out.write(f"{plan.request_id_prefix} {counters['start_mono_ns']}\n".encode())
        if n := len(batch["records"]) // size:
            feed(engine, source, [elapsed_ns(counters)] * n)
        fed_ns = elapsed_ns(counters)  # this thread, too, can lose its core between the two
        writer.append(batch)
        watch.take(batch)
        if time.monotonic() >= checkpoint_at:
            writer.checkpoint(counters, engine.histograms())
            checkpoint_at = time.monotonic() + CHECKPOINT_S
        if n:
            lengths = struct.pack("qqqq", len(batch["records"]), len(batch["stamps"]), n, fed_ns)
            out.write(lengths + batch["records"] + batch["stamps"])
            out.flush()
    writer.finish("finished", engine.counters(), engine.histograms())


def main() -> None:
    url, streams, tokens, rate, seconds, folder = sys.argv[1:]
    plan = plan_of(url, int(tokens), float(rate), float(seconds))
    limits.make_room(int(streams))
    config = engine_config(plan, resolve.usable_addresses(plan.url), schedule(plan))
    with (
        contextlib.closing(make_engine(config)) as engine,
        RunWriter(Path(folder) / "run.vllmperf", plan.to_dict(), environment()) as writer,
    ):
        soak(engine, writer, plan, int(streams))


if __name__ == "__main__":
    main()
