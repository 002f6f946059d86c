"""gamma and delta: what a prompt costs, alone in the engine and inside a step that others decode in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.arrivals import NONE, Arrivals
from vllmperf.model.regression import NORMAL, Floats, Regression, fit
from vllmperf.model.steps import Steps
from vllmperf.model.stretches import BLOCKS_PER_RUN, even_blocks

NS_PER_MS = 1e6
LEAST_SPREAD = 1.2
"""Without prompts that differ by this factor, gamma and delta cannot be told apart."""
APART = 2.6
"""Two estimates further apart than so many standard errors (1 in 100) are of two things."""
AHEAD = 0.25
"""Headers that come within this share of the time to the first token were sent ahead of it: their round trip tells what
the way and both machines take."""
LEAST_PAIRS = 30
CURVED, CURVED_SHARE = 4.0, 0.05
"""A term in the square of the prompt is named when it is so many standard errors from 0 and this share of the whole."""


@dataclass(frozen=True)
class FirstToken:
    """TTFT = gamma + delta*tokens. law: both, less the way there and back; pooled: delta is also what prompts add to
    the steps of others. late_ms: the way there and back that was taken off."""

    law: Regression
    pooled: bool
    late_ms: float
    warnings: tuple[str, ...] = ()


def alone(runs: Sequence[Arrivals]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(prompt tokens, TTFT in ms, block) of all requests that were sent when no other one was in flight: nothing
    queued, so that TTFT is the cost of the prompt alone."""
    tokens, ttft, block = [], [], []
    for number, run in enumerate(runs):
        rows = _sent_alone(run)
        tokens.append(run.prompt_tokens[rows].astype(np.float64))
        ttft.append((run.first_ns[rows] - run.sent_ns[rows]) / NS_PER_MS)
        block.append(even_blocks(number, len(rows)))
    if not tokens:
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    return np.concatenate(tokens), np.concatenate(ttft), np.concatenate(block).astype(np.int64)


def _sent_alone(run: Arrivals) -> NDArray[np.int64]:
    """Rows of requests with a first token and nothing else in flight from their sending to it."""
    known = np.flatnonzero((run.first_ns != NONE) & (run.sent_ns != NONE) & (run.prompt_tokens > 0))
    if len(known) == 0:
        return known
    last = np.zeros(len(run.sent_ns))
    np.maximum.at(last, run.stream, run.at_ns)
    order = known[np.argsort(run.sent_ns[known], kind="stable")]
    before = np.maximum.accumulate(np.append(-np.inf, last[order][:-1]))
    after = np.append(run.sent_ns[order][1:], np.iinfo(np.int64).max)
    clear = (run.sent_ns[order] > before) & (after > run.first_ns[order])
    return np.asarray(order[clear])


