"""vllmperf size: from parameters and SLOs to the rate that a replica carries and the replicas that a load needs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vllmperf.cli import goals, json_option
from vllmperf.cli.flags import Help
from vllmperf.cli.needs import check_plot, progress_line
from vllmperf.errors import UsageError
from vllmperf.exit_codes import OK

NAMES = {"alpha": "ms", "beta": "ms", "gamma": "ms", "delta": "ms/token"}
DISTRIBUTIONS = ("uniform", "lognormal")
SETTINGS = (
    *("ttft", "tpot", "tps", "rate", "max_num_seqs", "max_num_batched_tokens", "input_len", "output_len"),
    *("input_spread", "output_spread", "distribution", "requests", "seed"),
    *("startup", "burst", "gpus", "price"),
)


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "size",
        help="find the rate that a replica carries within its SLOs, and the replicas for a load",
        usage="vllmperf size PARAMETERS.json [--max-num-seqs N] (--ttft MS | --tpot MS | --tps T) [options]",
        description="Simulate a replica with known parameters step by step under Poisson load, and find the largest "
        "rate that meets the goals.",
        formatter_class=Help,
    )
    _add_replica(command.add_argument_group("replica").add_argument)
    _add_requests(command.add_argument_group("requests").add_argument)
    _add_goals(command.add_argument_group("goals").add_argument)
    _add_fleet(command.add_argument_group("bursts and cost").add_argument)
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed of the simulated requests"
    )
    json_option.add(command.add_argument)
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw latencies against the rate (PNG, SVG, PDF)"
    )
    command.set_defaults(run=run)


def _add_replica(option: Any) -> None:
    option(
        "parameters", nargs="?", type=Path, metavar="FILE", help="parameters from `vllmperf fit --json FILE`"
    )
    for name, unit in NAMES.items():
        option(f"--{name}", type=float, metavar=unit.upper(), help=f"{name} instead of FILE")
    option("--max-num-seqs", type=int, metavar="N", help="most sequences in a step (default: as FILE has it)")
    option("--max-num-batched-tokens", type=int, default=8192, metavar="N", help="most tokens in a step")


def _add_requests(option: Any) -> None:
    option("--input-len", type=float, default=128, metavar="N", help="mean tokens of a prompt")
    option("--output-len", type=float, default=128, metavar="N", help="mean tokens of an output")
    option(
        "--input-spread",
        type=float,
        default=0.0,
        metavar="X",
        help="spread of the prompt lengths, see --distribution",
    )
    option("--output-spread", type=float, default=0.0, metavar="X", help="spread of the output lengths")
    option(
        "--distribution",
        choices=DISTRIBUTIONS,
        default=DISTRIBUTIONS[0],
        help="uniform: lengths between mean*(1 - X) and mean*(1 + X); lognormal: X is the standard deviation divided by the mean",
    )
    option(
        "--requests",
        type=Path,
        metavar="RUN",
        help="draw requests from this run file of `vllmperf bench` instead",
    )


def _add_goals(option: Any) -> None:
    goals.add(option, "pP|mean", "goal")
    option(
        "--tps",
        type=float,
        metavar="T",
        help="output tokens/s of the whole service; size tells how many replicas it needs, each with a tenth in reserve, as in "
        "WVA",
    )
    option(
        "--rate",
        type=float,
        metavar="R",
        help="requests/s of the whole service; size tells how many replicas it needs",
    )


def _add_fleet(option: Any) -> None:
    option(
        "--burst",
        metavar="R|Nx",
        help="the load jumps from --rate to this rate (requests/s, or like 1.5x); size tells how many spare replicas that "
        "takes. Needs --startup",
    )
    option(
        "--startup",
        metavar="T|FILE",
        help="time until a new replica serves, with the autoscaler's delay: seconds, a time like 90s or 3m, or a file of "
        "`vllmperf startup --json` or `parse-log --json`, of which the longest start counts",
    )
    option("--gpus", type=int, metavar="N", help="GPUs of one replica, for tokens/s per GPU")
    option(
        "--price",
        type=float,
        metavar="X",
        help="price of one GPU for one hour, for the cost of a million tokens",
    )


def run(args: argparse.Namespace) -> int:
    """Simulate, search, print."""
    from vllmperf import api
    from vllmperf.report.size import sheet

    json_option.check(args.json)
    check_plot(args.plot)
    numbers = {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
    if args.parameters and numbers:
        raise UsageError("give the parameters either as a file or as numbers")
    settings = {name: getattr(args, name) for name in SETTINGS}
    found = api.size(args.parameters or numbers, progress=progress_line, **settings)
    if args.plot:
        from vllmperf.report.plots.sizing import plot

        plot(found, args.plot)
    if json_option.write(args.json, lambda: json.dumps(found.to_dict())):
        sheet(found).show()
    return OK
