"""Explain each reason of the verdict and each odd pattern of a run: what vllmperf saw, the likely causes, how to tell them apart,
and the command to run next."""

import argparse
import json
from pathlib import Path

from vllmperf.cli import json_option
from vllmperf.exit_codes import OK


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "explain", help="explain the verdict and odd patterns of a run", description=__doc__
    )
    parser.add_argument(
        "run_file", metavar="RUN", type=Path, help="run file of `vllmperf bench --record RUN`"
    )
    json_option.add(parser.add_argument, "all of it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.formats import runs
    from vllmperf.report.explain import show

    found = runs.read(args.run_file).explain()
    if json_option.write(args.json, lambda: json.dumps([one.to_dict() for one in found], indent=1)):
        show(found)
    return OK