def prompt_law(
    tokens: NDArray[np.float64], ttft_ms: NDArray[np.float64], block: NDArray[np.int64]
) -> Regression:
    """TTFT = gamma + delta*tokens. ValueError when the prompts are too much alike."""
    if len(tokens) < 3 or tokens.max() < LEAST_SPREAD * tokens.min():
        raise ValueError("prompts of one length cannot tell gamma from delta")
    x = np.stack([np.ones(len(tokens)), tokens], axis=1)
    return fit(x, ttft_ms, np.ones(len(tokens)), block, run=block // BLOCKS_PER_RUN)


def first_token_law(runs: Sequence[Arrivals], step: Regression | None, stamp_ms: float) -> FirstToken:
    """gamma and delta of requests that were alone, delta together with that of `step` (what prompts add to the steps of
    others) where both agree. stamp_ms: by how much stamps are late by chance.

    A first token is late by the way there and back, and its step is noticed late, which no repetition shows. The round
    trip of the headers, where those come ahead, is the first; the chance in stamps tells of the second, since a delay
    that has no memory scatters by its mean (half of it is in a robust mean). Both are taken off, and the interval
    reaches as far to either side as both may be.
    ValueError when the prompts are too much alike.
    """
    tokens, ttft, block = alone(runs)
    law = prompt_law(tokens, ttft, block)
    warnings = _curved(tokens, ttft, block)
    pooled = False
    if step is not None:
        agree = _errors_apart(law, step) <= APART
        if agree and not warnings:
            law, pooled = _one_slope(law, step), True
        elif not agree:
            warnings.append(_two_slopes(law, step))
    trip = round_trip_ms(runs)
    way = stamp_ms if trip is None else trip
    late = way + stamp_ms / 2
    return FirstToken(_less(law, late, way + stamp_ms), pooled, late, tuple(warnings))


def round_trip_ms(runs: Sequence[Arrivals]) -> float | None:
    """From sending to the response's headers, of requests that were alone: the lower quartile, since a server may do
    some of its work first. None where headers come no sooner than tokens."""
    trips, ttft = [], []
    for run in runs:
        rows = _sent_alone(run)
        if run.headers_ns is not None:
            rows = rows[run.headers_ns[rows] != NONE]
            trips.append((run.headers_ns[rows] - run.sent_ns[rows]) / NS_PER_MS)
            ttft.append((run.first_ns[rows] - run.sent_ns[rows]) / NS_PER_MS)
    found = np.concatenate(trips) if trips else np.zeros(0)
    if len(found) == 0:
        return None
    trip = float(np.quantile(found, 0.25))
    return trip if trip < AHEAD * float(np.median(np.concatenate(ttft))) else None


def _less(law: Regression, late_ms: float, doubt_ms: float) -> Regression:
    """gamma less `late_ms`, which is known to `doubt_ms`."""
    values = law.values - np.array([late_ms, 0.0])
    half = np.hypot((law.high - law.low) / 2, [doubt_ms, 0.0])
    covariance = law.covariance + np.diag([(doubt_ms / NORMAL) ** 2, 0.0])
    return replace(law, values=values, low=values - half, high=values + half, covariance=covariance)


def _error(law: Regression, place: int) -> float:
    return float(law.high[place] - law.low[place]) / 2 / NORMAL


def _errors_apart(law: Regression, step: Regression) -> float:
    off = float(law.values[1] - step.values[1])
    return abs(off) / max(float(np.hypot(_error(law, 1), _error(step, 1))), 1e-12)


def _one_slope(law: Regression, step: Regression) -> Regression:
    """Both estimates of delta weighed by their errors, and gamma as it then must be."""
    covariance = law.covariance
    gain = covariance[:, 1] / (covariance[1, 1] + _error(step, 1) ** 2)
    values: Floats = law.values + gain * (step.values[1] - law.values[1])
    covariance = covariance - np.outer(gain, covariance[1])
    half = NORMAL * np.sqrt(np.diag(covariance))
    return replace(law, values=values, low=values - half, high=values + half, covariance=covariance)


def _two_slopes(law: Regression, step: Regression) -> str:
    return (
        f"a token of a prompt costs {law.values[1]:.4g} ms when alone and {step.values[1]:.4g} ms inside the steps of "
        "others: prompts are computed in several steps, or in steps of their own; delta is that of prompts alone"
    )


def _curved(tokens: Floats, ttft_ms: Floats, block: NDArray[np.int64]) -> list[str]:
    """Whether a prompt's time grows otherwise than with its length."""
    scaled = tokens / tokens.max()
    if len(np.unique(np.round(10 * scaled))) < 3:
        return []
    try:
        found = fit(
            np.stack([np.ones(len(tokens)), scaled, scaled**2], axis=1), ttft_ms, np.ones(len(tokens)), block
        )
    except ValueError:
        return []
    bend = float(found.values[2])
    if abs(bend) < CURVED * _error(found, 2) or abs(bend) / 4 < CURVED_SHARE * float(np.median(ttft_ms)):
        return []
    return [
        f"TTFT is no straight line in the prompt's length ({'longer' if bend > 0 else 'shorter'} prompts cost more a "
        "token): gamma and delta hold for lengths between those that were sent"
    ]


def step_law(runs: Sequence[Steps], alpha: float, beta: float) -> Regression:
    """What admissions add to a step: step_gamma + step_delta*tokens. ValueError when that cannot be told.

    The longer a step the more it scatters, so that one which holds the prompts of all streams at once tells little for
    its weight: a first fit says how long steps should be, a second weighs them by that.
    """
    parts = [_prompt_steps(run, number, alpha, beta) for number, run in enumerate(runs)]
    if not parts:
        raise ValueError("no steps")
    tokens, excess, usual, block = (np.concatenate(column) for column in zip(*parts, strict=True))
    number = block.astype(np.int64)
    first = prompt_law(tokens, excess, number)
    expected = usual + np.maximum(first.values[0] + first.values[1] * tokens, 0.0)
    scale = expected / np.median(expected)
    x = np.stack([np.ones(len(tokens)), tokens], axis=1) / scale[:, None]
    return fit(x, excess / scale, np.ones(len(tokens)), number, run=number // BLOCKS_PER_RUN)


def _prompt_steps(
    run: Steps, number: int, alpha: float, beta: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Prompt tokens, what the step took beyond its decodes, what those take (ms), block."""
    rows = np.flatnonzero(_whole_prompts(run))
    usual = alpha + beta * run.decodes[rows]
    return (
        run.prefill_tokens[rows].astype(np.float64),
        np.asarray(run.duration_ns[rows] / NS_PER_MS - usual),
        np.asarray(usual),
        even_blocks(number, len(rows)).astype(np.float64),
    )


def _whole_prompts(run: Steps) -> NDArray[np.bool_]:
    """Steps that decode and hold prompts of which no part was computed in another step: nobody who had been sent
    before them waits longer, and nobody had waited through all of the step before."""
    held = run.pending - run.admitted - run.arrived > 0
    whole: NDArray[np.bool_] = (run.admitted > 0) & (run.decodes > 0) & np.isfinite(run.duration_ns)
    if run.apart:  # how many steps of their own several prompts took is not known
        whole &= run.admitted == 1
    return np.asarray(whole & ~run.blurred & ~held & ~np.append(False, held[:-1]))


def stamp_lateness_ms(runs: Sequence[Steps]) -> float:
    """By how much the ends of steps are seen late by chance: a late stamp makes its own step longer and the next one
    shorter, so that neighbours go against one another. The median over runs; 0 when there is no sign of it."""
    found = [late for run in runs if (late := _lateness_ms(run)) is not None]
    return float(np.median(found)) if found else 0.0


def _lateness_ms(run: Steps) -> float | None:
    pure = run.pure
    rows = np.flatnonzero(pure[:-1] & pure[1:] & (run.decodes[:-1] == run.decodes[1:]))
    if len(rows) < LEAST_PAIRS:
        return None
    _, place = np.unique(run.decodes[rows], return_inverse=True)
    times = np.bincount(place)

    def off(durations: Floats) -> Floats:
        return np.asarray(durations - (np.bincount(place, durations) / times)[place], dtype=np.float64)

    together = float(np.mean(off(run.duration_ns[rows]) * off(run.duration_ns[rows + 1])))
    return float(np.sqrt(max(-together, 0.0))) / NS_PER_MS
