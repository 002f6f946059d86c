"""Explain why the results of two tools differ, with the size of each cause."""

import argparse
import json

from vllmperf.cli import json_option
from vllmperf.exit_codes import OK


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("reconcile", help="explain why two tools disagree", description=__doc__)
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a run file, result JSON of vLLM, report of guidellm, CSV of llm_bench, profile_export_aiperf.json, …",
        )
    json_option.add(parser.add_argument, "the parts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.api import reconcile
    from vllmperf.report.reconcile import show

    found = reconcile(args.a, args.b)
    if json_option.write(args.json, lambda: json.dumps(found.to_dict(), indent=1)):
        show(found)
    return OK
