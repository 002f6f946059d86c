"""--plot-timeline and --plot-dataset-stats: pictures beside the result (0.33)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vllmperf.dropin.benchmark_serving.results import Outcome
from vllmperf.errors import UsageError
from vllmperf.formats.vllm_timeline import Bar, page


def thresholds_ms(args: argparse.Namespace) -> tuple[float, float]:
    """The two of --timeline-itl-thresholds."""
    try:
        low, high = (float(text) for text in args.timeline_itl_thresholds.split(","))
    except ValueError:
        raise UsageError(
            f"--timeline-itl-thresholds {args.timeline_itl_thresholds!r}: give two numbers"
        ) from None
    return low, high


def save(args: argparse.Namespace, outcome: Outcome, path: Path) -> None:
    """What is asked for, beside `path` with other endings. Raises UsageError when matplotlib is missing."""
    if args.plot_timeline and outcome.metrics.completed and not outcome.is_pooling:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".timeline.html").write_text(
            page(_bars(outcome), thresholds_ms(args)), encoding="utf-8"
        )
    if args.plot_dataset_stats:
        path.parent.mkdir(parents=True, exist_ok=True)
        lens = [answer.prompt_len for answer in outcome.answers], outcome.metrics.output_lens
        _draw(*lens, path.with_suffix(".dataset_stats.png"))


def _bars(outcome: Outcome) -> list[Bar]:
    good = [
        (answer, output)
        for answer, output in zip(outcome.answers, outcome.metrics.output_lens, strict=True)
        if answer.success
    ]
    first_s = min(answer.start_s for answer, _ in good)
    return [
        Bar(answer.start_s - first_s, answer.ttft_s, answer.itl_s.tolist(), answer.prompt_len, output)
        for answer, output in good
    ]


def _draw(prompts: Sequence[int], outputs: Sequence[int], path: Path) -> None:
    """Histograms of prompt, output and total tokens."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("--plot-dataset-stats needs its extra: pip install 'vllmperf[plots]'") from None
    totals = [prompt + output for prompt, output in zip(prompts, outputs, strict=True)]
    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (name, lens) in zip(
        figure.subplots(1, 3),
        (("prompt", prompts), ("output", outputs), ("prompt + output", totals)),
        strict=True,
    ):
        axes.hist(lens, bins=min(50, max(1, len(set(lens)))))
        axes.set(title=f"{name} tokens, mean {sum(lens) / len(lens):.0f}", xlabel="tokens", ylabel="requests")
    figure.savefig(path)
