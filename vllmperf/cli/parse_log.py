"""Read from the log of a vLLM server where its start-up time went."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vllmperf.errors import UsageError
from vllmperf.exit_codes import FAILED, OK, USAGE
from vllmperf.report.startup.show import add_output_arguments, check_outputs, write_outputs

if TYPE_CHECKING:
    from vllmperf.starts.result import ParsedFile

SHOWN = 120  # characters of a first line
LOOKED_FOR = (
    "looked for vLLM's own form (INFO 06-21 08:00:00 [core.py:77] …) behind any prefix and for what vLLM says in any format "
    "(vLLM API server version …, Initializing a V1 LLM engine …); uvicorn's lines alone (Application startup complete) may be "
    "any server's."
)


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "parse-log", help="where a server's start time went, from its log", description=__doc__
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="log file, plain or .gz, as vLLM or any collector wrote it; - reads stdin",
    )
    parser.add_argument("--year", type=_year, metavar="Y", help="year of the first line, if the log has none")
    parser.add_argument(
        "--tz",
        metavar="ZONE",
        help="time zone of the log, like Europe/Berlin or +02:00 (default: UTC)",
    )
    add_output_arguments(
        parser,
        json_help="print one JSON object per file and line instead of the table; with FILE, write them there "
        "(docs/startup_log.md)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.starts.log.wallclock import zone

    check_outputs(args)
    zone(args.tz)
    parsed, unread = _parse_all(args)
    for one in parsed:
        if not one.recognized:
            print(f"vllmperf: error: {_unknown(one)}", file=sys.stderr)
    shown = [one for one in parsed if one.recognized or args.json is not None]
    if shown:
        write_outputs([one.start for one in shown], args, json_objects=[one.to_dict() for one in shown])
    if unread:
        return USAGE
    return OK if all(one.recognized and one.main.failure is None for one in parsed) else FAILED


def _parse_all(args: argparse.Namespace) -> tuple[list[ParsedFile], bool]:
    """All files that can be read; what is wrong with the others goes to stderr, a line each."""
    from vllmperf.api import parse_log

    parsed, unread = [], False
    for path in args.files:
        try:
            parsed.append(parse_log(path, year=args.year, tz=args.tz))
        except UsageError as error:
            unread = True
            print(f"vllmperf: error: {error}", file=sys.stderr)
    return parsed, unread


def _unknown(parsed: ParsedFile) -> str:
    """Why nothing is shown of a file: what it begins with, and what would have been recognized."""
    name = "standard input" if parsed.file == "-" else parsed.file
    first = "".join(c if c.isprintable() else "?" for c in parsed.first_text)
    first = first if len(first) <= SHOWN else f"{first[: SHOWN - 1]}…"
    begins = f"its first line is {first!r}" if first else "it has no line with a text"
    return f"{name}: no line of a vLLM server was found: {begins}; {LOOKED_FOR}"


def _year(text: str) -> int:
    if not text.isdigit() or not 1970 <= int(text) <= 9998:
        raise argparse.ArgumentTypeError(f"{text!r} is no year")
    return int(text)
