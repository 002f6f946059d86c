"""vllmperf capacity: the highest rate that a live server keeps its SLO at, found by runs of Poisson load."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli import json_option
from vllmperf.cli.bench_arguments import (
    Help,
    add_body,
    add_data,
    add_dataset_options,
    add_engine,
    add_lengths,
    add_limits,
    add_simulator,
    add_target,
    duration,
    settings,
)
from vllmperf.cli.needs import check_plot, check_scipy, make_folder
from vllmperf.errors import UsageError
from vllmperf.exit_codes import INTERRUPTED, OK

if TYPE_CHECKING:
    from vllmperf.model.capacity import Capacity
    from vllmperf.model.slo import Limits
    from vllmperf.plan import Task


def add(subparsers: Any) -> None:
    """The command and its arguments: those of bench but for the load, and the SLO."""
    command = subparsers.add_parser(
        "capacity",
        help="find the highest rate that a server keeps its SLO at",
        usage="vllmperf capacity --base-url URL (--ttft MS | --itl MS) [--budget T] [options]",
        description="Load a server with Poisson arrivals at rates that close in on the highest one at which enough "
        "requests keep the limits. Run it again with the same --output-dir to go on. Flags of the requests are "
        "those of `vllmperf bench`.",
        formatter_class=Help,
    )
    _add_search(command.add_argument_group("search").add_argument)
    add_target(command.add_argument_group("target").add_argument)
    add_simulator(command.add_argument_group("simulator").add_argument)
    add_data(command.add_argument_group("data").add_argument)
    add_lengths(command.add_argument_group("lengths, in tokens").add_argument)
    add_dataset_options(command.add_argument_group("settings of single data sets").add_argument)
    add_body(command.add_argument_group("request").add_argument)
    add_limits(command.add_argument_group("limits (in seconds, or like 500ms, 30s, 10m, 1h)").add_argument)
    add_engine(command.add_argument_group("engine").add_argument)
    command.set_defaults(run=run)


def _add_search(option: Any) -> None:
    option(
        "--ttft",
        type=float,
        metavar="MS",
        help="limit of the time to the first token, from the planned time on",
    )
    option("--itl", type=float, metavar="MS", help="limit of the time between tokens, a request's mean")
    option(
        "--goodput-share",
        type=float,
        default=0.99,
        metavar="X",
        help="share of requests that keep the limits",
    )
    settings(option)("--seed", type=int, metavar="N", help="of prompts, lengths and arrivals")
    settings(option)(
        "--num-warmups",
        type=int,
        metavar="N",
        help="requests before each step that are not counted",
    )
    option("--budget", type=duration, default="5m", metavar="T", help="time for all steps")
    option(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="the server's setting, when it is known (else it is looked for)",
    )
    option(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="keep the run files here, or go on with those that are here",
    )
    json_option.add(option)
    option(
        "--plot", type=Path, metavar="FILE", help="draw latency and goodput against the rate (PNG, SVG, PDF)"
    )


def run(args: argparse.Namespace) -> int:
    """Search, print, draw. 0 fine, 1 no rate keeps the SLO, 130 interrupted (what came is printed)."""
    _check(args)
    limits, task = _limits(args), _task(args)
    with tempfile.TemporaryDirectory(prefix="vllmperf-capacity-") as temporary:
        folder = args.output_dir or Path(temporary)
        make_folder(folder)
        result = _searched(args, task, limits, folder)
        _put_out(args, result, folder)
    return INTERRUPTED if result.interrupted else OK


def _searched(args: argparse.Namespace, task: Task, limits: Limits, folder: Path) -> Capacity:
    from vllmperf.model.search import Search

    def searched(task: Task) -> Capacity:
        return Search(task, limits, args.budget, folder, args.max_num_seqs, _tell).run()

    simulator = task.plan.target.simulator
    if simulator is None:
        return searched(task)
    from vllmperf.sim import Server

    with Server(**dict[str, Any](simulator)) as server:
        return searched(task.replace(base_url=server.url))


def _put_out(args: argparse.Namespace, result: Capacity, folder: Path) -> None:
    from vllmperf.model.capacity import save_json
    from vllmperf.report.capacity import show

    if args.output_dir:
        save_json(folder / "capacity.json", result)
    if args.plot:
        from vllmperf.report.plots.capacity import plot

        plot(result, args.plot)
    if json_option.write(args.json, lambda: json.dumps(result.to_dict())):
        show(result)


def _limits(args: argparse.Namespace) -> Limits:
    from vllmperf.model.slo import Limits

    if args.ttft is None and args.itl is None:
        raise UsageError("a capacity needs an SLO: give --ttft MS, --itl MS, or both")
    for name in ("ttft", "itl", "budget"):
        value = getattr(args, name)
        if value is not None and not 0 < value < 1e9:
            raise UsageError(f"--{name} is {value:g}: give a number above 0")
    if not 0.5 <= args.goodput_share < 1:
        raise UsageError(f"--goodput-share is {args.goodput_share:g}: it must be at least 0.5 and below 1")
    return Limits(args.ttft, args.itl, args.goodput_share)


def _task(args: argparse.Namespace) -> Task:
    from vllmperf.cli.bench import task_of

    if not getattr(args, "stream", True):
        raise UsageError("--no-stream leaves no times of tokens: leave it out")
    return task_of(args, request_rate=1.0, duration=1.0)


def _check(args: argparse.Namespace) -> None:
    if args.max_num_seqs is not None and args.max_num_seqs < 1:
        raise UsageError(f"--max-num-seqs is {args.max_num_seqs}: it must be at least 1")
    json_option.check(args.json)
    check_plot(args.plot)
    check_scipy("capacity")


def _tell(line: str) -> None:
    if sys.stderr.isatty() or os.environ.get("VLLMPERF_PROGRESS"):
        print(line, file=sys.stderr)
