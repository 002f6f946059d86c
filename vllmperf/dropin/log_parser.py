"""vllm-logParser.py: its arguments, its file (dumb0002/production-stack, perf-test/server-startup, 2025)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vllmperf.dropin.startup_arguments import add_common, offline_layout, run
from vllmperf.errors import UsageError
from vllmperf.parser import Parser

PROG = "vllm-logParser.py"
POSITIONAL = 2
"""file outdir, as in the first days."""


def main(words: Sequence[str] | None = None) -> int:
    """Parse one log and write its row: 0, or 2 for bad arguments and for a file that is no server's log."""
    return run(PROG, lambda: _write(parse_arguments(sys.argv[1:] if words is None else words)))


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog=PROG, description="Where the start of a vLLM server went, from its log.")
    parser.add_argument(
        "-f", "--filename", required=True, metavar="FILE", help="log of a vLLM server (-: stdin)"
    )
    add_common(parser)
    if len(words) == POSITIONAL and not any(word.startswith("-") for word in words):
        words = ["-f", words[0], "-o", words[1]]
    return parser.parse_args(words)


def _write(args: argparse.Namespace) -> int:
    from vllmperf.formats import startup_txt
    from vllmperf.starts.log.parse import as_start, parse

    parsed = parse(args.filename)
    if parsed.main.first_log_ns is None and not parsed.main.phases:
        raise UsageError(f"{args.filename} has no line of a vLLM server: give -f the server's log")
    start = as_start(parsed)
    layout = offline_layout(args.layout)
    path = startup_txt.write([start], Path(args.output), None, layout, cached=args.model_cached == "yes")
    print(f"wrote {path}")
    if not start.reached:
        print(f"{PROG}: {args.filename} does not show the server up; what it lacks is nan", file=sys.stderr)
    return 0
