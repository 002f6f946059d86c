"""A search for the capacity as people read it: the answer, the steps behind it, a plot against the rate."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllmperf.model.capacity import Capacity, Step

METHODS = {
    "law": "by the server's step law, held against these very requests",
    "windows": "by a curve through the goodput of all windows",
    "steps": "no rate failed",
}


def text(result: Capacity, width: int = 100) -> str:
    """The answer and the table of steps as plain text."""
    file = io.StringIO()
    show(result, file, width)
    return file.getvalue()


def show(result: Capacity, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print the answer and the table of steps."""
    from rich.console import Console

    console = Console(file=file or sys.stdout, width=width, highlight=False)
    console.print(_answer(result), style="bold", markup=False)
    console.print(f"{_slo(result)}; {_how(result)}", markup=False)
    console.print(_steps(result))
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", markup=False)


def _answer(result: Capacity) -> str:
    if result.rate_per_s is None:
        return "The capacity is not known: no step was made."
    if result.at_least:
        return f"The server carries more than {result.rate_per_s:.4g} requests/s."
    low, high = _number(result.low), _number(result.high)
    return f"The server carries {result.rate_per_s:.4g} requests/s (95 %: {low} … {high})."


def _slo(result: Capacity) -> str:
    limits = result.limits
    parts = [f"TTFT ≤ {limits.ttft_ms:g} ms"] if limits.ttft_ms is not None else []
    parts += [f"ITL ≤ {limits.itl_ms:g} ms"] if limits.itl_ms is not None else []
    return f"{limits.share:.4g} of the requests with {' and '.join(parts)}"


def _how(result: Capacity) -> str:
    slots = f"; {result.max_num_seqs} sequences at once" if result.max_num_seqs else ""
    return f"{METHODS[result.method]}{slots}; {result.elapsed_s:.0f} s"


def _steps(result: Capacity) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("requests/s", "requests", "bad", "TTFT, ms", "ITL, ms", "s", "verdict"):
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for step in result.steps:
        table.add_row(
            f"{step.rate_per_s:.4g}",
            f"{step.answer.n:,}",
            "–" if step.answer.bad is None else f"{step.answer.bad:.2%}",
            _number(step.ttft_ms),
            _number(step.itl_ms),
            f"{step.elapsed_s:.0f}",
            _verdict(step),
        )
    return table


def _verdict(step: Step) -> str:
    lean = ""
    if step.answer.verdict == "unclear":
        lean = ", rather above" if step.above else ", rather below"
    return f"{step.answer.verdict}{lean}{', cut short' if step.cut_short else ''}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def plot(result: Capacity, path: Path) -> None:
    """Mean latencies and goodput against the rate, with the SLO's lines and the capacity with its interval.

    Needs matplotlib (the extra `plots`).
    """
    import matplotlib as mpl

    mpl.use("Agg", force=False)
    import matplotlib.pyplot as plt

    limits = result.limits
    rows: list[tuple[str, float | None, Any, bool]] = [
        ("TTFT (mean), ms", limits.ttft_ms, lambda step: step.ttft_ms, True),
        ("ITL (mean), ms", limits.itl_ms, lambda step: step.itl_ms, False),
        (
            "goodput",
            limits.share,
            lambda step: None if step.answer.bad is None else 1 - step.answer.bad,
            False,
        ),
    ]
    figure, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True)
    for ax, (label, limit, value, logarithmic) in zip(axes, rows, strict=True):
        _panel(ax, result, value, limit)
        ax.set_ylabel(label)
        if logarithmic:
            ax.set_yscale("log")
    axes[0].legend(loc="upper left")
    axes[-1].set_xlabel("requests/s")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def _panel(ax: Any, result: Capacity, value: Any, limit: float | None) -> None:
    points = sorted((step.rate_per_s, value(step)) for step in result.steps if value(step) is not None)
    if points:
        ax.plot(*zip(*points, strict=True), "o-", color="C0", markersize=4)
    if limit is not None:
        ax.axhline(limit, color="C3", linestyle="--", linewidth=1, label="limit")
    if result.rate_per_s is not None:
        ax.axvline(result.rate_per_s, color="C2", linewidth=1, label="capacity")
        if result.low is not None and result.high is not None:
            ax.axvspan(result.low, result.high, color="C2", alpha=0.2)
    ax.grid(alpha=0.3)
