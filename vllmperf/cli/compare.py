"""vllmperf compare A B: the metrics of two runs side by side with the change."""

import argparse
import json

from vllmperf.cli import json_option


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "compare", help="show two runs side by side with the change", description=__doc__
    )
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a run file, a result JSON of vLLM's benchmark (its last object), a report of guidellm, …",
        )
    json_option.add(parser.add_argument, "both sides and the change")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.api import compare
    from vllmperf.report.compare import show

    found = compare(args.a, args.b)
    if json_option.write(args.json, lambda: json.dumps(found.to_dict(), indent=1)):
        show(found)
    return 0
