"""Check the sums that the figures of a result must obey. The result may come from any tool."""

import argparse
import json
from pathlib import Path

from vllmperf.cli import json_option
from vllmperf.exit_codes import FAILED, OK


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "check", help="check whether a result's figures agree", description=__doc__
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="run file, result JSON of vLLM, report of guidellm, summary CSV of llm_bench, or any text with the tables that "
        "these tools print",
    )
    json_option.add(parser.add_argument, "every check")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.api import check
    from vllmperf.report.check import show

    found = [one for path in args.files for one in check(path)]
    if json_option.write(args.json, lambda: json.dumps([one.to_dict() for one in found], indent=1)):
        show(found)
    return OK if all(one.holds for one in found) else FAILED
