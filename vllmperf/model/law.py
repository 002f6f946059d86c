"""The fit: recorded runs in, alpha to delta with intervals out, and everything that speaks against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError
from vllmperf.model.arrivals import Arrivals
from vllmperf.model.crosscheck import InFlight, contradiction, in_flight, strangers
from vllmperf.model.fit_warnings import bent, fit_warnings, held_up
from vllmperf.model.parameters import THREE, UNKNOWN, Fit, Parameter, Point, Quality
from vllmperf.model.prefill import FirstToken, first_token_law, stamp_lateness_ms, step_law
from vllmperf.model.regression import Floats, Regression, fit
from vllmperf.model.second_means import second_means
from vllmperf.model.steady import Stalls, settled, without_stalls
from vllmperf.model.steps import Steps, steps
from vllmperf.model.stretches import BLOCKS_PER_RUN, decode_stretches
from vllmperf.model.three_parameter import three_parameter_law

REGULAR = 0.97
"""Below this share of tokens that came one step after the last, steps count as not told apart."""
WANDER, NEVER_SKIPPED = 0.04, 0.998
"""Streams of several engines shift against one another by more than this share of a step, and as they pass one another
tokens come more than a step after the last. vLLM on two cores that the client shares shifts them by up to 0.06, since it
writes slowly, but 0.9996 of the tokens come one step after the last; of two engines 0.995 did at most."""
MULTIPLE = 0.02

SEVERAL = "its streams do not keep step with one another: several engines share this address, or too little CPU is left for it"
FEW = 0.1
"""Several engines are seen when runs with this share of the tokens show them: what one run shows holds for all."""

NOT_KNOWN = InFlight(None, None)
NO_STALLS = Stalls(0, 0.0)
NAMED = 3
LOST = 0.01
"""Stalls that took this share of the time are named."""


@dataclass(frozen=True)
class Measured:
    """One run, ready to fit: its arrivals and its steps (None where they cannot be told apart). why_not: why steps do not
    tell the time of a token: they cannot be told apart, or give several."""

    label: str
    concurrency: int | None
    input_tokens: float | None
    output_tokens: float | None
    arrivals: Arrivals
    steps: Steps | None
    why_not: str | None = None
    held_out: bool = False
    in_flight: InFlight = NOT_KNOWN
    server_running: float | None = None  # mean of the server's own gauge, when it could be read
    unsettled: int = 0  # steps at the start that are not used
    stalls: Stalls = NO_STALLS


def measured(
    label: str,
    arrivals: Arrivals,
    held_out: bool = False,
    concurrency: int | None = None,
    server_running: float | None = None,
) -> Measured:
    """Look for the steps of a run."""
    (found, unsettled), why = settled(steps(arrivals)), None
    found, stalls = without_stalls(found)
    several = found.wander > WANDER and found.regular < NEVER_SKIPPED
    in_step = found.regular >= REGULAR and not several
    if arrivals.multiple > MULTIPLE:
        why = f"{arrivals.multiple:.0%} of its chunks carry several tokens"
    elif several:
        why = SEVERAL
    elif found.regular < REGULAR:
        why = f"only {found.regular:.0%} of its tokens came one step after the last (other clients? several engines?)"
    return Measured(
        label=label,
        concurrency=concurrency,
        input_tokens=_mean(arrivals.prompt_tokens[arrivals.prompt_tokens > 0]),
        output_tokens=_mean(np.unique(arrivals.stream, return_counts=True)[1]),
        arrivals=arrivals,
        steps=found if in_step else None,
        why_not=why,
        held_out=held_out,
        in_flight=in_flight(arrivals),
        server_running=server_running,
        unsettled=unsettled,
        stalls=stalls,
    )


def fit_runs(runs: Sequence[Measured]) -> Fit:
    """Fit the runs that are not held out; test on those that are.

    Raises UsageError when the runs cannot tell alpha from beta, naming the run that would help.
    """
    used, warnings = _usable([run for run in runs if not run.held_out])
    batch, step_ms, count, block = _measurements(used)
    decode = _decode_law(batch, step_ms, count, block)
    alpha, beta = (float(value) for value in decode.values)
    known = [r.steps for r in used if r.steps]
    step, _ = _try(lambda: step_law(known, alpha, beta))
    prompt, prompt_warning = _first_token(
        used, None if bent(decode, batch) else step, stamp_lateness_ms(known)
    )
    three, three_warning = _try(lambda: three_parameter_law(known))
    warnings += list(prompt.warnings) if prompt else _no_first_token(prompt_warning)
    warnings += _no_three(three_warning) if known else []
    warnings += fit_warnings(decode, batch, step_ms, count) + held_up(known, _most_wanted(used))
    warnings += _contradictions(runs) + _prompts_apart(known) + strangers(known, alpha, beta)
    warnings += _unsettled(used) + _stalled(used)
    tokens = _tokens_per_step(used)
    warnings += _per_token(tokens, bool(known))
    parameters = {
        "alpha": _parameter(decode, 0, 1 / tokens),
        "beta": _parameter(decode, 1, 1 / tokens),
        "gamma": _parameter(prompt.law if prompt else None, 0),
        "delta": _parameter(prompt.law if prompt else None, 1),
        "step_gamma": _parameter(step, 0),
        "step_delta": _parameter(step, 1),
    }
    points = tuple(_point(run, parameters) for run in (runs if known else _by_windows(runs)))
    return Fit(
        parameters=parameters,
        quality=_quality(decode, int(count.sum()) if known else None, points),
        points=points,
        valid_batch=(float(batch.min()), float(batch.max())),
        valid_input_tokens=_range(used),
        warnings=tuple(warnings),
        covariance_alpha_beta=_covariance(decode, 1 / tokens),
        covariance_gamma_delta=_covariance(prompt.law, 1.0) if prompt else None,
        three_parameter=_three(three),
        residuals=tuple(
            zip(
                *(one.tolist() for one in (batch, step_ms / tokens, decode.residual / tokens, count)),
                strict=True,
            )
        ),
    )


def _usable(runs: list[Measured]) -> tuple[list[Measured], list[str]]:
    """The runs whose steps are known, when those hold most of the tokens; else all, to be taken by the second."""
    unclear = [run for run in runs if run.steps is None]
    clear = [run for run in runs if run.steps is not None]
    if _tokens([run for run in unclear if run.why_not == SEVERAL]) > FEW * _tokens(runs):
        return _by_windows(runs), [
            f"{SEVERAL} ({', '.join(run.label for run in unclear if run.why_not == SEVERAL)}): means of whole seconds are "
            "used for all runs, alpha and beta hold for the address as a whole and a part of the prompts' cost; beta of "
            "one engine is as many times that as there are engines: fit one engine at an address of its own"
        ]
    windows = (
        "means of whole seconds are used for all runs, so that alpha and beta, which are a token's, hold a part of the "
        "prompts' cost"
    )
    told = "left out" if _tokens(clear) > _tokens(unclear) else windows
    return (clear if told == "left out" else _by_windows(runs)), _told_once(unclear, told)


def _by_windows(runs: Sequence[Measured]) -> list[Measured]:
    return [replace(run, steps=None) for run in runs]


def _told_once(unclear: Sequence[Measured], told: str) -> list[str]:
    """Many runs with one trouble are told of together."""
    if len(unclear) <= NAMED:
        return [f"{run.label}: {run.why_not}: {told}" for run in unclear]
    worst = max(unclear, key=lambda run: len(run.arrivals.at_ns))
    return [f"{worst.label} and {len(unclear) - 1} others: {worst.why_not}: {told}"]


def _tokens_per_step(runs: Sequence[Measured]) -> float:
    """That a stream gets, 1 unless chunks carry several. Means of seconds are of tokens already."""
    if any(run.steps is None for run in runs) or not any(run.arrivals.multiple > MULTIPLE for run in runs):
        return 1.0
    weight = [len(run.arrivals.at_ns) for run in runs]
    return float(np.average([run.arrivals.tokens_per_chunk for run in runs], weights=weight))


def _per_token(tokens: float, by_steps: bool) -> list[str]:
    if tokens == 1.0 or not by_steps:
        return []
    return [
        f"a step gives a stream {tokens:.2f} tokens (speculative decoding?): alpha and beta are those of a token, a step "
        "takes as many times that; gamma is that of the first chunk"
    ]


def _tokens(runs: Sequence[Measured]) -> int:
    return sum(len(run.arrivals.at_ns) for run in runs)


def _measurements(runs: Sequence[Measured]) -> tuple[Floats, Floats, Floats, Floats]:
    """Batch, ms, steps behind it, block: stretches of the runs that have steps, else windows of all."""
    if all(run.steps is not None for run in runs):
        found = decode_stretches([run.steps for run in runs if run.steps])
        return (
            found.decodes.astype(np.float64),
            found.step_ms,
            found.count.astype(np.float64),
            found.block.astype(np.float64),
        )
    parts = [second_means(run.arrivals, number) for number, run in enumerate(runs)]
    batch, itl, block = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
    return batch, itl, np.ones(len(batch)), block


def _decode_law(batch: Floats, step_ms: Floats, count: Floats, block: Floats) -> Regression:
    if len(batch) == 0:
        raise UsageError(
            "no decode step was seen in these runs: they need outputs of several tokens, streamed"
        )
    x = np.stack([np.ones(len(batch)), batch], axis=1)
    try:
        number = block.astype(np.int64)
        return fit(x, step_ms, count, number, run=number // BLOCKS_PER_RUN)
    except ValueError as error:
        raise UsageError(
            f"alpha and beta cannot be told apart: all tokens were decoded {batch.min():g} to {batch.max():g} at once; "
            "add a run at another concurrency"
        ) from error


def _try(make: Callable[[], Regression]) -> tuple[Regression | None, str | None]:
    try:
        return make(), None
    except ValueError as error:
        return None, str(error)


def _first_token(
    runs: Sequence[Measured], step: Regression | None, stamp_ms: float
) -> tuple[FirstToken | None, str]:
    try:
        return first_token_law([run.arrivals for run in runs], step, stamp_ms), ""
    except ValueError as error:
        return None, str(error)


def _no_first_token(why: str) -> list[str]:
    return [f"gamma and delta are not known: {why}; add runs at concurrency 1 of two prompt lengths"]


def _no_three(why: str | None) -> list[str]:
    return [f"the three-parameter form is not known: {why}; add runs of other shapes"] if why else []


def _contradictions(runs: Sequence[Measured]) -> list[str]:
    told = [told for run in runs if (told := contradiction(run.label, run.in_flight, run.server_running))]
    return told[:NAMED] + ([f"and so in {len(told) - NAMED} more runs"] if len(told) > NAMED else [])


def _prompts_apart(known: Sequence[Steps]) -> list[str]:
    if not any(run.apart for run in known):
        return []
    return [
        "prompts are computed in steps of their own, in which nobody decodes: gamma holds no alpha, and a step that "
        "prompts come before takes longer by step_gamma for each such step"
    ]


def _most_wanted(runs: Sequence[Measured]) -> int | None:
    return max((run.concurrency for run in runs if run.concurrency), default=None)


def _unsettled(runs: Sequence[Measured]) -> list[str]:
    return [
        f"{run.label}: its first {run.unsettled:,} of {len(run.steps):,} steps took another time and are not used"
        for run in runs
        if run.steps and run.unsettled
    ]


def _stalled(runs: Sequence[Measured]) -> list[str]:
    found = [run for run in runs if run.steps and run.stalls.lost_share > LOST]
    if not found:
        return []
    worst = max(found, key=lambda run: run.stalls.lost_share)
    count, share = sum(run.stalls.count for run in found), f"{worst.stalls.lost_share:.1%} of the time"
    where = worst.label if len(found) == 1 else f"{len(found)} runs"
    how_long = f"for {share}" if len(found) == 1 else f"for up to {share}, at {worst.label}"
    return [
        f"{where}: {count:,} steps stood still, {how_long}: the law is that of the others, latencies are longer by "
        "that much"
    ]


def _three(found: Regression | None) -> dict[str, Parameter]:
    return {name: _parameter(found, place) for place, name in enumerate(THREE)} if found else {}


def _parameter(found: Regression | None, place: int, scale: float = 1.0) -> Parameter:
    if found is None:
        return UNKNOWN
    return Parameter(*(float(ends[place]) * scale for ends in (found.values, found.low, found.high)))


def _point(run: Measured, parameters: dict[str, Parameter]) -> Point:
    arrivals = run.arrivals
    decoded = arrivals.place > 0
    batch, itl = _seen(run)
    began = np.unique(arrivals.stream)
    ttft = (arrivals.first_ns[began] - arrivals.sent_ns[began]) / 1e6
    return Point(
        label=run.label,
        concurrency=run.concurrency,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        batch=batch,
        itl_ms=itl,
        predicted_itl_ms=_predicted(run, parameters),
        ttft_ms=_mean(ttft),
        steps=len(run.steps) if run.steps else int(decoded.sum()),
        method="steps" if run.steps else "windows",
        held_out=run.held_out,
        in_flight=run.in_flight.counted,
        in_flight_by_little=run.in_flight.little,
        in_flight_by_server=run.server_running,
    )


def _seen(run: Measured) -> tuple[float | None, float | None]:
    """Batch and ITL (ms), means over tokens; None where nothing was decoded."""
    if run.steps is None:
        batch, itl, _ = second_means(run.arrivals, 0)
        return _mean(batch), _mean(itl)
    rows = (run.steps.decodes > 0) & np.isfinite(run.steps.duration_ns)
    weight = run.steps.decodes[rows]
    if not rows.any():
        return None, None
    return float(np.average(weight, weights=weight)), float(
        np.average(run.steps.duration_ns[rows], weights=weight) / 1e6 / _tokens_per_step([run])
    )


def _predicted(run: Measured, parameters: dict[str, Parameter]) -> float | None:
    """Mean ITL that the law gives for the batches and prompts of this run."""
    alpha, beta = parameters["alpha"].value, parameters["beta"].value
    if alpha is None or beta is None:
        return None
    if run.steps is None:
        batch = _seen(run)[0]
        return None if batch is None else alpha + beta * batch
    rows = (run.steps.decodes > 0) & np.isfinite(run.steps.duration_ns)
    if not rows.any():
        return None
    decodes, admitted = run.steps.decodes[rows], run.steps.admitted[rows] > 0
    extra = (parameters["step_gamma"].value or 0.0) * admitted
    extra = extra + (parameters["step_delta"].value or 0.0) * run.steps.prefill_tokens[rows]
    return float(np.average(alpha + beta * decodes + extra / _tokens_per_step([run]), weights=decodes))


def _quality(decode: Regression, steps: int | None, points: tuple[Point, ...]) -> Quality:
    errors = [
        point.itl_ms / point.predicted_itl_ms - 1
        for point in points
        if point.held_out and point.itl_ms and point.predicted_itl_ms
    ]
    return Quality(
        n=decode.n,
        dof=decode.dof,
        r2=None if np.isnan(decode.r2) else decode.r2,
        lack_of_fit_p=decode.lack_of_fit_p,
        condition=decode.condition,
        steps=steps,
        hold_out_error=max(errors, key=abs) if errors else None,
    )


def _covariance(decode: Regression, scale: float) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = (decode.covariance * scale**2).tolist()
    return (a, b), (c, d)


def _range(runs: Sequence[Measured]) -> tuple[float, float] | None:
    tokens = np.concatenate([run.arrivals.prompt_tokens for run in runs])
    tokens = tokens[tokens > 0]
    return (float(tokens.min()), float(tokens.max())) if len(tokens) else None


def _mean(values: NDArray[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None
