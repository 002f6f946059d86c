"""The step law of a server from the runs of a search: what simulations then take for the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.errors import UsageError
from vllmperf.model.law import Measured, fit_runs
from vllmperf.model.parameters import FitResult
from vllmperf.model.simulate import Replica
from vllmperf.model.steps import Steps

NONE = _engine.NONE
HELD_UP = 2
"""A request that lay without a token for so many whole steps was held up: there was no place for it."""
LEAST_HELD_UP = 20
"""Steps with held up requests that show a limit of sequences."""
ALIKE = 0.9
"""That many of them must hold the same number of sequences, else it is not places that were missing."""
NO_LIMIT = 4
"""Without a limit in sight, the simulated server has so many times as many places as were ever taken."""


@dataclass(frozen=True)
class ServerLaw:
    """slots: the limit of sequences, given or seen; None when none was seen."""

    replica: Replica
    fit: FitResult
    slots: int | None


def server_law(
    runs: Sequence[Measured], alone: NDArray[np.void], max_num_seqs: int | None
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


def _front_ms(alone: NDArray[np.void], step_ms: float, step_delta_ms: float) -> float:
    """What a single request waits beyond its own step."""
    began = alone[(alone["first_token_ns"] != NONE) & (alone["prompt_tokens"] != NONE)]
    ttft = (began["first_token_ns"] - began["sent_ns"]) / 1e6
    rest = ttft - step_ms - step_delta_ms * began["prompt_tokens"]
    return max(float(np.median(rest)), 0.0) if len(rest) else 0.0


def seen_slots(runs: Sequence[Steps]) -> int | None:
    """The server's --max-num-seqs: how many sequences its steps hold while requests are held up. None when none were,
    or when such steps hold now more and now fewer (then it was prompts or memory that held them up)."""
    parts = [(run.decodes + run.admitted)[_held_up(run)] for run in runs]
    held = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    if len(held) < LEAST_HELD_UP:
        return None
    values, counts = np.unique(held, return_counts=True)
    usual = int(values[np.argmax(counts)])
    alike = float(np.mean(np.abs(held - usual) <= max(1, 0.02 * usual)))
    largest = max(int(np.quantile(run.decodes + run.admitted, 0.999)) for run in runs if len(run))
    return usual if alike >= ALIKE and largest <= usual + max(1, 0.02 * usual) else None


def _held_up(run: Steps) -> NDArray[np.bool_]:
    """Steps before whose last HELD_UP predecessors somebody was waiting who still is afterwards: of those that wait
    in a step, more than were sent since."""
    waiting = run.pending - run.admitted
    held: NDArray[np.bool_] = np.zeros(len(run), dtype=bool)
    if len(run) <= HELD_UP:
        return held
    sent = run.arrived
    recent = sent[HELD_UP:].copy()
    for back in range(1, HELD_UP + 1):
        recent += sent[HELD_UP - back : len(sent) - back]
    held[HELD_UP:] = waiting[HELD_UP:] > recent
    return held
