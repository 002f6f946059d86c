"""vllmperf selftest: what this machine adds to the latencies that it measures."""

from __future__ import annotations

import argparse
import json
from typing import Any

from vllmperf.cli import json_option
from vllmperf.cli.needs import progress_line
from vllmperf.exit_codes import FAILED, OK


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "selftest",
        help="measure what this machine adds to latencies",
        description="Load a simulated server in this process with more and more streams, events/s and requests/s, and compare "
        "what the client measures with what the server recorded. This takes about a minute. Later runs on this machine quote the "
        "result.",
    )
    json_option.add(command.add_argument)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 fine, 1 when the machine adds more than 1 ms even to a single stream."""
    from vllmperf import api
    from vllmperf.report.selftest import sheet

    json_option.check(args.json)
    found = api.selftest(progress=progress_line)
    if json_option.write(args.json, lambda: json.dumps(found.to_dict(), indent=1)):
        sheet(found).show()
    return OK if found.is_honest else FAILED
