"""Show the table of a run, or write the run in another format."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.cli import fail_if, json_option, outputs
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.run import Run

MLPERF = (
    "add the upper bound of MLCommons to each percentile; it assumes independent requests (docs/intervals.md)"
)
NO_TRIM = "include the run's warm-up and drain in the figures (docs/warm_up.md)"


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from vllmperf.formats import runs

    parser = subparsers.add_parser("report", help="show a run again", description=__doc__)
    parser.add_argument(
        "run_file",
        metavar="RUN",
        type=Path,
        help="run file of `vllmperf bench --record RUN`, what --json printed, or a result of another tool: of vLLM, SGLang, "
        "guidellm, aiperf or llm_bench, or a text into which its table was pasted",
    )
    parser.add_argument(
        "--to",
        nargs=2,
        action="append",
        default=[],
        metavar=("FORMAT", "PATH"),
        help=f"write the run to PATH as {', '.join(runs.writable())}; repeatable",
    )
    json_option.add(parser.add_argument, "the summary")
    parser.add_argument("--csv", metavar="FILE", help="write one row per request to FILE; - prints them")
    parser.add_argument(
        "--html", metavar="FILE", help="write the report to FILE as an HTML page; - prints it"
    )
    parser.add_argument(
        "--percentile-metrics",
        metavar="NAMES",
        type=_names,
        help="rows of the table, such as ttft,tpot,itl,e2el",
    )
    parser.add_argument(
        "--metric-percentiles",
        metavar="NUMBERS",
        type=_percentiles,
        help="columns of the table, such as 50,90,99.9",
    )
    parser.add_argument("--mlperf", action="store_true", help=MLPERF)
    parser.add_argument("--no-trim", action="store_true", help=NO_TRIM)
    fail_if.add(parser.add_argument)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.formats import runs

    wanted = fail_if.conditions(args)
    found = runs.read_all(args.run_file)
    if len(found) > 1 and (args.to or args.csv or args.html or args.json):
        raise UsageError(f"{args.run_file} holds {len(found)} runs: only their tables can be shown")
    shown = [one.untrimmed if args.no_trim else one for one in found]
    for one in shown:
        _put_out(one, args)
    return fail_if.exit_code_of_runs(args, wanted, shown)


def _put_out(one: "Run", args: argparse.Namespace) -> None:
    from vllmperf.formats import runs
    from vllmperf.report.show import show

    for name, path in args.to:
        runs.write(one, path, name)
        print(f"vllmperf: wrote {path}", file=sys.stderr)
    if args.to and not (args.json or args.csv or args.html):
        return
    csv_to, html_to = args.csv, args.html
    if outputs.is_asked(args):  # files beside the table, not in its place
        show(one, csv_to=csv_to, html_to=html_to)
        csv_to = html_to = None
    show(
        one,
        json_to=args.json,
        csv_to=csv_to,
        html_to=html_to,
        percentile_metrics=args.percentile_metrics,
        metric_percentiles=args.metric_percentiles,
        mlperf=args.mlperf,
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _percentiles(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 50,90,99.9") from None
    if not all(0 <= value <= 100 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r}: percentiles lie between 0 and 100")
    return values
