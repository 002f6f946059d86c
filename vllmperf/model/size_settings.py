"""From what a caller of `size` gives to the replica, the load and the goals that sizing takes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import SettingError, UsageError
from vllmperf.model.burst import Burst, replicas_for, wait_s
from vllmperf.model.calibrate import slowed
from vllmperf.model.cost import Cost
from vllmperf.model.goal_rate import Goals
from vllmperf.model.latency_goals import latency_goal
from vllmperf.model.parameters import UNKNOWN, Fit, Parameter
from vllmperf.model.scaling import BEYOND, Scaling, scaling
from vllmperf.model.simulate import DISTRIBUTIONS, Load, Replica, load_of, saturated_per_s
from vllmperf.model.sizing import Sizing
from vllmperf.run import Run

NAMES = ("alpha", "beta", "gamma", "delta")
ABOVE_ZERO = ("tps", "rate", "input_len", "output_len")
AT_LEAST_ZERO = ("input_spread", "output_spread", "seed", "price")
AT_LEAST_ONE = ("max_num_seqs", "max_num_batched_tokens", "input_len", "output_len", "gpus")


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """Keywords of vllmperf.size, which describes them. Raises SettingError."""

    ttft: float | str | None = None
    tpot: float | str | None = None
    tps: float | None = None
    rate: float | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int = 8192
    input_len: float = 128
    output_len: float = 128
    input_spread: float = 0.0
    output_spread: float = 0.0
    distribution: str = "uniform"
    requests: Run | Path | str | None = None
    startup: float | str | Path | None = None
    burst: float | str | None = None
    gpus: int | None = None
    price: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for names, least, word in (
            (ABOVE_ZERO, 0, "above"),
            (AT_LEAST_ZERO, 0, "at least"),
            (AT_LEAST_ONE, 1, "at least"),
        ):
            for name in names:
                _check(name, getattr(self, name), least, word)
        for name in ("input_spread", "output_spread"):
            if self.distribution == "uniform" and getattr(self, name) > 1:
                raise SettingError(
                    "{" + name + "} must lie between 0 and 1 (got {got}); or choose {distribution} lognormal",
                    got=f"{getattr(self, name):g}",
                )
        if self.distribution not in DISTRIBUTIONS:
            raise SettingError("{distribution} must be one of {known}", known=", ".join(DISTRIBUTIONS))
        if self.price is not None and self.gpus is None:
            raise SettingError("{price} is that of a GPU: give {gpus}, too")
        if (self.burst is None) != (self.startup is None):
            raise SettingError("{burst} and {startup} go together: replicas start while the burst is there")
        if self.burst is not None and (self.rate is None or not (self.ttft or self.tpot)):
            raise SettingError("{burst} needs {rate}, the load before it, and a goal: {ttft}, {tpot} or both")
        if self.burst is not None and self.burst_per_s <= (self.rate or 0.0):
            raise SettingError("{burst} must be above {rate} (got {got})", got=f"{self.burst_per_s:g}")
        if self.seed >= 2**32:
            raise SettingError("{seed} must be below 2^32 (got {got})", got=self.seed)

    @property
    def goals(self) -> Goals:
        ttft, tpot = latency_goal("ttft", self.ttft), latency_goal("tpot", self.tpot)
        return Goals(
            ttft_ms=ttft and ttft.limit_ms,
            tpot_ms=tpot and tpot.limit_ms,
            output_tokens_per_s=self.tps,
            ttft_percentile=ttft and ttft.percentile,
            tpot_percentile=tpot and tpot.percentile,
        )

    @property
    def burst_per_s(self) -> float:
        """300 is a rate, "1.5x" so many times that of the load. Raises SettingError."""
        text = str(self.burst).strip()
        try:
            rate = float(text[:-1]) * (self.rate or 0.0) if text.endswith("x") else float(text)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            raise SettingError("{burst} must be requests/s like 300, or 1.5x (got {got})", got=repr(text))
        return rate

    @property
    def load(self) -> Load:
        if self.requests is None:
            return Load(
                self.input_len, self.output_len, self.input_spread, self.output_spread, self.distribution
            )
        from vllmperf.model.estimate import lengths
        from vllmperf.record.reader import read

        path = self.requests.path if isinstance(self.requests, Run) else Path(self.requests)
        seen = lengths([read(path, texts=False)])
        if not len(seen[0]):
            raise UsageError(f"{path}: no request completed with known tokens; name another run")
        return load_of(seen)

    def sequences(self, fit: Fit) -> int:
        """Most in a step: as given, else as the fit knows it."""
        found = self.max_num_seqs or fit.max_num_seqs
        if found is None:
            raise SettingError("give {max_num_seqs}: the fit does not say how many sequences a step holds")
        return found


def _check(name: str, value: Any, least: float, word: str) -> None:
    if value is None:
        return
    if not math.isfinite(value) or value < least or (word == "above" and value <= least):
        raise SettingError(
            "{" + name + "} must be {word} {least} (got {got})", word=word, least=least, got=f"{value:g}"
        )


def fit_of_numbers(numbers: Mapping[str, float]) -> Fit:
    """Parameters that somebody gives as numbers, without intervals. Raises SettingError."""
    from vllmperf.model.parameters import Quality

    if not {"alpha", "beta"} <= numbers.keys():
        raise SettingError(
            "parameters are missing: name a file of `vllmperf fit --json`, or give {alpha} and {beta}"
        )
    for name, value in numbers.items():
        if name not in NAMES:
            raise UsageError(f"there is no parameter {name!r}: they are {', '.join(NAMES)}")
        _check(name, value, 0, "above" if name == "alpha" else "at least")
    known = {name: Parameter(float(value), None, None) for name, value in numbers.items()}
    return Fit(known, Quality(0, 0, None, None, None, None), (), (1.0, 1.0), None)


def replica_of(fit: Fit, max_num_seqs: int, max_num_batched_tokens: int) -> tuple[Replica, dict[str, float]]:
    """What a step takes, and the standard deviations: measured when the fit has it; else gamma beyond alpha is taken to be
    inside the step."""
    alpha, beta = _value(fit.alpha), _value(fit.beta)
    gamma = _value(fit.gamma) if fit.gamma != UNKNOWN else alpha
    in_step = fit.step_gamma != UNKNOWN and fit.step_gamma.value is not None
    step_gamma = _value(fit.step_gamma) if in_step else max(gamma - alpha, 0.0)
    step_delta = fit.step_delta if fit.step_delta.value is not None else fit.delta
    replica = Replica(
        alpha_ms=alpha,
        beta_ms=max(beta, 0.0),
        step_gamma_ms=max(step_gamma, 0.0),
        step_delta_ms=max(_value(step_delta), 0.0),
        front_ms=max(gamma - alpha - max(step_gamma, 0.0), 0.0),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
    )
    deviations = {
        "alpha_ms": fit.alpha.deviation,
        "beta_ms": fit.beta.deviation,
        "step_gamma_ms": (fit.step_gamma if in_step else fit.gamma).deviation,
        "step_delta_ms": step_delta.deviation,
    }
    return replica, deviations


SPREAD = 0.2
"""Of the lengths of requests that a fit's own shape stands for: those of its runs."""
USUAL_STEP = 8192
"""Tokens of a step where nobody says otherwise: vLLM's default for a server."""


