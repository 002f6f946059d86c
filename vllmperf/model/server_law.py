"""The step law of a server from the runs of a search: what simulations then take for the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import vllmperf._engine as _engine
from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.view import Rows
from vllmperf.model.law import Measured, fit_runs
from vllmperf.model.parameters import Fit
from vllmperf.model.simulate import Replica
from vllmperf.model.slots import seen_slots
from vllmperf.record.table import Requests

NONE = _engine.NONE
NO_LIMIT = 4
"""Without a limit in sight, the simulated server has so many times as many places as were ever taken."""


@dataclass(frozen=True)
class ServerLaw:
    """slots: the limit of sequences, given or seen; None when none was seen."""

    replica: Replica
    fit: Fit
    slots: int | None


def server_law(
    runs: Sequence[Measured], alone: Requests, max_num_seqs: int | None
) -> tuple[ServerLaw | None, str]:
    """The law, or None and why there is none. alone: requests that were sent one at a time."""
    unclear = next((run for run in runs if run.why_not), None)
    if unclear is not None:
        return None, f"steps cannot be told apart ({unclear.why_not})"
    try:
        found = fit_runs(runs)
    except UsageError as error:
        return None, str(error)
    value = {name: one.value or 0.0 for name, one in found.parameters.items()}
    if value["alpha"] <= 0 or value["beta"] < 0:
        return None, f"alpha {value['alpha']:.3g} ms and beta {value['beta']:.3g} ms are no law of a server"
    step_gamma = max(value["step_gamma"], 0.0)
    step_delta = max(value["step_delta"] or value["delta"], 0.0)
    seen = [run.steps for run in runs if run.steps]
    slots = max_num_seqs or seen_slots(seen)
    replica = Replica(
        alpha_ms=value["alpha"],
        beta_ms=value["beta"],
        step_gamma_ms=step_gamma,
        step_delta_ms=step_delta,
        front_ms=_front_ms(alone, value["alpha"] + step_gamma, step_delta),
        max_num_seqs=slots or NO_LIMIT * max(int(steps.decodes.max(initial=1)) for steps in seen),
    )
    return ServerLaw(replica, found, slots), ""


def _front_ms(alone: Requests, step_ms: float, step_delta_ms: float) -> float:
    """What a single request waits beyond its own step."""
    began = alone[(alone["first_token_ns"] != NONE) & (alone["prompt_tokens"] != NONE)]
    ttft = per_request(Rows(began), "ttft") / 1e6
    rest = ttft - step_ms - step_delta_ms * began["prompt_tokens"]
    return max(float(np.median(rest)), 0.0) if len(rest) else 0.0
