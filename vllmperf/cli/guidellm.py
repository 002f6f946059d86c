"""vllmperf guidellm …: guidellm 0.2/0.3 under its own flags."""

import argparse


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    # no word is an option here: guidellm's own parser takes them all
    parser = subparsers.add_parser("guidellm", add_help=False, prefix_chars="\0")
    parser.add_argument("words", nargs="*")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.dropin.guidellm.command import main

    return main(args.words, "vllmperf guidellm")