def scaling_of(
    fit: Fit,
    *,
    lengths: tuple[float | None, float | None] = (None, None),
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    kv_cache_tokens: int | None = None,
    thresholds: bool = True,
    tell: Callable[[str], None] = lambda _: None,
    **given: Any,
) -> Scaling:
    """Constants for routers and autoscalers; keywords as vllmperf.emit has them."""
    usual = next((one for one in fit.points if one.input_tokens and one.output_tokens), None)
    seen = ((usual and usual.input_tokens) or 128, (usual and usual.output_tokens) or 128)
    spread = 0.0 if any(lengths) or usual is None else SPREAD
    settings = SizeSettings(
        input_len=lengths[0] or seen[0],
        output_len=lengths[1] or seen[1],
        input_spread=spread,
        output_spread=spread,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens or fit.max_num_batched_tokens or USUAL_STEP,
        **given,
    )
    goals = settings.goals
    sequences = settings.sequences(fit) if goals.limits else int(fit.valid_batch[1])
    replica, deviations = replica_of(fit, sequences, settings.max_num_batched_tokens)
    return scaling(
        fit, replica, deviations, goals, settings.load, kv_cache_tokens, settings.seed, tell, thresholds
    )


def _value(parameter: Parameter) -> float:
    return parameter.value or 0.0


def sized(fit: Fit, settings: SizeSettings, tell: Callable[[str], None]) -> Sizing:
    """The sizing, and beside it what the published models say."""
    from vllmperf.model.sizing import size

    sequences = settings.sequences(fit)
    replica, deviations = replica_of(fit, sequences, settings.max_num_batched_tokens)
    covariance = fit.covariance_alpha_beta[0][1] if fit.covariance_alpha_beta else 0.0
    load, goals = settings.load, settings.goals
    startup_s = None if settings.startup is None else startup_seconds(settings.startup)
    found = size(replica, load, goals, deviations, covariance, settings.rate, settings.seed, tell)
    return replace(
        found,
        published=_published(fit, settings, sequences, goals, load, found.max_rate_per_s),
        basis=_basis(fit, replica, load, found),
        cost=None if settings.gpus is None else _cost(settings, load, found),
        burst=None if startup_s is None else _burst(settings, replica, load, found, startup_s, tell),
    )


