"""vllmperf fit: parameters of one replica, from a server or from files of runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from vllmperf.cli import goals, json_option
from vllmperf.cli.flags import Help, duration
from vllmperf.cli.needs import check_plot, progress_line
from vllmperf.cli.target_arguments import add_target
from vllmperf.errors import UsageError

SHAPES = "128/128,512/128,128/512,2048/64"
EMIT = ("llm-d-router", "keda", "wva-0.9", "wva-crd-2025", "json")
EMIT_SETTINGS = (
    "ttft",
    "tpot",
    "input_len",
    "output_len",
    "requests",
    "max_num_batched_tokens",
    "kv_cache_tokens",
)


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "fit",
        help="find alpha, beta, gamma and delta of one replica, with intervals",
        usage="vllmperf fit (--base-url URL [--max-num-seqs N] | FILE...) [options]",
        description="Measure the engine's steps at several loads, and fit step = alpha + beta*batch and "
        "TTFT = gamma + delta*prompt tokens. FILEs are run files, result JSON of vLLM or reports of guidellm 0.2 to 0.8, "
        "or one file that --json wrote.",
        formatter_class=Help,
    )
    option = command.add_argument
    option(
        "files", nargs="*", type=Path, metavar="FILE", help="fit to these runs instead of measuring a server"
    )
    option(
        "--batch", metavar="N,N", help="batch of each result file, in order (default: as the file reports it)"
    )
    option(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="max_num_seqs of the server, the most sequences in a step (default: as its /server_info reports it)",
    )
    option("--shapes", default=SHAPES, metavar="IN/OUT,...", help="prompt and output tokens of the runs")
    option("--budget", type=duration, default="5m", metavar="T", help="time for all runs")
    option(
        "--seed", type=int, default=0, metavar="N", help="random seed of prompts and of the order of the runs"
    )
    option("--output-dir", type=Path, metavar="DIR", help="keep the run files here")
    json_option.add(option)
    option("--plot", type=Path, metavar="FILE", help="draw steps against batch (PNG, SVG, PDF)")
    _add_emit(command.add_argument_group("for routers and autoscalers").add_argument)
    target = command.add_argument_group("server to measure (it must have no other clients)")
    add_target(target.add_argument)
    command.set_defaults(run=run)


def _add_emit(option: Any) -> None:
    option(
        "--emit",
        choices=EMIT,
        help="print the constants of the replica as YAML or JSON for this tool instead of the table; keda needs a goal",
    )
    goals.add(option, "pP|mean", "goal")
    option(
        "--input-len",
        type=float,
        metavar="N",
        help="mean tokens of a prompt (default: the first of --shapes)",
    )
    option(
        "--output-len",
        type=float,
        metavar="N",
        help="mean tokens of an output (default: the first of --shapes)",
    )
    option("--requests", type=Path, metavar="RUN", help="draw requests from this run file instead")
    option(
        "--max-num-batched-tokens",
        type=int,
        metavar="N",
        help="most tokens in a step; prompt length of peakPrefillThroughput (default: as the server reports it, else 8192)",
    )
    option(
        "--kv-cache-tokens",
        type=int,
        metavar="N",
        help="tokens that the KV cache holds, for the decode threshold (default: as /metrics reports them)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure or read, fit, print."""
    _check(args)
    from vllmperf import api
    from vllmperf.api.given import wait_until_ready
    from vllmperf.cli.bench import task_of
    from vllmperf.report.fit import sheet

    if args.files:
        result = api.fit(args.files, batch=_batches(args.batch), max_num_seqs=args.max_num_seqs)
    else:
        task = task_of(args)
        wait_until_ready(task, args.ready_check_timeout_sec)
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
    shown = json_option.write(args.json, lambda: json.dumps(result.to_dict()))
    if args.emit:
        settings = {name: getattr(args, name) for name in EMIT_SETTINGS}
        sys.stdout.write(api.emit(result, args.emit, progress=progress_line, **settings))
    elif shown:
        sheet(result).show()
    return 0


def _check(args: argparse.Namespace) -> None:
    if bool(args.files) == any(hasattr(args, name) for name in ("base_url", "host", "port")):
        raise UsageError("give either --base-url of a server or the FILEs of runs")
    from vllmperf.model.latency_goals import latency_goal

    for name in EMIT_SETTINGS:
        if not args.emit and getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for --emit: add that, or leave it out")
    if args.emit == "keda" and args.ttft is None and args.tpot is None:
        raise UsageError(
            "--emit keda needs --ttft, --tpot or both: its thresholds are what a replica has at these goals"
        )
    if args.emit == "wva-0.9" and (args.ttft is None) != (args.tpot is None):
        raise UsageError("--emit wva-0.9 needs --ttft and --tpot together, or neither: WVA refuses one alone")
    for name in ("ttft", "tpot"):
        latency_goal(name, getattr(args, name))
    if args.emit and args.json == json_option.STDOUT:
        raise UsageError("--emit and --json both print: give --json a FILE, or --emit json")
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
