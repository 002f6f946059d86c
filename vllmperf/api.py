"""What notebooks and the command line both call: make a run, read a run."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import datasets
from vllmperf.errors import UsageError
from vllmperf.plan import Plan

if TYPE_CHECKING:
    from vllmperf.load.progress import Snapshot
    from vllmperf.load.subscribers import Enough
    from vllmperf.run import Run

SIMULATED = "http://127.0.0.1:1"
"""Stands in the plan until the simulator inside has a port."""


def bench(
    url: str | None = None,
    *,
    rate: float = math.inf,
    concurrency: int | None = None,
    num_prompts: int | None = None,
    duration: float | None = None,
    input_len: int | None = None,
    output_len: int | None = None,
    dataset: str = "random",
    model: str | None = None,
    backend: str = "openai",
    record: str | Path | None = None,
    sim: Mapping[str, Any] | bool | None = None,
    progress: bool | Callable[[Snapshot], None] = False,
    **more: Any,
) -> Run:
    """Load a server and give the run.

    url: base URL, like http://127.0.0.1:8000; or sim=True or sim={"ttft_ms": 50} for a simulated server here.
    rate: requests/s (inf: as fast as concurrency allows). duration in s. num_prompts is 1000 unless a
    duration or an arrival file is given. record: path of the run file (else a temporary one, see Run.save).
    progress: True for a live panel on stderr, or a function that takes load.progress.Snapshot.
    more: fields of `vllmperf.Plan`. The API key is taken from OPENAI_API_KEY unless api_key is given.

    Raises UsageError for what does not fit together, TargetError when the server is not there.
    """
    simulator = None if sim is None or sim is False else ({} if sim is True else dict(sim))
    if (url is None) == (simulator is None):
        raise UsageError("give either url=... or sim=...")
    arrival = more.pop("arrival", None) or default_arrival(dataset, rate, concurrency)
    known = datasets.options()
    own = {name: more.pop(name) for name in list(more) if name in known}
    plan = Plan(
        base_url=url or SIMULATED,
        request_rate=rate,
        max_concurrency=concurrency,
        arrival=arrival,
        num_prompts=default_num_prompts(num_prompts, duration, arrival),
        dataset_options=own,
        duration_s=duration,
        input_len=input_len,
        output_len=output_len,
        dataset_name=dataset,
        model=model,
        backend=backend,
        simulator=simulator,
        **{"api_key": os.environ.get("OPENAI_API_KEY") or None, "ignore_eos": dataset == "random", **more},
    )
    return make_run(plan, Path(record) if record else None, progress)


def default_num_prompts(given: int | None, duration_s: float | None, arrival: str | None) -> int | None:
    """1000 as in `vllm bench serve`, but no limit where something else ends the run."""
    return given if given is not None or duration_s is not None or arrival in ("trace", "dataset") else 1000


def default_arrival(dataset_name: str, rate: float, concurrency: int | None) -> str | None:
    """The times of a data set that has its own, unless a rate or a concurrency is asked for."""
    found = datasets.table().get(dataset_name)
    is_timed = found is not None and found.times_s is not None
    return "dataset" if is_timed and math.isinf(rate) and concurrency is None else None


def load(path: str | Path) -> Run:
    """The run in a run file. Raises UsageError when there is none or it is no run file."""
    from vllmperf.run import open_run

    return open_run(path)


def make_run(
    plan: Plan,
    record: Path | None,
    progress: bool | Callable[[Snapshot], None] = False,
    enough: Enough | None = None,
) -> Run:
    """Carry a plan out and write its run file. The simulator of the plan runs inside for that long."""
    from vllmperf.load.environment import environment
    from vllmperf.load.run import ready
    from vllmperf.load.subscribers import live, recorder, until
    from vllmperf.record.writer import RunWriter
    from vllmperf.run import Folder, Run

    with _target(plan) as plan, _shown(progress) as show:
        model = plan.model or _first_model(plan)
        # The file is made last: what cannot start leaves none behind.
        with ready(plan, model) as run:
            written = {**run.plan.to_dict(), "model": model, "num_prompts": run.feeder.n}
            folder = None if record else Folder()
            path = record or Path(str(folder)) / "run.vllmperf"
            with RunWriter(path, written, environment(), None, plan.secrets, run.feeder.asked) as writer:
                run.session.subscribe(recorder(writer))
                if enough is not None:
                    run.session.subscribe(until(enough))
                if show is not None:
                    run.session.subscribe(live(run.session, show))
                run.session.run()
    return Run(path, keep_alive=folder)


def _first_model(plan: Plan) -> str:
    from vllmperf.target import client_of, first_model

    return first_model(client_of(plan))


@contextlib.contextmanager
def _target(plan: Plan) -> Iterator[Plan]:
    """The plan with a server behind it."""
    if plan.simulator is None:
        yield plan
        return
    from vllmperf.sim import Server

    with Server(**plan.simulator) as server:
        yield replace(plan, base_url=server.url)


@contextlib.contextmanager
def _shown(
    progress: bool | Callable[[Snapshot], None],
) -> Iterator[Callable[[Snapshot], None] | None]:
    """Where snapshots go: nowhere, to the caller's function, or to a live panel on stderr."""
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    else:
        from vllmperf.report.live import Live

        with Live() as live:
            yield live
