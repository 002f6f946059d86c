"""vllmperf sweep: every set-up of a server at every load, with repeats; the folder of run files is the result."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli import json_option
from vllmperf.cli.flags import Help, settings
from vllmperf.errors import UsageError
from vllmperf.exit_codes import FAILED, INTERRUPTED, OK
from vllmperf.whole_file import check_place

if TYPE_CHECKING:
    from vllmperf.sweeps.result import Sweep

COURSE = ("repeat", "seed", "order", "reset")
ORDERS, RESETS = ("random", "written"), ("none", "cache", "restart", "salt")


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "sweep",
        help="measure set-ups of a server at several loads, with repeats",
        usage="vllmperf sweep FILE [--output DEST] [options]",
        description="Start each set-up of FILE, measure it at each load, and stop it; then report what each set-up changes "
        "against the first one, and which changes are beyond chance. The same command continues a sweep that was killed. With a "
        "folder instead of FILE, it shows the results in it.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("file", type=Path, metavar="FILE", help="the sweep in YAML or JSON (docs/sweep.md), or its folder")
    option(
        "--output",
        metavar="DEST",
        help="folder of the run files (default: the name of FILE without suffix), or s3://BUCKET/PREFIX, where vllmperf copies "
        "the default folder",
    )
    option("--dry-run", action="store_true", help="print the points in order and how long they will take")
    json_option.add(option)
    option("--csv", type=Path, metavar="FILE", help="write one row per point to FILE")
    given = settings(option)
    given("--repeat", type=int, metavar="K", help="measure each point K times, each time with another seed")
    given("--seed", type=int, metavar="N", help="seed of the first repeat, and of the order")
    given("--order", choices=ORDERS, help="order of set-ups and loads within each repeat")
    given("--reset", choices=RESETS, help="how to empty the caches of the server before each point")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print. 0 fine, 1 a set-up or a point failed, 130 interrupted (what came is printed)."""
    from vllmperf import api
    from vllmperf.sweeps.folder import DEFINITION
    from vllmperf.sweeps.result import open_sweep

    json_option.check(args.json)
    if args.csv:
        check_place("csv", args.csv)
    course = {name: value for name, value in vars(args).items() if name in COURSE}
    if args.file.is_dir() and (args.file / DEFINITION).exists():
        if course or args.output or args.dry_run:
            raise UsageError(
                f"{args.file} is the folder of a sweep and is only shown: give the file to go on with it"
            )
        return _put_out(open_sweep(args.file), args)
    output = args.output or args.file.with_suffix("")
    if args.dry_run:
        return _dry_run(args.file, output, course)
    if output == args.file:
        raise UsageError(f"{args.file} has no suffix that its folder could lack: give --output DIR")
    return _put_out(api.sweep(args.file, output=output, progress=_line, **course), args)


def _line(line: str) -> None:
    """A point may take minutes: where it is stands on stderr, also in a log."""
    print(line, file=sys.stderr, flush=True)


def _dry_run(file: Path, output: Path, course: dict[str, Any]) -> int:
    from vllmperf.report.sweep_plan import text
    from vllmperf.sweeps.definition import definition_of, with_course

    print(text(with_course(definition_of(file), course), output))
    return OK


def _put_out(found: Sweep, args: argparse.Namespace) -> int:
    from vllmperf.report.sweep import sheet

    if args.csv:
        found.to_csv(args.csv)
    if json_option.write(args.json, lambda: json.dumps(found.to_dict(), indent=1)):
        sheet(found).show()
    if found.interrupted:
        return INTERRUPTED
    return FAILED if found.failures else OK
