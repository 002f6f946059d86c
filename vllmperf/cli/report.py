"""vllmperf report RUN: the table of a recorded run, or its JSON, CSV or HTML."""

import argparse
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("report", help="show a recorded run again", description=__doc__)
    parser.add_argument(
        "run_file", metavar="RUN", type=Path, help="run file written by `vllmperf bench --record RUN`"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON instead of the table")
    parser.add_argument("--csv", metavar="FILE", help="write one row a request to FILE (-: to stdout)")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page to FILE (-: to stdout)")
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.report.show import show

    show(
        args.run_file,
        as_json=args.json,
        csv_to=args.csv,
        html_to=args.html,
        percentile_metrics=args.percentile_metrics,
        metric_percentiles=args.metric_percentiles,
    )
    return 0


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
