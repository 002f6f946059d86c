"""vllmperf size: from parameters and SLOs to the rate that a replica carries and the replicas that a load needs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vllmperf.cli import json_option
from vllmperf.cli.flags import Help
from vllmperf.cli.needs import check_plot, progress_line
from vllmperf.errors import UsageError
from vllmperf.exit_codes import OK

NAMES = {"alpha": "ms", "beta": "ms", "gamma": "ms", "delta": "ms/token"}
DISTRIBUTIONS = ("uniform", "lognormal")
SETTINGS = (
    *("ttft", "itl", "tps", "rate", "max_num_seqs", "max_num_batched_tokens", "input_len", "output_len"),
    *("input_spread", "output_spread", "distribution", "requests", "seed"),
)


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "size",
        help="find the rate that a replica carries within its SLOs, and the replicas for a load",
        usage="vllmperf size PARAMETERS.json [--max-num-seqs N] (--ttft MS | --itl MS | --tps T) [options]",
        description="Simulate a replica of known parameters, step by step, under Poisson load, and search for "
        "the largest rate that keeps the goals.",
        formatter_class=Help,
    )
    _add_replica(command.add_argument_group("replica").add_argument)
    _add_requests(command.add_argument_group("requests").add_argument)
    _add_goals(command.add_argument_group("goals").add_argument)
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the simulated requests")
    json_option.add(command.add_argument)
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw latencies against the rate (PNG, SVG, PDF)"
    )
    command.set_defaults(run=run)


def _add_replica(option: Any) -> None:
    option("parameters", nargs="?", type=Path, metavar="FILE", help="what `vllmperf fit --json` printed")
    for name, unit in NAMES.items():
        option(f"--{name}", type=float, metavar=unit.upper(), help=f"{name}, instead of a file")
    option("--max-num-seqs", type=int, metavar="N", help="most sequences in a step (default: as FILE has it)")
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
    option(
        "--ttft",
        metavar="[pP:|mean:]MS",
        help="goal for the time to the first token: 500 or p99:500 for 99 %% of the requests, p95:500, mean:500",
    )
    option(
        "--itl",
        metavar="[pP:|mean:]MS",
        help="goal for the time between tokens (a request's mean); spelled likewise",
    )
    option(
        "--tps",
        type=float,
        metavar="T",
        help="output tokens/s of the whole service: how many replicas? Each keeps a tenth unused, as in WVA",
    )
    option("--rate", type=float, metavar="R", help="requests/s of the whole service: how many replicas?")


def run(args: argparse.Namespace) -> int:
    """Simulate, search, print."""
    from vllmperf import api
    from vllmperf.report.size import show

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
        show(found)
    return OK
