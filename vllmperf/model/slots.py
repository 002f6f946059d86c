"""How many sequences a server serves at once, seen from the steps in which requests are held up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.steps import Steps

HELD_UP = 2
"""A request that lay without a token for so many whole steps was held up: there was no place for it."""
LEAST_HELD_UP = 20
"""Steps with held up requests that show a limit of sequences."""
ALIKE = 0.9
"""That many of them must hold the same number of sequences, else it is not places that were missing."""


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
