"""The newer published form: a step takes alpha + beta*(tokens computed) + gamma*(tokens looked back on).

Source: WVA's queueing model analyzer since 2026-02: decodes compute one token each and read their context, prompts
compute all of their tokens and read as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vllmperf.model.regression import Regression, fit
from vllmperf.model.steps import Steps
from vllmperf.model.stretches import BLOCKS_PER_RUN, even_blocks

NS_PER_MS = 1e6
MOST_ROWS = 40_000
TELLS_APART = 60.0
"""Above this condition number the three cannot be told apart."""


def three_parameter_law(runs: Sequence[Steps]) -> Regression:
    """Fit to the steps whose work is known: those that decode only, and those that admit all that wait.

    Raises ValueError when the parameters cannot be told apart.
    """
    columns = [_of_one(run, number) for number, run in enumerate(runs)]
    if not columns:
        raise ValueError("no steps")
    computed, read, duration_ms, block = (np.concatenate(one) for one in zip(*columns, strict=True))
    x = np.stack([np.ones(len(computed)), computed, read], axis=1)
    if len(x) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(len(x), MOST_ROWS, replace=False))
        x, duration_ms, block = x[rows], duration_ms[rows], block[rows]
    number = block.astype(np.int64)
    found = fit(x, duration_ms, np.ones(len(x)), number, run=number // BLOCKS_PER_RUN)
    if found.condition > TELLS_APART:
        raise ValueError(
            f"computed and read tokens go together in these runs (condition number {found.condition:.0f})"
        )
    return found


def _of_one(run: Steps, number: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    known = (run.decodes > 0) & (run.pending == run.admitted) & ~run.blurred & np.isfinite(run.duration_ns)
    rows = np.flatnonzero(known)
    return (
        (run.decodes[rows] + run.prefill_tokens[rows]).astype(np.float64),
        (run.context_tokens[rows] + run.prefill_tokens[rows]).astype(np.float64),
        run.duration_ns[rows] / NS_PER_MS,
        even_blocks(number, len(rows)).astype(np.float64),
    )
