"""vllmperf size: from parameters and SLOs to the rate that a replica carries and the replicas that a load needs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli.bench_arguments import Help
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.model.simulate import Replica
    from vllmperf.model.sizing import Sizing

NAMES = ("alpha", "beta", "gamma", "delta")
Z95 = 1.96


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "size",
        help="find the rate that a replica carries within its SLOs, and the replicas for a load",
        usage="vllmperf size PARAMETERS.json --max-num-seqs N --ttft MS [options]",
        description="Simulate a replica of known parameters, step by step, under Poisson load, and search for "
        "the largest rate that keeps the goals.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("parameters", nargs="?", type=Path, metavar="FILE", help="what `vllmperf fit --json` printed")
    for name in NAMES:
        option(f"--{name}", type=float, metavar="MS", help=f"{name}, instead of a file")
    option("--max-num-seqs", type=int, required=True, metavar="N", help="most sequences in a step")
    option("--max-num-batched-tokens", type=int, default=8192, metavar="N", help="most tokens in a step")
    option("--input-len", type=int, default=128, metavar="N", help="mean tokens of a prompt")
    option("--output-len", type=int, default=128, metavar="N", help="mean tokens of an output")
    option(
        "--input-spread",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="prompts are even over mean*(1 ± SHARE)",
    )
    option("--output-spread", type=float, default=0.0, metavar="SHARE", help="outputs likewise")
    option("--ttft", type=float, metavar="MS", help="goal for the time to the first token")
    option("--itl", type=float, metavar="MS", help="goal for the time between tokens (a request's mean)")
    option(
        "--percentile", type=float, metavar="P", help="the goals are for this percentile (default: the mean)"
    )
    option("--rate", type=float, metavar="R", help="requests/s of the whole service: how many replicas?")
    option("--seed", type=int, default=0, metavar="N", help="of the simulated requests")
    option("--json", action="store_true", help="print the result as JSON")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, search, print."""
    from vllmperf.model.simulate import Load
    from vllmperf.model.sizing import Goals, size

    _check(args)
    given = _from_file(args.parameters) if args.parameters else _from_numbers(args)
    replica, deviations = _replica(given, args)
    load = Load(args.input_len, args.output_len, args.input_spread, args.output_spread)
    goals = Goals(args.ttft, args.itl, args.percentile)
    found = size(replica, load, goals, deviations, rate_per_s=args.rate, seed=args.seed)
    published = _published(given, args, found.max_rate_per_s)
    if args.json:
        print(json.dumps(_json(args, found, published)))
    else:
        _show(args, found, published)
    return 0


def _check(args: argparse.Namespace) -> None:
    numbers = [name for name in NAMES if getattr(args, name) is not None]
    if args.parameters and numbers:
        raise UsageError("give the parameters either as a file or as numbers")
    if not args.parameters and not {"alpha", "beta"} <= set(numbers):
        raise UsageError(
            "parameters are missing: name the file of `vllmperf fit --json`, or give --alpha and --beta"
        )
    for name in ("max_num_seqs", "max_num_batched_tokens", "input_len", "output_len"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(args, name)}: it must be at least 1")
    for name in ("input_spread", "output_spread"):
        if not 0 <= getattr(args, name) <= 1:
            raise UsageError(
                f"--{name.replace('_', '-')} is {getattr(args, name):g}: it must lie between 0 and 1"
            )
    if args.percentile is not None and not 0 < args.percentile < 100:
        raise UsageError(f"--percentile is {args.percentile:g}: it must lie between 0 and 100")


Given = dict[str, tuple[float, float]]
"""Value and standard deviation by name."""


def _from_file(path: Path) -> Given:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        parameters = data["parameters"]
        found = {
            name: (one["value"], (one["ci95"][1] - one["ci95"][0]) / 2 / Z95 if one.get("ci95") else 0.0)
            for name, one in parameters.items()
            if one["value"] is not None
        }
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise UsageError(f"{path} holds no parameters as `vllmperf fit --json` prints them") from None
    if not {"alpha", "beta"} <= set(found):
        raise UsageError(f"{path} knows no alpha or no beta: run `vllmperf fit` again")
    return found


