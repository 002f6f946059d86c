"""vllmperf size: from parameters and SLOs to the rate that a replica carries and the replicas that a load needs."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import text_file
from vllmperf.cli import json_option
from vllmperf.cli.bench_arguments import Help
from vllmperf.errors import UsageError
from vllmperf.model.parameters import MEANINGS

if TYPE_CHECKING:
    from vllmperf.model.simulate import Load, Replica
    from vllmperf.model.sizing import Goals

NAMES = ("alpha", "beta", "gamma", "delta")
DISTRIBUTIONS = ("uniform", "lognormal")
Z95 = 1.96
ABOVE_ZERO = ("ttft", "itl", "tps", "rate", "input_len", "output_len")
AT_LEAST_ZERO = (*NAMES, "input_spread", "output_spread")
AT_LEAST_ONE = ("max_num_seqs", "max_num_batched_tokens", "input_len", "output_len")


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "size",
        help="find the rate that a replica carries within its SLOs, and the replicas for a load",
        usage="vllmperf size PARAMETERS.json --max-num-seqs N (--ttft MS | --itl MS | --tps T) [options]",
        description="Simulate a replica of known parameters, step by step, under Poisson load, and search for "
        "the largest rate that keeps the goals.",
        formatter_class=Help,
    )
    _add_replica(command.add_argument_group("replica").add_argument)
    _add_requests(command.add_argument_group("requests").add_argument)
    _add_goals(command.add_argument_group("goals").add_argument)
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the simulated requests")
    json_option.add(command.add_argument)
    command.set_defaults(run=run)


def _add_replica(option: Any) -> None:
    option("parameters", nargs="?", type=Path, metavar="FILE", help="what `vllmperf fit --json` printed")
    for name in NAMES:
        unit = MEANINGS[name][0].upper()
        option(f"--{name}", type=float, metavar=unit, help=f"{name}, instead of a file")
    option("--max-num-seqs", type=int, required=True, metavar="N", help="most sequences in a step")
    option("--max-num-batched-tokens", type=int, default=8192, metavar="N", help="most tokens in a step")


def _add_requests(option: Any) -> None:
    option("--input-len", type=float, default=128, metavar="N", help="mean tokens of a prompt")
    option("--output-len", type=float, default=128, metavar="N", help="mean tokens of an output")
    option("--input-spread", type=float, default=0.0, metavar="X", help="how wide prompts are spread")
    option("--output-spread", type=float, default=0.0, metavar="X", help="outputs likewise")
    option(
        "--distribution",
        choices=DISTRIBUTIONS,
        default=DISTRIBUTIONS[0],
        help="uniform: even over mean*(1 ± X); lognormal: X is the standard deviation over the mean",
    )
    option(
        "--requests",
        type=Path,
        metavar="RUN",
        help="draw requests from those of a run file of `vllmperf bench`, instead",
    )


def _add_goals(option: Any) -> None:
    option("--ttft", type=float, metavar="MS", help="goal for the time to the first token")
    option("--itl", type=float, metavar="MS", help="goal for the time between tokens (a request's mean)")
    option(
        "--percentile", type=float, metavar="P", help="goals are for this percentile (default: for the mean)"
    )
    option("--ttft-percentile", type=float, metavar="P", help="another one for the TTFT")
    option("--itl-percentile", type=float, metavar="P", help="another one for the ITL")
    option(
        "--tps",
        type=float,
        metavar="T",
        help="output tokens/s of the whole service: how many replicas? Each keeps a tenth unused, as in WVA",
    )
    option("--rate", type=float, metavar="R", help="requests/s of the whole service: how many replicas?")


def run(args: argparse.Namespace) -> int:
    """Simulate, search, print."""
    from vllmperf.model.sizing import size
    from vllmperf.report.size import show, to_json

    _check(args)
    given = _from_file(args.parameters) if args.parameters else _from_numbers(args)
    replica, deviations = _replica(given, args)
    load, goals = _load(args), _goals(args)
    found = size(
        replica, load, goals, deviations, given.covariance_alpha_beta, rate_per_s=args.rate, seed=args.seed
    )
    published = _published(given, args, load, found.max_rate_per_s)
    if json_option.write(args.json, lambda: json.dumps(to_json(found, goals, load, published))):
        show(found, goals, published)
    return 0


def _check(args: argparse.Namespace) -> None:
    json_option.check(args.json)
    _check_parameters(args)
    for names, least, open_end in (
        (ABOVE_ZERO, 0, True),
        (AT_LEAST_ZERO, 0, False),
        (AT_LEAST_ONE, 1, False),
    ):
        for name in names:
            value = getattr(args, name)
            if value is None:
                continue
            if not math.isfinite(value) or value < least or (open_end and value <= least):
                told = "above" if open_end else "at least"
                raise UsageError(f"--{name.replace('_', '-')} is {value:g}: it must be {told} {least}")
    for name in ("input_spread", "output_spread"):
        if args.distribution == "uniform" and getattr(args, name) > 1:
            told = "it must lie between 0 and 1, or take --distribution lognormal"
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(args, name):g}: {told}")
    if not 0 <= args.seed < 2**32:
        raise UsageError(f"--seed is {args.seed}: give a whole number from 0 to 2^32 - 1")
    for name in ("percentile", "ttft_percentile", "itl_percentile"):
        value = getattr(args, name)
        if value is not None and not 0 < value < 100:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}: it must lie between 0 and 100")


def _check_parameters(args: argparse.Namespace) -> None:
    numbers = [name for name in NAMES if getattr(args, name) is not None]
    if args.parameters and numbers:
        raise UsageError("give the parameters either as a file or as numbers")
    if not args.parameters and not {"alpha", "beta"} <= set(numbers):
        raise UsageError(
            "parameters are missing: name the file of `vllmperf fit --json`, or give --alpha and --beta"
        )
    if args.alpha is not None and args.alpha <= 0:
        raise UsageError(f"--alpha is {args.alpha:g}: it must be above 0")


@dataclass(frozen=True)
class Given:
    """values: value and standard deviation by name; three: the parameters of the newer published forms."""

    values: dict[str, tuple[float, float]]
    three: dict[str, float] = field(default_factory=dict)
    covariance_alpha_beta: float = 0.0


def _from_file(path: Path) -> Given:
    try:
        data = json.loads(text_file.read(path))
        found = {name: _value(one) for name, one in data["parameters"].items() if one["value"] is not None}
        three = {
            name: float(one["value"])
            for name, one in (data.get("three_parameter") or {}).items()
            if one["value"] is not None
        }
        covariance = float((data.get("covariance_alpha_beta") or [[0, 0.0]])[0][1])
        if not all(math.isfinite(number) for pair in found.values() for number in pair):
            raise ValueError
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UsageError(f"{path} holds no parameters as `vllmperf fit --json` prints them") from None
    if not {"alpha", "beta"} <= set(found) or found["alpha"][0] <= 0:
        raise UsageError(f"{path} knows no alpha or no beta: run `vllmperf fit` again")
    return Given(found, three, covariance)


def _value(one: dict[str, Any]) -> tuple[float, float]:
    deviation = (one["ci95"][1] - one["ci95"][0]) / 2 / Z95 if one.get("ci95") else 0.0
    return float(one["value"]), float(deviation)


def _from_numbers(args: argparse.Namespace) -> Given:
    return Given({name: (getattr(args, name), 0.0) for name in NAMES if getattr(args, name) is not None})


def _replica(given: Given, args: argparse.Namespace) -> tuple[Replica, dict[str, float]]:
    """What a step takes: measured when the file has it; else gamma beyond alpha is taken to be inside the step."""
    from vllmperf.model.simulate import Replica

    values = given.values
    alpha = values["alpha"][0]
    gamma = values.get("gamma", (alpha, 0.0))
    step_gamma = values.get("step_gamma", (max(gamma[0] - alpha, 0.0), gamma[1]))
    step_delta = values.get("step_delta", values.get("delta", (0.0, 0.0)))
    replica = Replica(
        alpha_ms=alpha,
        beta_ms=max(values["beta"][0], 0.0),
        step_gamma_ms=max(step_gamma[0], 0.0),
        step_delta_ms=max(step_delta[0], 0.0),
        front_ms=max(gamma[0] - alpha - max(step_gamma[0], 0.0), 0.0),
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
    )
    deviations = {
        "alpha_ms": values["alpha"][1],
        "beta_ms": values["beta"][1],
        "step_gamma_ms": step_gamma[1],
        "step_delta_ms": step_delta[1],
    }
    return replica, deviations


def _load(args: argparse.Namespace) -> Load:
    from vllmperf.model.simulate import Load, load_of

    if args.requests is None:
        return Load(args.input_len, args.output_len, args.input_spread, args.output_spread, args.distribution)
    from vllmperf.model.estimate import lengths
    from vllmperf.record.reader import read

    seen = lengths([read(args.requests, texts=False)])
    if not len(seen[0]):
        raise UsageError(f"{args.requests}: no request completed with known tokens; name another run")
    return load_of(seen)


def _goals(args: argparse.Namespace) -> Goals:
    from vllmperf.model.sizing import Goals

    return Goals(args.ttft, args.itl, args.percentile, args.tps, args.ttft_percentile, args.itl_percentile)


def _published(
    given: Given, args: argparse.Namespace, load: Load, rate_per_s: float
) -> dict[str, dict[str, Any]]:
    from vllmperf.model.published import answer, models
    from vllmperf.model.queue import Shape

    four = {name: given.values[name][0] for name in NAMES if name in given.values}
    shape = Shape(load.input_tokens, load.output_tokens)
    limits = {"ttft_ms": args.ttft, "itl_ms": args.itl, "tps": args.tps is not None}
    found = models(four, given.three, args.max_num_batched_tokens)
    return {
        name: answer(model, shape, args.max_num_seqs, rate_per_s, **limits) for name, model in found.items()
    }
