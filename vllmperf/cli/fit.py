"""vllmperf fit: parameters of one replica, from a server or from files of runs."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli import json_option
from vllmperf.cli.bench_arguments import Help, duration, pair
from vllmperf.cli.needs import check_plot, check_scipy, make_folder
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.model.parameters import FitResult
    from vllmperf.target import Client

SHAPES = "128/128,512/128,128/512,2048/64"


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "fit",
        help="find alpha, beta, gamma and delta of one replica, with intervals",
        usage="vllmperf fit (--base-url URL [--max-num-seqs N] | FILE...) [options]",
        description="Measure the engine's steps at several loads and fit step = alpha + beta*batch and "
        "TTFT = gamma + delta*prompt tokens. FILE: run files, vLLM result JSON, reports of guidellm 0.2 to 0.8.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("files", nargs="*", type=Path, metavar="FILE", help="fit to these instead of to new runs")
    option("--batch", metavar="N,N", help="batch of each result file, in order (else what the file reports)")
    option(
        "--base-url",
        metavar="URL",
        help="server to measure, like http://HOST:8000; it must have no other clients",
    )
    option("--model", metavar="NAME", help="name of the model (default: the first one the server names)")
    option("--api-key", metavar="KEY", help="bearer token (default: $OPENAI_API_KEY); never written anywhere")
    option(
        "--header",
        action="append",
        type=pair,
        default=[],
        metavar="NAME=VALUE",
        help="sent with every request",
    )
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
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure or read, fit, print."""
    _check(args)
    result, model = _from_files(args) if args.files else _from_server(args)
    from vllmperf.report.fit import show

    if args.plot:
        from vllmperf.report.plots.fit import plot

        plot(result, args.plot)
    if json_option.write(args.json, lambda: json.dumps(result.to_dict())):
        show(result, model=model, ttft_ms=args.ttft, itl_ms=args.itl)
    return 0


def _check(args: argparse.Namespace) -> None:
    if bool(args.files) == bool(args.base_url):
        raise UsageError("give either --base-url of a server or the FILEs of runs")
    if args.max_num_seqs is not None and args.max_num_seqs < 2:
        raise UsageError(f"--max-num-seqs is {args.max_num_seqs}: a fit needs 2 or more")
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
    check_scipy("fit")


def _from_server(args: argparse.Namespace) -> tuple[FitResult, str]:
    from vllmperf.model.arrivals import arrivals
    from vllmperf.model.campaign import carry_out, run_seconds, shapes_of, spots
    from vllmperf.model.law import fit_runs, measured
    from vllmperf.plan import Task
    from vllmperf.record.reader import read
    from vllmperf.target import client_of, first_model

    task = Task.of({"base_url": args.base_url, "headers": dict(args.header), "api_key": args.api_key})
    client = client_of(task.plan.target, task.credentials)
    model = args.model or first_model(client)
    planned = spots(_max_num_seqs(args, client), shapes_of(args.shapes))
    each_s = run_seconds(planned, args.budget)
    with tempfile.TemporaryDirectory(prefix="vllmperf-fit-") as temporary:
        folder = args.output_dir or Path(temporary)
        make_folder(folder)
        done = carry_out(task.replace(model=model), planned, each_s, folder, args.seed, _tell)
        runs = [
            measured(
                one.spot.label,
                arrivals(read(one.path, texts=False)),
                one.spot.held_out,
                one.spot.concurrency,
                one.server_running,
            )
            for one in done
        ]
        return fit_runs(runs), model


def _max_num_seqs(args: argparse.Namespace, client: Client) -> int:
    from vllmperf.model.server_settings import max_num_seqs

    found = args.max_num_seqs or max_num_seqs(client)
    if found is None:
        raise UsageError(
            "the server does not say its --max-num-seqs (/server_info needs VLLM_SERVER_DEV_MODE=1): "
            "give it as --max-num-seqs N"
        )
    if found < 2:
        raise UsageError(f"the server serves {found} at a time: alpha and beta need 2 or more")
    return int(found)


def _from_files(args: argparse.Namespace) -> tuple[FitResult, str | None]:
    from vllmperf.model.arrivals import arrivals
    from vllmperf.model.law import fit_runs, measured
    from vllmperf.model.means import fit_means, read_means
    from vllmperf.paths import shortest_name
    from vllmperf.record.reader import read

    recorded = [_is_run_file(path) for path in args.files]
    names = [shortest_name(path, args.files) for path in args.files]
    if all(recorded):
        recordings = [read(path, texts=False) for path in args.files]
        runs = [
            measured(name, arrivals(one), concurrency=one.plan.get("max_concurrency"))
            for name, one in zip(names, recordings, strict=True)
        ]
        return fit_runs(runs), recordings[0].plan.get("model")
    if any(recorded):
        raise UsageError("run files and result files of other tools cannot be fitted together: give one kind")
    batches = _batches(args)
    means = [
        mean
        for path, batch, name in zip(args.files, batches, names, strict=True)
        for mean in read_means(path, batch, name)
    ]
    return fit_means(means), None


def _batches(args: argparse.Namespace) -> list[float | None]:
    if args.batch is None:
        return [None] * len(args.files)
    try:
        found: list[float | None] = [float(part) for part in args.batch.split(",")]
    except ValueError:
        raise UsageError(f"--batch {args.batch!r} is no list of numbers: write 1,64") from None
    if len(found) != len(args.files):
        raise UsageError(f"--batch names {len(found)} batches for {len(args.files)} files: give one a file")
    return found


def _is_run_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _tell(line: str) -> None:
    if sys.stderr.isatty() or os.environ.get("VLLMPERF_PROGRESS"):
        print(line, file=sys.stderr)