def _from_numbers(args: argparse.Namespace) -> Given:
    return {name: (getattr(args, name), 0.0) for name in NAMES if getattr(args, name) is not None}


def _replica(given: Given, args: argparse.Namespace) -> tuple[Replica, dict[str, float]]:
    """What a step takes: measured when the file has it; else gamma beyond alpha is taken to be inside the step."""
    from vllmperf.model.simulate import Replica

    alpha = given["alpha"][0]
    gamma = given.get("gamma", (alpha, 0.0))
    delta = given.get("delta", (0.0, 0.0))
    step_gamma = given.get("step_gamma", (max(gamma[0] - alpha, 0.0), gamma[1]))
    step_delta = given.get("step_delta", delta)
    replica = Replica(
        alpha_ms=alpha,
        beta_ms=max(given["beta"][0], 0.0),
        step_gamma_ms=max(step_gamma[0], 0.0),
        step_delta_ms=max(step_delta[0], 0.0),
        front_ms=max(gamma[0] - alpha - max(step_gamma[0], 0.0), 0.0),
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
    )
    deviations = {
        "alpha_ms": given["alpha"][1],
        "beta_ms": given["beta"][1],
        "step_gamma_ms": step_gamma[1],
        "step_delta_ms": step_delta[1],
    }
    return replica, deviations


def _published(given: Given, args: argparse.Namespace, rate_per_s: float) -> dict[str, float] | None:
    """What WVA's 4-parameter queueing model says at the same rate."""
    from vllmperf.model.queue import four_parameter

    if not {"gamma", "delta"} <= set(given):
        return None
    return four_parameter(
        rate_per_s,
        alpha=given["alpha"][0],
        beta=given["beta"][0],
        gamma=given["gamma"][0],
        delta=given["delta"][0],
        input_tokens=args.input_len,
        output_tokens=args.output_len,
        max_batch=args.max_num_seqs,
    )


def _json(args: argparse.Namespace, found: Sizing, published: dict[str, float] | None) -> dict[str, Any]:
    outcome = found.outcome
    return {
        "schema": 1,
        "max_rate_per_s": {"value": found.max_rate_per_s, "ci95": [found.low, found.high]},
        "limited_by": found.limited_by,
        "slo": {"ttft_ms": args.ttft, "itl_ms": args.itl, "percentile": args.percentile},
        "at_max_rate": {
            metric: {
                "mean": outcome.value(metric, None),
                **{f"p{percent:g}": outcome.value(metric, percent) for percent in (50, 90, 99)},
            }
            for metric in ("ttft", "itl")
        },
        "output_tokens_per_s": outcome.output_tokens_per_s,
        "replicas": None
        if found.replicas is None
        else {"value": found.replicas, "ci95": [found.replicas_low, found.replicas_high]},
        "published_model": published,
    }


def _show(args: argparse.Namespace, found: Sizing, published: dict[str, float] | None) -> None:
    outcome, goal = found.outcome, "mean" if args.percentile is None else f"p{args.percentile:g}"
    print(
        f"One replica carries {found.max_rate_per_s:.4g} requests/s (95 %: {found.low:.4g} … {found.high:.4g}),"
    )
    print(
        f"limited by {found.limited_by.upper()} ({goal}); {outcome.output_tokens_per_s:,.0f} output tokens/s."
    )
    if found.replicas is not None:
        print(
            f"{args.rate:g} requests/s need {found.replicas} replicas ({found.replicas_low} … {found.replicas_high})."
        )
    print(f"\n{'at that rate':<24}{'mean':>10}{'p50':>10}{'p90':>10}{'p99':>10}{'published model':>18}")
    for metric in ("ttft", "itl"):
        values = [outcome.value(metric, percentile) for percentile in (None, 50, 90, 99)]
        other = f"{published[metric + '_ms']:.4g}" if published else "–"
        print(
            f"{metric.upper() + ', ms':<24}" + "".join(f"{value:>10.4g}" for value in values) + f"{other:>18}"
        )
    print(f"mean wait for a slot: {float(outcome.queue_ms.mean()):.4g} ms")
