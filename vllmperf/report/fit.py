"""A fit as people read it: parameters with intervals, the runs behind them, what speaks against it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from vllmperf.errors import UsageError
from vllmperf.model.parameters import (
    MEANINGS,
    THREE,
    FitResult,
    Parameter,
    inferred_targets,
    perf_parms,
    queueing_config,
)


def text(result: FitResult, width: int = 100) -> str:
    """The tables as plain text."""
    file = io.StringIO()
    show(result, file, width)
    return file.getvalue()


def show(
    result: FitResult,
    file: IO[str] | None = None,
    width: int | None = None,
    model: str | None = None,
    ttft_ms: float | None = None,
    itl_ms: float | None = None,
) -> None:
    """Print the tables and the stanzas; the targets and the model's name go into the latter."""
    from rich.console import Console

    console = Console(file=file or sys.stdout, width=width, highlight=False)
    console.print(_parameters("Parameters of one replica", result.parameters, MEANINGS))
    if result.three_parameter:
        console.print(_parameters("The newer form with three", result.three_parameter, THREE))
    console.print(_points(result))
    console.print(_quality(result), soft_wrap=False)
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", markup=False)
    for title, stanza in _stanzas(result, model, ttft_ms, itl_ms):
        console.print(f"\n# {title}", style="dim", markup=False, soft_wrap=True)
        print(stanza, end="", file=console.file)


def _stanzas(
    result: FitResult, model: str | None, ttft_ms: float | None, itl_ms: float | None
) -> list[tuple[str, str]]:
    newer = "the queueing model of newer releases, which learns its parameters itself"
    shape = next((point for point in result.points if point.input_tokens and point.output_tokens), None)
    if ttft_ms is None and shape is not None and shape.input_tokens and shape.output_tokens:
        targets = inferred_targets(result.three_parameter, shape.input_tokens, shape.output_tokens)
        if targets:
            newer += (
                f"; with these three it aims at TTFT {targets[0]:.4g} ms and ITL {targets[1]:.4g} ms "
                f"for {shape.input_tokens:.0f}/{shape.output_tokens:.0f} tokens"
            )
    return [
        (
            "VariantAutoscaling of llmd.ai/v1alpha1, spec.modelProfile.accelerators[]",
            perf_parms(result.parameters),
        ),
        (newer, queueing_config(model, ttft_ms, itl_ms)),
    ]


def _table(title: str, left: str, columns: Iterable[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(left)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _parameters(title: str, found: Mapping[str, Parameter], meanings: Mapping[str, tuple[str, str]]) -> Any:
    table = _table(title, "", ["value", "95 % interval", "unit"])
    table.add_column("what it is")
    for name, one in found.items():
        unit, meaning = meanings[name]
        table.add_row(name, _number(one.value), _interval(one.low, one.high), unit, meaning)
    return table


def _points(result: FitResult) -> Any:
    table = _table("Runs", "run", ["batch", "ITL, ms", "by the law", "off", "TTFT, ms", "steps"])
    for point in result.points:
        law = point.predicted_itl_ms
        table.add_row(
            point.label + (" (held out)" if point.held_out else ""),
            f"{point.batch:.2f}",
            f"{point.itl_ms:.3f}",
            _number(law),
            "–" if not law else f"{point.itl_ms / law - 1:+.1%}",
            _number(point.ttft_ms),
            f"{point.steps:,}" if point.method == "steps" else f"({point.method})",
        )
    return table


def _quality(result: FitResult) -> str:
    quality = result.quality
    said = [f"{quality.n} measurements of {quality.steps:,} steps" if quality.steps else f"{quality.n} means"]
    if quality.r2 is not None:
        said.append(f"R² {quality.r2:.4f}")
    if quality.lack_of_fit_p is not None:
        said.append(f"lack of fit p = {quality.lack_of_fit_p:.2g}")
    if quality.condition is not None:
        said.append(f"condition number {quality.condition:.1f}")
    if quality.hold_out_error is not None:
        said.append(f"ITL of the run held out {quality.hold_out_error:+.1%} of the law")
    low, high = result.valid_batch
    said.append(f"valid for batches {low:g} to {high:g}")
    return "; ".join(said)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"{_number(low)} … {_number(high)}"


def plot(result: FitResult, path: Path) -> None:
    """Steps against batch with the line and its 95 % band, and the residuals. A fit to means of runs shows those.

    Needs matplotlib (the extra `plots`); raises UsageError without it.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'vllmperf[plots]'") from None
    mpl.use("Agg", force=False)
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(8, 7), height_ratios=(3, 1), sharex=True)
    draw(result, *axes)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def draw(result: FitResult, top: Any, bottom: Any) -> None:
    """The same on two Axes of matplotlib."""
    import numpy as np

    alpha, beta = result.parameters["alpha"].value or 0.0, result.parameters["beta"].value or 0.0
    batch, step, residual = (np.array(column) for column in zip(*_measurements(result), strict=True))
    line = np.linspace(*result.valid_batch, 100)
    top.plot(batch, step, ".", alpha=0.3, label="measured")
    top.plot(line, alpha + beta * line, label=f"{alpha:.4g} + {beta:.3g} · batch")
    if result.covariance_alpha_beta:
        x = np.stack([np.ones(len(line)), line])
        half = 1.96 * np.sqrt(np.einsum("in,ij,jn->n", x, np.array(result.covariance_alpha_beta), x))
        top.fill_between(
            line, alpha + beta * line - half, alpha + beta * line + half, alpha=0.3, label="95 %"
        )
    top.set_ylabel("step, ms")
    top.legend()
    bottom.plot(batch, residual, ".", alpha=0.3)
    bottom.axhline(0, linewidth=0.8, color="0.5")
    bottom.set(xlabel="sequences that decode in the step", ylabel="residual, ms")


def _measurements(result: FitResult) -> list[tuple[float, float, float]]:
    if result.residuals:
        return list(result.residuals)
    return [
        (point.batch, point.itl_ms, point.itl_ms - (point.predicted_itl_ms or 0.0)) for point in result.points
    ]
