"""Write programs named guidellm, benchmark_serving.py and llm_bench that call vllmperf."""

import argparse
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "shims", help="write programs under the names of the replaced tools", description=__doc__
    )
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="folder for the programs; put it first on PATH"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.dropin.shims import write

    for path in write(args.folder):
        print(path)
    return 0
