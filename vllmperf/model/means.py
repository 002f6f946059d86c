"""A fit to means that other tools left: two of them give the published two-point method, with what it leaves open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vllmperf import data_file, text_file
from vllmperf.errors import SettingError, UsageError
from vllmperf.model import guidellm_means
from vllmperf.model.parameters import UNKNOWN, Fit, Parameter, Point, Quality
from vllmperf.model.regression import fit

PRINTED_MS = 0.05
"""Half of the last digit that the tools print: what rounding alone leaves open."""


@dataclass(frozen=True)
class Mean:
    """One run as a foreign file tells it."""

    label: str
    batch: float
    itl_ms: float
    ttft_ms: float | None
    input_tokens: float | None
    output_tokens: float | None


def read_means(path: Path, batch: float | None, name: str | None = None) -> list[Mean]:
    """From a result JSON of `vllm bench serve` or a report of guidellm 0.2 to 0.8 (JSON or YAML).

    batch: the number that stands for the sequences in a step; None takes the concurrency that the file reports.
    name: what the file is called among others (else its file name). Raises UsageError.
    """
    found = [_checked(path, mean) for mean in _read(path, batch, name or path.name)]
    if batch is not None and len(found) > 1:
        raise SettingError(
            "{path} holds {n} benchmarks: leave {batch} out, or give a file for each batch",
            path=path,
            n=len(found),
        )
    if len(found) == 1:
        return found
    return [replace(mean, label=f"{mean.label} #{place}") for place, mean in enumerate(found, start=1)]


def _checked(path: Path, mean: Mean) -> Mean:
    for what, value in (("ITL", mean.itl_ms), ("batch", mean.batch)):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(
                f"{path}: its mean {what} is {value:g}: it needs requests that were answered, streamed"
            )
    return mean


def _read(path: Path, batch: float | None, label: str) -> list[Mean]:
    try:
        data = data_file.parse(text_file.read(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no run file and no JSON: {error}") from None
    if guidellm_means.is_report(data):
        return _of_guidellm(path, data, batch, label)
    if isinstance(data, dict) and "mean_itl_ms" in data:
        return [_of_vllm(path, data, batch, label)]
    raise UsageError(f"{path} is neither a vLLM result nor a report of guidellm 0.2 to 0.8")


def _of_guidellm(path: Path, report: dict[str, Any], batch: float | None, label: str) -> list[Mean]:
    try:
        found = guidellm_means.means(report)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if not found:
        raise UsageError(f"{path} holds no benchmark: was guidellm stopped before one was over?")
    return [_of_benchmark(path, one, place, batch, label) for place, one in enumerate(found, 1)]


def _of_benchmark(
    path: Path, one: guidellm_means.BenchmarkMeans, place: int, batch: float | None, label: str
) -> Mean:
    if one.itl_ms is None or one.successful == 0:
        raise UsageError(
            f"{path}: benchmark {place} has no mean ITL: it needs requests that were answered, streamed"
        )
    if batch is None and one.concurrency is None:
        raise SettingError(
            "{path}: benchmark {place} does not say its concurrency: give {batch}", path=path, place=place
        )
    return Mean(
        label=label,
        batch=batch if batch is not None else float(one.concurrency or 0.0),
        itl_ms=one.itl_ms,
        ttft_ms=one.ttft_ms,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
    )


def _of_vllm(path: Path, data: dict[str, Any], batch: float | None, label: str) -> Mean:
    try:
        return _vllm_mean(data, batch, label)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path} is no result of `vllm bench serve`: {error}") from None


def _vllm_mean(data: dict[str, Any], batch: float | None, label: str) -> Mean:
    completed = max(int(data.get("completed") or 0), 1)
    itl = float(data["mean_itl_ms"])
    little = float(data.get("output_throughput") or 0.0) * itl / 1000
    return Mean(
        label=label,
        batch=batch if batch is not None else little,
        itl_ms=itl,
        ttft_ms=float(data["mean_ttft_ms"]) if data.get("mean_ttft_ms") is not None else None,
        input_tokens=float(data.get("total_input_tokens") or 0) / completed or None,
        output_tokens=float(data.get("total_output_tokens") or 0) / completed or None,
    )


def fit_means(means: Sequence[Mean]) -> Fit:
    """A straight line through means. Raises UsageError for fewer than two batches.

    With two points there is no error to estimate: the interval is what rounding to 0.1 ms leaves, and no more.
    """
    batch = np.array([mean.batch for mean in means])
    itl = np.array([mean.itl_ms for mean in means])
    if len(np.unique(batch)) < 2:
        raise SettingError(
            "one batch size cannot tell alpha from beta: add a run at another concurrency, or give {batch}"
        )
    warnings = [
        "these are means of whole runs: prefill steps are inside the ITL, and the batch is the concurrency, not what "
        "each token saw; `vllmperf fit --base-url` measures both"
    ]
    if len(means) == 2:
        alpha, beta = _two_points(batch, itl)
        warnings.append(
            "two points have no error of their own: the intervals are what rounding to 0.1 ms leaves"
        )
        quality = Quality(n=2, dof=0, r2=None, lack_of_fit_p=None, condition=None, steps=None)
    else:
        x = np.stack([np.ones(len(batch)), batch], axis=1)
        found = fit(x, itl, np.ones(len(batch)), np.arange(len(batch)))
        alpha, beta = (
            Parameter(*map(float, one)) for one in zip(found.values, found.low, found.high, strict=True)
        )
        quality = Quality(found.n, found.dof, found.r2, found.lack_of_fit_p, found.condition, None)
    prompts = [mean.input_tokens for mean in means if mean.input_tokens]
    return Fit(
        parameters={"alpha": alpha, "beta": beta, "gamma": UNKNOWN, "delta": UNKNOWN},
        quality=quality,
        points=tuple(_point(mean, alpha, beta) for mean in means),
        valid_batch=(float(batch.min()), float(batch.max())),
        valid_input_tokens=(min(prompts), max(prompts)) if prompts else None,
        warnings=tuple(warnings),
    )


def _two_points(batch: Any, itl: Any) -> tuple[Parameter, Parameter]:
    (low, high), (at_low, at_high) = zip(*sorted(zip(batch.tolist(), itl.tolist(), strict=True)), strict=True)
    beta = (at_high - at_low) / (high - low)
    off = 2 * PRINTED_MS / (high - low)
    # The intercept at batch 0 is a weighted difference of both means, each off by half a digit.
    alpha, off_alpha = at_low - beta * low, PRINTED_MS * (high + low) / (high - low)
    return Parameter(alpha, alpha - off_alpha, alpha + off_alpha), Parameter(beta, beta - off, beta + off)


def _point(mean: Mean, alpha: Parameter, beta: Parameter) -> Point:
    return Point(
        label=mean.label,
        concurrency=None,
        input_tokens=mean.input_tokens,
        output_tokens=mean.output_tokens,
        batch=mean.batch,
        itl_ms=mean.itl_ms,
        predicted_itl_ms=(alpha.value or 0.0) + (beta.value or 0.0) * mean.batch,
        ttft_ms=mean.ttft_ms,
        steps=0,
        method="means",
    )
