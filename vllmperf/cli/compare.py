"""Show the metrics of runs side by side, with the change of each against the first run, and which changes are beyond chance."""

import argparse
import json

from vllmperf.cli import fail_if, json_option


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "compare", help="show runs side by side with the change", description=__doc__
    )
    what = "a run file, a result JSON of vLLM's benchmark (its last object), a report of guidellm, …"
    parser.add_argument("a", metavar="A", help=f"baseline: {what}")
    parser.add_argument("b", metavar="B", nargs="+", help="one or more results to compare with the baseline")
    json_option.add(parser.add_argument, "both sides and the change")
    fail_if.add(
        parser.add_argument,
        "; or 'ttft_p99 +5%%' when it rose by more against A, beyond chance (needs run files)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.api import compare
    from vllmperf.comparison.comparison import Comparison
    from vllmperf.comparison.conditions import of_comparison
    from vllmperf.report.compare import show

    wanted = fail_if.conditions(args, has_baseline=True)
    found = compare(args.a, *args.b)
    each = [found] if isinstance(found, Comparison) else list(found)
    judged = [result for one in each for result in of_comparison(wanted, one)]
    told = {"conditions": [one.to_dict() for one in judged]} if wanted else {}
    if json_option.write(args.json, lambda: json.dumps({**found.to_dict(), **told}, indent=1)):
        show(found)
    return fail_if.exit_code(args, judged)
