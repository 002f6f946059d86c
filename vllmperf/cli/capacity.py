"""vllmperf capacity: the highest rate that a live server keeps its SLO at, found by runs of Poisson load."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vllmperf.cli import goals, json_option
from vllmperf.cli.bench_arguments import (
    add_body,
    add_data,
    add_dataset_options,
    add_engine,
    add_lengths,
    add_limits,
    add_simulator,
)
from vllmperf.cli.flags import Help, duration, settings
from vllmperf.cli.needs import check_plot, progress_line
from vllmperf.cli.target_arguments import add_target
from vllmperf.errors import UsageError
from vllmperf.exit_codes import INTERRUPTED, OK


def add(subparsers: Any) -> None:
    """The command and its arguments: those of bench but for the load, and the SLO."""
    command = subparsers.add_parser(
        "capacity",
        help="find the highest rate at which a live server meets its SLO",
        usage="vllmperf capacity --base-url URL (--ttft MS | --tpot MS) [--budget T] [options]",
        description="Load a server with Poisson arrivals at several rates, and find the highest rate at which enough requests "
        "keep the limits. Run the same command again with the same --output-dir to continue. The flags for requests are those of "
        "`vllmperf bench`.",
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
    goals.add(option, "pP", "limit")
    option(
        "--goodput-share",
        type=float,
        metavar="X",
        help="share of requests that must keep the limits (default: from --ttft and --tpot, 0.99 for p99)",
    )
    settings(option)("--seed", type=int, metavar="N", help="random seed of prompts, lengths and arrivals")
    settings(option)(
        "--num-warmups",
        type=int,
        metavar="N",
        help="requests sent before each step, which no figure counts",
    )
    option("--budget", type=duration, default="5m", metavar="T", help="time for all steps")
    option(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="max_num_seqs of the server (default: capacity finds it)",
    )
    option(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="keep the run files here, and continue with those that are here already",
    )
    json_option.add(option)
    option(
        "--plot", type=Path, metavar="FILE", help="draw latency and goodput against the rate (PNG, SVG, PDF)"
    )


def run(args: argparse.Namespace) -> int:
    """Search, print, draw. 0 fine, 1 no rate keeps the SLO, 130 interrupted (what came is printed)."""
    from vllmperf import api
    from vllmperf.api.given import wait_until_ready
    from vllmperf.cli.bench import task_of
    from vllmperf.report.capacity import sheet

    json_option.check(args.json)
    check_plot(args.plot)
    if not getattr(args, "stream", True):
        raise UsageError("--no-stream leaves no times of tokens: leave it out")
    task = task_of(args, request_rate=1.0, duration=1.0)
    wait_until_ready(task, args.ready_check_timeout_sec)
    result = api.capacity(
        task,
        ttft=args.ttft,
        tpot=args.tpot,
        goodput_share=args.goodput_share,
        budget=args.budget,
        max_num_seqs=args.max_num_seqs,
        output_dir=args.output_dir,
        progress=progress_line,
    )
    if args.plot:
        from vllmperf.report.plots.capacity import plot

        plot(result, args.plot)
    if json_option.write(args.json, lambda: json.dumps(result.to_dict())):
        sheet(result).show()
    return INTERRUPTED if result.interrupted else OK
