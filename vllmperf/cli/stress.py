"""vllmperf stress: a preset under the arguments of bench, a run that goes on through restarts, its table out."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli import bench, bench_arguments, fail_if
from vllmperf.cli.flags import Help
from vllmperf.exit_codes import OK
from vllmperf.parser import flag
from vllmperf.plan.settings import LENGTHS

if TYPE_CHECKING:
    from vllmperf.bucket.place import Place

DEFAULT = re.compile(r" \(default: [^)]*\)$")


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    from vllmperf.api.stress_runs import PRESET, RECORD

    command = subparsers.add_parser(
        "stress",
        help="load a server for hours, through restarts of the server and of the command",
        usage="vllmperf stress [--base-url URL] [options]",
        description="Load a server for hours with prefill-heavy prompts, which bring GPUs close to their power limit. The run "
        "waits while the server restarts, and continues when you start this command again. The preset is "
        f"{_words(PRESET)}; every flag of vllmperf bench overrides its part. If there is no text for sonnet "
        "(--dataset-path, or app/sonnet.txt here), it sends made-up prompts of the same lengths.",
        formatter_class=Help,
    )
    command.add_argument_group("run").add_argument(
        "--record",
        type=Path,
        default=Path(RECORD),
        metavar="FILE",
        help="run file; if it holds a run already, the command continues that run",
    )
    bench_arguments.add_arguments(command, has_record=False)
    _tell_defaults(command, PRESET)
    command.set_defaults(run=run, resume=None, repeat=None)


def _words(preset: Mapping[str, object]) -> str:
    """--num-prompts 500000 --request-rate 12 …"""
    flags = {name: f"--sonnet-{name.replace('_', '-')}" if name in LENGTHS else flag(name) for name in preset}
    return " ".join(f"{flags[name]} {_value(value)}" for name, value in preset.items())


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tell_defaults(command: argparse.ArgumentParser, preset: Mapping[str, object]) -> None:
    """In the help: the preset's instead of bench's."""
    for action in command._actions:
        if action.dest in preset:
            action.help = DEFAULT.sub("", action.help or "") + f" (default: {_value(preset[action.dest])})"


def run(args: argparse.Namespace) -> int:
    """Make the run or go on with it, print it, write the files that are asked for."""
    from vllmperf.api.given import url_of, wait_until_ready
    from vllmperf.api.stress_runs import carry_out, stress_task
    from vllmperf.loadgen.task import Task

    given = bench.given_of(args)
    if not {"base_url", "simulator"} & given.keys() and args.plan_file is None:
        given["base_url"] = url_of(getattr(args, "host", None), getattr(args, "port", None))
    if args.plan_file is not None:
        task, notes = Task.of(given, bench.plan_in(args.plan_file)), list[str]()
    else:
        task, notes = stress_task(given)
    if args.print_plan:
        print(task.plan.to_json())
        return OK
    wanted = fail_if.conditions(args)
    bench.check_output(args, is_resumable=True)
    for note in [*notes, *_record_notes(args.record)]:
        print(f"vllmperf: {note}", file=sys.stderr, flush=True)
    wait_until_ready(task, args.ready_check_timeout_sec)
    made = carry_out(task, args.record, not args.no_progress, _place(args))
    made = made.untrimmed if args.no_trim else made
    bench.put_out(made, args)
    judged = fail_if.exit_code_of_runs(args, wanted, [made])
    return bench.exit_code(made) or judged


def _place(args: argparse.Namespace) -> Place | None:
    """In a bucket, for what the run did so far: that of --output, else of the environment."""
    from vllmperf.bucket.place import of_environment

    outputs = getattr(args, "outputs", None)
    return of_environment() if outputs is None else outputs.place


def _record_notes(record: Path) -> list[str]:
    from vllmperf.api.stress_runs import has_begun
    from vllmperf.record.reader import header

    if not has_begun(record):
        return [f"the run file is {record}: started again, this command goes on with its run"]
    if header(record).state == "finished":
        return [f"the run in {record} is complete: its report follows; give another --record for a new one"]
    return [f"going on with the run in {record}"]
