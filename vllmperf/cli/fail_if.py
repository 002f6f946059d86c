"""--fail-if and --junit of bench, report and compare."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError
from vllmperf.exit_codes import CANNOT_TELL, FAILED, OK
from vllmperf.whole_file import check_place, write_whole

if TYPE_CHECKING:
    from vllmperf.comparison.conditions import Condition, Judged
    from vllmperf.run import Run

HELP = "exit with code 1 if this is true, with 4 if nobody can tell, such as 'ttft_p99>500ms' or 'requests_per_s<10'"


def add(option: Callable[..., Any], more: str = "") -> None:
    option("--fail-if", action="append", default=[], metavar="CONDITION", help=f"{HELP}{more}; repeatable")
    option("--junit", metavar="FILE", help="write the result of each condition to FILE as JUnit XML")


def conditions(args: argparse.Namespace, *, has_baseline: bool = False) -> list[Condition]:
    """Parsed before any work. Raises UsageError."""
    if args.junit and not args.fail_if:
        raise UsageError("--junit has nothing to write without --fail-if CONDITION")
    if args.junit:
        check_place("junit", Path(args.junit))
    if not args.fail_if:
        return []
    from vllmperf.comparison.conditions import parsed

    found = parsed(args.fail_if)
    for one in found:
        if one.is_relative and not has_baseline:
            raise UsageError(
                f"--fail-if {one.text!r} needs a baseline: vllmperf compare BASELINE RUN --fail-if …"
            )
    return found


def exit_code(args: argparse.Namespace, judged: Sequence[Judged]) -> int:
    """FAILED where a condition holds, else CANNOT_TELL where one cannot be judged; each is a line on stderr, and a test case of
    --junit."""
    from vllmperf.comparison import conditions

    for one in judged:
        print(f"vllmperf: {one}", file=sys.stderr)
    if args.junit:
        from vllmperf.report.junit import xml

        write_whole(Path(args.junit), xml(judged, f"vllmperf {args.command}"))
    outcomes = {one.outcome for one in judged}
    return (
        FAILED if conditions.FAILED in outcomes else CANNOT_TELL if conditions.CANNOT_TELL in outcomes else OK
    )


def exit_code_of_runs(args: argparse.Namespace, wanted: Sequence[Condition], runs: Sequence[Run]) -> int:
    """The same of runs without a baseline."""
    if not wanted:
        return OK
    from vllmperf.comparison.conditions import of_run

    names = [run.path.name for run in runs] if len(runs) > 1 else [""]
    judged = [
        each for run, name in zip(runs, names, strict=True) for each in of_run(wanted, run.figures(name))
    ]
    return exit_code(args, judged)
