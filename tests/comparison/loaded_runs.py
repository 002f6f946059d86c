"""Run files of the batching simulator in virtual time: a loaded server without a clock, the same on every machine."""

from pathlib import Path

import numpy as np
from synthetic import Request, write_run

from vllmperf.sim.replay import replay

PLAN = {
    "backend": "openai",
    "burstiness": 1.0,
    "dataset_name": "random",
    "seed": 0,
    "max_concurrency": None,
    "request_rate": 20.0,
    "num_prompts": 600,
}
COUNT = 600


def loaded_run(
    path: Path, seed: int, *, traffic: int | None = None, slower: float = 1.0, **plan: object
) -> Path:
    """Poisson arrivals at about 60 % load. seed: of this run's own noise, by request; traffic: of lengths and arrivals (None:
    of its own); slower: factor on the time of a step."""
    ours = np.random.default_rng(seed if traffic is None else 10_000 + traffic)
    arrival_s = np.cumsum(ours.exponential(1 / 20.0, COUNT))
    tokens = ours.integers(8, 40, COUNT)
    noise = np.random.default_rng(50_000 + seed)
    found = replay(
        ours.integers(50, 150, COUNT),
        tokens,
        arrival_s=arrival_s,
        alpha_ms=7.0 * slower,
        beta_ms=0.2 * slower,
        max_num_seqs=16,
        steps=False,
    )
    late = noise.exponential(0.3, COUNT)
    tpot = found.tpot_ms * (1 + 0.02 * noise.standard_normal(COUNT))
    rows = zip(arrival_s * 1e3, found.ttft_ms + late, tpot, tokens.tolist(), strict=True)
    requests = [
        Request(i, at, ttft, gaps=(gap,) * (n - 1), fields={"scheduled_ns": round(at * 1e6)})
        for i, (at, ttft, gap, n) in enumerate(rows)
    ]
    return write_run(path, requests, PLAN | {"seed": 0 if traffic is not None else seed} | plan)
