"""From what a caller of `size` gives to the replica, the load and the goals that sizing takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllmperf.errors import SettingError, UsageError
from vllmperf.model.latency_goals import latency_goal
from vllmperf.model.parameters import UNKNOWN, Fit, Parameter
from vllmperf.model.simulate import DISTRIBUTIONS, Load, Replica, load_of
from vllmperf.model.sizing import Goals, Sizing
from vllmperf.run import Run

NAMES = ("alpha", "beta", "gamma", "delta")
ABOVE_ZERO = ("tps", "rate", "input_len", "output_len")
AT_LEAST_ZERO = ("input_spread", "output_spread", "seed")
AT_LEAST_ONE = ("max_num_seqs", "max_num_batched_tokens", "input_len", "output_len")


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """Keywords of vllmperf.size, which describes them. Raises SettingError."""

    ttft: float | str | None = None
    itl: float | str | None = None
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
        if self.seed >= 2**32:
            raise SettingError("{seed} must be below 2^32 (got {got})", got=self.seed)

    @property
    def goals(self) -> Goals:
        ttft, itl = latency_goal("ttft", self.ttft), latency_goal("itl", self.itl)
        return Goals(
            ttft_ms=ttft and ttft.limit_ms,
            itl_ms=itl and itl.limit_ms,
            output_tokens_per_s=self.tps,
            ttft_percentile=ttft and ttft.percentile,
            itl_percentile=itl and itl.percentile,
        )

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


def _value(parameter: Parameter) -> float:
    return parameter.value or 0.0


def sized(fit: Fit, settings: SizeSettings, tell: Callable[[str], None]) -> Sizing:
    """The sizing, and beside it what the published models say."""
    from vllmperf.model.sizing import size

    sequences = settings.sequences(fit)
    replica, deviations = replica_of(fit, sequences, settings.max_num_batched_tokens)
    covariance = fit.covariance_alpha_beta[0][1] if fit.covariance_alpha_beta else 0.0
    load, goals = settings.load, settings.goals
    found = size(replica, load, goals, deviations, covariance, settings.rate, settings.seed, tell)
    return replace(found, published=_published(fit, settings, sequences, goals, load, found.max_rate_per_s))


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
            itl_ms=goals.itl_ms,
            tps=settings.tps is not None,
        )
        for name, model in found.items()
    }


def _known(parameters: Mapping[str, Parameter]) -> dict[str, float]:
    return {name: one.value for name, one in parameters.items() if one.value is not None}
