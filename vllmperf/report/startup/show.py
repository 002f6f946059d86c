"""What the command line puts out of starts: a table, JSON, CSV, HTML. Files appear whole or not at all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from vllmperf.errors import UsageError
from vllmperf.starts.result import Start
from vllmperf.whole_file import check_place, write_whole

STDOUT = "-"
Writer = Callable[[Sequence[Start], TextIO], None]
TO_FILE = ("csv", "html", "json")


def add_output_arguments(
    parser: argparse.ArgumentParser,
    json_help: str = "print one JSON object (docs/startup.md) instead of the table; with FILE, write it there",
) -> None:
    """--json [FILE], --csv FILE, --html FILE, --detail, --group SET=PATTERN, --against FILE."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", nargs="?", const=STDOUT, metavar="FILE", help=json_help)
    group.add_argument(
        "--csv", metavar="FILE", help="write one row per start and phase to FILE; - prints them"
    )
    group.add_argument("--html", metavar="FILE", help="write the report to FILE as an HTML page; - prints it")
    group.add_argument(
        "--detail", action="store_true", help="show the waterfall of every start, also of many"
    )
    group.add_argument(
        "--group",
        metavar="SET=PATTERN",
        action="append",
        type=_pattern,
        default=[],
        help="put the starts whose name or log file matches PATTERN into SET, and compare the sets: --group 'cold=c*' --group "
        "'warm=w*'",
    )
    group.add_argument(
        "--against",
        metavar="FILE",
        type=Path,
        help="compare with the starts of FILE, which `vllmperf startup --json` printed",
    )


def _pattern(text: str) -> tuple[str, str]:
    name, _, pattern = text.partition("=")
    if not name or not pattern:
        raise argparse.ArgumentTypeError(f"{text!r} is not SET=PATTERN, such as cold='cold-*'")
    return name, pattern


def check_outputs(args: argparse.Namespace) -> None:
    """Say before any work starts what could not be written after it. Raises UsageError."""
    wanted = [flag for flag in TO_FILE if getattr(args, flag) == STDOUT]
    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(f'--{flag}' for flag in wanted)} all want stdout: give one a file")
    for flag in TO_FILE:
        if (target := getattr(args, flag)) and target != STDOUT:
            check_place(flag, Path(target))
    if args.against is not None:
        from vllmperf.report.startup.sets import read_json

        read_json(args.against)


def write_outputs(
    starts: Sequence[Start],
    args: argparse.Namespace,
    json_objects: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """Put out what the arguments ask for: files first, then stdout: the table unless something else wants it.

    json_objects: what --json prints in the place of to_json(starts), one object a line.
    Raises UsageError when a file cannot be written, after everything else was put out: a measurement is dear.
    """
    from vllmperf.report.startup.table import print_starts

    starts, problem = _in_sets(starts, args)
    outputs: tuple[tuple[str | None, Writer], ...] = (
        (args.csv, _write_csv),
        (args.html, _write_page),
        (args.json, lambda starts, file: _write_json(starts, file, json_objects)),
    )
    problems = [problem] + [_try_to_put(target, write, starts) for target, write in outputs if target]
    if STDOUT not in (args.csv, args.html, args.json):
        print_starts(starts, detail=args.detail)
    for problem in filter(None, problems):
        raise problem


def _in_sets(starts: Sequence[Start], args: argparse.Namespace) -> tuple[Sequence[Start], UsageError | None]:
    """The starts with their sets; as they are where that is not possible, and why it is not."""
    from vllmperf.report.startup import sets

    starts = sets.distinct(starts)
    try:
        found = sets.grouped(starts, args.group) if args.group else starts
        return (found if args.against is None else sets.against(sets.read_json(args.against), found)), None
    except UsageError as error:
        return starts, error


def _write_csv(starts: Sequence[Start], file: TextIO) -> None:
    from vllmperf.report.startup import csv

    csv.write(starts, file)


def _write_page(starts: Sequence[Start], file: TextIO) -> None:
    from vllmperf.report.startup import html

    file.write(html.page(starts))


def _write_json(starts: Sequence[Start], file: TextIO, objects: Iterable[Mapping[str, Any]] | None) -> None:
    from vllmperf.report.console import json_text
    from vllmperf.report.startup.json import to_json

    if objects is None:
        file.write(json_text(to_json(starts), file, indent=2) + "\n")
        return
    for each in objects:
        file.write(json_text(each, file) + "\n")


def _try_to_put(target: str, write: Writer, starts: Sequence[Start]) -> UsageError | None:
    if target == STDOUT:
        write(starts, sys.stdout)
        return None
    try:
        write_whole(Path(target), lambda file: write(starts, file), "replace")
    except UsageError as error:
        return error
    print(f"vllmperf: wrote {target}", file=sys.stderr)
    return None
