"""The capacity from the steps of a search.

With a law: its capacity in long simulations, corrected by what the server did with the very requests of these runs
(calibrate). A window of a minute near saturation says little by itself: the queue takes minutes to fill, and at 5 %
over the capacity one window of three still passes. Without a law: where a curve through the goodput of all windows
crosses the goal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine
from vllmperf.metrics.view import COMPLETED
from vllmperf.model.calibrate import NEAR, Point, calibrate, interval, law_capacity, law_curve, slowed
from vllmperf.model.capacity import Step, surely_carried
from vllmperf.model.goodput_curve import curve_capacity
from vllmperf.model.server_law import ServerLaw
from vllmperf.model.slo import Limits, good
from vllmperf.record.reader import Recording

NONE = _engine.NONE
ALIKE = 0.1
"""A law whose times must be changed by more than this share to fit the server is not believed."""


SERVED = 0.98
NARROW = 0.05
MOST_TIMES = 4.0
HALF_MINUTE = 30.0


@dataclass(frozen=True)
class Found:
    """method as in capacity.Capacity."""

    rate: float | None
    low: float | None
    high: float | None
    method: str
    warnings: tuple[str, ...] = ()
    slowness: float | None = None
    curve: tuple[Point, ...] = ()


def needed_budget_s(found: Found, spent_s: float) -> float | None:
    """The time that a search needs for ±5 %, in whole half minutes: an interval narrows with the root of the time, and
    a curve through windows has no more to tell than a few minutes' steps; then a law mostly takes its place."""
    if found.rate is None or found.low is None or found.high is None or found.low <= 0:
        return None
    half = (found.high - found.low) / 2 / found.rate
    if half <= NARROW:
        return None
    factor = min((half / NARROW) ** 2, MOST_TIMES)
    return math.ceil(max(factor * spent_s, spent_s + HALF_MINUTE) / HALF_MINUTE) * HALF_MINUTE


def estimate(
    steps: Sequence[Step],
    recordings: Sequence[Recording],
    limits: Limits,
    law: ServerLaw | None,
    why_not: str,
) -> Found:
    """why_not: why there is no law."""
    if not any(step.above for step in steps):
        best = max((step.rate_per_s for step in steps), default=None)
        told = "no rate failed within the budget: the capacity lies above the highest one tried"
        told = told if steps else "no rate was tried within the budget: give a longer one"
        return Found(best, best, None, "steps", (told,))
    if law is not None:
        found, why_not = _by_law(steps, recordings, limits, law)
        if found is not None:
            return found
    kept = [
        (step.rate_per_s, good(one.requests, limits), one.requests["scheduled_ns"])
        for step, one in zip(steps, recordings, strict=True)
    ]
    rate, low, high = curve_capacity(kept, limits.share)
    return Found(rate, min(low, surely_carried(steps)), high, "windows", (f"no step law is used: {why_not}",))


def _by_law(
    steps: Sequence[Step], recordings: Sequence[Recording], limits: Limits, law: ServerLaw
) -> tuple[Found | None, str]:
    whole = [one for one, step in zip(recordings, steps, strict=True) if not step.cut_short and served(one)]
    if not whole:
        return None, "no step was served to its end"
    try:
        slow = calibrate([one.requests for one in whole], law.replica)
    except ValueError as error:
        return None, str(error)
    if abs(math.log(slow.slowness)) > ALIKE:
        return None, f"the server takes {slow.slowness:.2f} times as long as it says"
    seen = lengths(whole)
    rate, chance = law_capacity(law.replica, seen, limits)
    rate /= slow.slowness
    against = [step.rate_per_s for step in steps if step.answer.verdict == "fail" and step.rate_per_s < rate]
    if against and min(against) < (1 - ALIKE) * rate:
        return None, f"the server already failed at {min(against):.4g}/s, and by it would carry {rate:.4g}/s"
    low, high = interval(rate, slow, math.hypot(chance, _split_deviation(law, seen, limits)))
    told = () if law.slots or _same_with_fewer(law, seen, limits) else (_no_limit(law),)
    curve = law_curve(slowed(law.replica, slow.slowness), seen, limits, rate)
    return Found(rate, low, high, "law", told, slow.slowness, curve), ""


def _split_deviation(
    law: ServerLaw, seen: tuple[NDArray[np.int64], NDArray[np.int64]], limits: Limits
) -> float:
    """Of the rate's logarithm, since steps that hold several prompts were rarely seen: how much of the prompt work comes for
    each step, and how much for each token. The work for a usual prompt is known far better, so one gains what the other
    loses."""
    now, deviation, usual = law.replica, law.fit.step_delta.deviation, float(seen[0].mean())
    more, less = now.step_gamma_ms / max(usual, 1.0), now.step_delta_ms  # so far delta can go, ms a token
    if not deviation or max(more, less) <= 0:
        return 0.0
    shift = min(deviation, more) if more >= min(deviation, less) else -min(deviation, less)
    gamma, delta = now.step_gamma_ms - shift * usual, now.step_delta_ms + shift
    other = replace(now, step_gamma_ms=gamma, step_delta_ms=delta)
    rates = [law_capacity(one, seen, limits, seeds=2, requests=10_000)[0] for one in (now, other)]
    return abs(math.log(rates[1] / rates[0])) * deviation / abs(shift) if min(rates) > 0 else 0.0


def _same_with_fewer(
    law: ServerLaw, seen: tuple[NDArray[np.int64], NDArray[np.int64]], limits: Limits
) -> bool:
    """Whether a server whose limit is the most that was seen would carry as much."""
    rates = [
        law_capacity(replica, seen, limits, seeds=1, requests=10_000)[0]
        for replica in (law.replica, replace(law.replica, max_num_seqs=int(law.fit.valid_batch[1])))
    ]
    return rates[1] > (1 - 2 * NEAR) * rates[0]


def _no_limit(law: ServerLaw) -> str:
    return (
        f"no limit of sequences was seen; steps of more than {law.fit.valid_batch[1]:g} were not: "
        "if the server has one, give it as max-num-seqs"
    )


def served(recording: Recording) -> bool:
    """Whether nearly all requests of a run completed. Those that did not have taken the server's time, too, and are the
    longest ones: neither the lengths nor the load of such a run can be told from what completed."""
    return bool(np.mean(recording.requests["outcome"] == COMPLETED) >= SERVED)


def lengths(recordings: Sequence[Recording]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of prompts and outputs of all requests that completed."""
    requests = np.concatenate([one.requests for one in recordings])
    done = requests[
        (requests["outcome"] == COMPLETED)
        & (requests["prompt_tokens"] != NONE)
        & (requests["output_tokens"] > 0)
    ]
    return done["prompt_tokens"].astype(np.int64), done["output_tokens"].astype(np.int64)
