"""vllmperf fit: parameters of one replica, from a server or from files of runs."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from vllmperf.cli import json_option
from vllmperf.cli.flags import Help, duration
from vllmperf.cli.needs import check_plot, progress_line
from vllmperf.cli.target_arguments import add_target, wait_until_ready
from vllmperf.errors import UsageError

SHAPES = "128/128,512/128,128/512,2048/64"


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "fit",
        help="find alpha, beta, gamma and delta of one replica, with intervals",
        usage="vllmperf fit (--base-url URL [--max-num-seqs N] | FILE...) [options]",
        description="Measure the engine's steps at several loads and fit step = alpha + beta*batch and "
        "TTFT = gamma + delta*prompt tokens. FILE: run files, vLLM result JSON, reports of guidellm 0.2 to 0.8, "
        "or the one file that --json wrote.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("files", nargs="*", type=Path, metavar="FILE", help="fit to these instead of to new runs")
    option("--batch", metavar="N,N", help="batch of each result file, in order (else what the file reports)")
    option(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="most sequences in a step, as the server was started (read from its /server_info where it has one)",
    )
    option("--shapes", default=SHAPES, metavar="IN/OUT,...", help="prompt and output tokens of the runs")
    option("--budget", type=duration, default="5m", metavar="T", help="time for all runs")
    option("--seed", type=int, default=0, metavar="N", help="of prompts and the order of the runs")
    option("--output-dir", type=Path, metavar="DIR", help="keep the run files here")
    json_option.add(option)
    option("--plot", type=Path, metavar="FILE", help="draw steps against batch (PNG, SVG, PDF)")
    option("--ttft", type=float, metavar="MS", help="target for the printed ConfigMap (with --itl)")
    option("--itl", type=float, metavar="MS", help="target for the printed ConfigMap (with --ttft)")
    target = command.add_argument_group("server to measure (it must have no other clients)")
    add_target(target.add_argument)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure or read, fit, print."""
    _check(args)
    from vllmperf import api
    from vllmperf.cli.bench import task_of
    from vllmperf.report.fit import show

    if args.files:
        result = api.fit(args.files, batch=_batches(args.batch), max_num_seqs=args.max_num_seqs)
    else:
        task = task_of(args)
        wait_until_ready(args, task)
        result = api.fit(
            task,
            max_num_seqs=args.max_num_seqs,
            shapes=args.shapes,
            budget=args.budget,
            seed=args.seed,
            output_dir=args.output_dir,
            progress=progress_line,
        )
    if args.plot:
        from vllmperf.report.plots.fit import plot

        plot(result, args.plot)
    if json_option.write(args.json, lambda: json.dumps(result.to_dict())):
        show(result, model=result.model, ttft_ms=args.ttft, itl_ms=args.itl)
    return 0


def _check(args: argparse.Namespace) -> None:
    if bool(args.files) == any(hasattr(args, name) for name in ("base_url", "host", "port")):
        raise UsageError("give either --base-url of a server or the FILEs of runs")
    if (args.ttft is None) != (args.itl is None):
        raise UsageError("--ttft and --itl go together: the queueing model takes both targets or none")
    for name in ("ttft", "itl"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name} is {value:g}: it must be above 0")
    if args.batch is not None and not args.files:
        raise UsageError("--batch is of result files: give those, or leave it out")
    json_option.check(args.json)
    check_plot(args.plot)


def _batches(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--batch {text!r} is no list of numbers: write 1,64") from None