def startup_seconds(given: float | str | Path) -> float:
    """Seconds, or the longest start in a file of `vllmperf startup --json` or `vllmperf parse-log --json`. Raises UsageError."""
    from vllmperf.plan.checks import seconds_of

    if isinstance(given, str) and not Path(given).exists():
        given = seconds_of(given) or given
    if isinstance(given, int | float):
        if not 0 < given < math.inf:
            raise SettingError("{startup} must be above 0 (got {got})", got=f"{given:g}")
        return float(given)
    path = Path(given)
    try:
        found = startup_times(json.loads(text_file.read(path)))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give seconds, or a file of vllmperf startup --json"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        found = []
    if not found:
        raise UsageError(
            f"{path} holds no start that came to its end: measure one with vllmperf startup --json"
        )
    return max(found)


def startup_times(data: Any) -> list[float]:
    """Seconds of each start that reached its end. Of a log: its critical phases add up to the start."""
    if isinstance(data, list):
        return [one for part in data for one in startup_times(part)]
    if "starts" in data:
        return [float(one["total_s"]) for one in data["starts"] if one["total_s"] is not None]
    if not data["reached_ready"]:
        return []
    return [float(sum(one["duration_s"] or 0.0 for one in data["phases"] if one["critical"]))]


def _cost(settings: SizeSettings, load: Load, found: Sizing) -> Cost:
    inputs = found.max_rate_per_s * load.input_tokens
    return Cost(settings.gpus or 1, settings.price, found.outcome.output_tokens_per_s, inputs)


def _burst(
    settings: SizeSettings,
    replica: Replica,
    load: Load,
    found: Sizing,
    startup_s: float,
    tell: Callable[[str], None],
) -> Burst:
    """At the capacity and at both ends of its interval: there all of the replica's times are longer or shorter."""
    tell(f"replicas through {startup_s:g} s of a burst")
    before, height = settings.rate or 0.0, settings.burst_per_s
    needed, after = [], []
    for each in (found.max_rate_per_s, found.high, found.low):
        speed = max(each, 0.01 * found.max_rate_per_s)
        as_fast = slowed(replica, found.max_rate_per_s / speed)
        after.append(math.ceil(height / speed - 1e-9))
        needed.append(
            replicas_for(as_fast, load, found.goals, before, height, startup_s, after[-1], settings.seed)
        )
    base = math.ceil(before / found.max_rate_per_s - 1e-9)
    queue = wait_s(
        height / max(needed[0], base), saturated_per_s(replica, load, seed=settings.seed), startup_s
    )
    replicas, least, most = needed
    return Burst(height, startup_s, base, replicas, least, most, after[0], queue)


def _basis(fit: Fit, replica: Replica, load: Load, found: Sizing) -> tuple[str, ...]:
    runs = sum(not point.held_out for point in fit.points)
    if not fit.quality.n:
        return (
            "parameters given as numbers, without intervals: the interval is that of the simulation alone",
        )
    low, high = fit.valid_batch
    told = [f"a fit of {runs} runs that saw batches of {low:g} to {high:g}"]
    if found.outcome.batch > BEYOND * high:
        told.append(
            f"extrapolated: {found.outcome.batch:.0f} sequences decode at once there, and the fit saw {high:g} at most"
        )
    elif replica.max_num_seqs > BEYOND * high:
        told.append(f"a step may hold {replica.max_num_seqs} sequences, and the fit saw {high:g} at most")
    seen = fit.valid_input_tokens
    if seen is not None and not seen[0] / BEYOND <= load.input_tokens <= BEYOND * seen[1]:
        told.append(
            f"extrapolated: prompts have {load.input_tokens:.0f} tokens, and the fit saw {seen[0]:.0f} to {seen[1]:.0f}"
        )
    return tuple(told)


def _published(
    fit: Fit, settings: SizeSettings, sequences: int, goals: Goals, load: Load, rate_per_s: float
) -> dict[str, dict[str, Any]]:
    from vllmperf.model.published import answer, models
    from vllmperf.model.queue import Shape

    four, three = _known(fit.parameters), _known(fit.three_parameter)
    shape = Shape(load.input_tokens, load.output_tokens)
    found = models(
        {name: four[name] for name in NAMES if name in four}, three, settings.max_num_batched_tokens
    )
    return {
        name: answer(
            model,
            shape,
            sequences,
            rate_per_s,
            ttft_ms=goals.ttft_ms,
            tpot_ms=goals.tpot_ms,
            tps=settings.tps is not None,
        )
        for name, model in found.items()
    }


def _known(parameters: Mapping[str, Parameter]) -> dict[str, float]:
    return {name: one.value for name, one in parameters.items() if one.value is not None}
