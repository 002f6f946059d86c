"""The parameters of one replica with their intervals, as a fit gives them and sizing takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import shown, text_file
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = 1
Z95 = 1.96

MEANINGS = {
    "alpha": ("ms", "fixed time of a decode step"),
    "beta": ("ms", "plus this for each sequence that decodes in it"),
    "gamma": ("ms", "fixed time to the first token, without queueing"),
    "delta": ("ms/token", "plus this for each token of the prompt"),
    "step_gamma": ("ms", "extra time of a step that holds prompt tokens"),
    "step_delta": ("ms/token", "plus this for each of them"),
}
"""Unit and meaning. alpha to delta are those of WVA's model analyzer: ITL = alpha + beta*batch and, at batch 1,
TTFT less queueing = gamma + delta*prompt tokens."""

THREE = {
    "alpha": ("ms", "fixed time of a step"),
    "beta": ("ms/token", "plus this for each token of a prompt or output that it computes"),
    "gamma": ("ms/token", "plus this for each token of context that it attends to"),
}
"""Of the newer published form with three parameters."""


@dataclass(frozen=True)
class Parameter:
    """One estimate and its 95 % interval, in the unit of MEANINGS. None: the data do not say."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def deviation(self) -> float:
        """Standard deviation; 0 where there is no interval."""
        return 0.0 if self.low is None or self.high is None else (self.high - self.low) / 2 / Z95

    def to_dict(self, unit: str) -> dict[str, Any]:
        """value, unit, ci95; null where it is not known."""
        return {
            "value": self.value,
            "unit": unit,
            "ci95": None if self.low is None else [self.low, self.high],
        }

    def __str__(self) -> str:
        if self.value is None:
            return "unknown"
        return f"{self.value:.4g}" + ("" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]")


UNKNOWN = Parameter(None, None, None)


@dataclass(frozen=True)
class Point:
    """One run: what was set, what was seen, what the law says."""

    label: str
    concurrency: int | None
    input_tokens: float | None
    output_tokens: float | None
    batch: float | None  # mean over tokens of the sequences that decoded with them
    itl_ms: float | None
    predicted_itl_ms: float | None
    ttft_ms: float | None
    steps: int
    method: str  # "steps" or "windows"
    held_out: bool = False
    in_flight: float | None = (
        None  # of the middle of the run: from the requests' times, by Little's law, by /metrics
    )
    in_flight_by_little: float | None = None
    in_flight_by_server: float | None = None


@dataclass(frozen=True)
class Quality:
    """Of the fit of alpha and beta; None where there is nothing to tell it from."""

    n: int
    dof: int
    r2: float | None
    lack_of_fit_p: float | None
    condition: float | None
    steps: int | None  # behind the measurements; None when those are means
    hold_out_error: float | None = None  # of ITL, relative, at the runs that were held out


@dataclass(frozen=True, repr=False)
class Fit(shown.Shown):
    """What `vllmperf fit` found: `fit.alpha.value` in ms, `fit.beta.low`, … by the names of MEANINGS.

    parameters: the same by name. valid_batch and valid_input_tokens: the range that was seen. model, max_num_seqs,
    max_num_batched_tokens, kv_cache_tokens: of the server, None where that is not known. warnings: what speaks against it, a
    sentence each.

    >>> from vllmperf.model.size_settings import fit_of_numbers
    >>> fit = fit_of_numbers({"alpha": 7, "beta": 0.1})
    >>> fit.alpha.value, fit.beta.value, fit.gamma.value
    (7.0, 0.1, None)
    """

    parameters: dict[str, Parameter]
    quality: Quality
    points: tuple[Point, ...]
    valid_batch: tuple[float, float]
    valid_input_tokens: tuple[float, float] | None
    warnings: tuple[str, ...] = ()
    covariance_alpha_beta: tuple[tuple[float, float], tuple[float, float]] | None = None
    three_parameter: dict[str, Parameter] = field(default_factory=dict)
    """By the names of THREE; empty when the runs do not tell."""
    residuals: tuple[tuple[float, float, float, float], ...] = field(default=(), repr=False)
    """(batch, step in ms, residual in ms, steps behind it) of each measurement, for the plot."""
    model: str | None = None
    max_num_seqs: int | None = None
    covariance_gamma_delta: tuple[tuple[float, float], tuple[float, float]] | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_tokens: int | None = None

    def __getattr__(self, name: str) -> Parameter:
        if name not in MEANINGS:
            raise AttributeError(name)
        return self.parameters.get(name, UNKNOWN)

    def to_dict(self) -> dict[str, object]:
        """The object that `--json` prints; docs/fit.md has its schema."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "kv_cache_tokens": self.kv_cache_tokens,
            "parameters": {name: value.to_dict(MEANINGS[name][0]) for name, value in self.parameters.items()},
            "three_parameter": {
                name: value.to_dict(THREE[name][0]) for name, value in self.three_parameter.items()
            }
            or None,
            "covariance_alpha_beta": self.covariance_alpha_beta,
            "covariance_gamma_delta": self.covariance_gamma_delta,
            "fit": dict(vars(self.quality)),
            "valid": {
                "batch": list(self.valid_batch),
                "input_tokens": list(self.valid_input_tokens) if self.valid_input_tokens else None,
            },
            "points": [dict(vars(point)) for point in self.points],
            "warnings": list(self.warnings),
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Steps against batch with the law and its 95 % band, on `ax`; without one, on a new figure with the residuals
        below. Needs matplotlib."""
        return shown.views().axes(self, ax)


# ---- reading ----


def is_fit(data: object) -> bool:
    """Whether a file's data is what `vllmperf fit --json` printed."""
    return isinstance(data, Mapping) and isinstance(data.get("parameters"), Mapping)


def read_fit(path: Path) -> Fit:
    """The fit in a file of `vllmperf fit --json`; without the residuals that its picture shows. Raises UsageError."""
    try:
        found = _fit_of(json.loads(text_file.read(path)))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UsageError(f"{path} holds no parameters as `vllmperf fit --json` prints them") from None
    if not (found.alpha.value or 0.0) > 0 or found.beta.value is None:
        raise UsageError(f"{path} knows no alpha or no beta: run `vllmperf fit` again")
    return found


def _fit_of(data: Mapping[str, Any]) -> Fit:
    valid, quality = data.get("valid") or {}, data.get("fit") or {}
    tokens = valid.get("input_tokens")
    low, high = valid.get("batch") or (1.0, 1.0)
    return Fit(
        parameters=_read_parameters(data["parameters"]),
        quality=Quality(
            **{"n": 0, "dof": 0, **dict.fromkeys(("r2", "lack_of_fit_p", "condition", "steps")), **quality}
        ),
        points=tuple(Point(**point) for point in data.get("points") or ()),
        valid_batch=(float(low), float(high)),
        valid_input_tokens=(float(tokens[0]), float(tokens[1])) if tokens else None,
        warnings=tuple(map(str, data.get("warnings") or ())),
        covariance_alpha_beta=_covariance(data.get("covariance_alpha_beta")),
        covariance_gamma_delta=_covariance(data.get("covariance_gamma_delta")),
        three_parameter=_read_parameters(data.get("three_parameter") or {}),
        model=data.get("model"),
        max_num_seqs=_whole(data.get("max_num_seqs")),
        max_num_batched_tokens=_whole(data.get("max_num_batched_tokens")),
        kv_cache_tokens=_whole(data.get("kv_cache_tokens")),
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _covariance(data: Any) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if not data:
        return None
    (a, b), (c, d) = data
    return (float(a), float(b)), (float(c), float(d))


def _read_parameters(data: Mapping[str, Any]) -> dict[str, Parameter]:
    found = {}
    for name, one in data.items():
        low, high = one.get("ci95") or (None, None)
        values = [None if value is None else float(value) for value in (one["value"], low, high)]
        if not all(value is None or math.isfinite(value) for value in values):
            raise ValueError(name)
        found[name] = Parameter(*values)
    return found
