"""vllmperf bench: arguments in, a Plan, a run, its table out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import datasets, text_file
from vllmperf.cli import fail_if, json_option, outputs
from vllmperf.cli.bench_arguments import AS_MANY_AS_IN_FLIGHT, add_arguments
from vllmperf.cli.flags import Help
from vllmperf.errors import UsageError
from vllmperf.exit_codes import FAILED
from vllmperf.plan import Plan
from vllmperf.whole_file import check_place

if TYPE_CHECKING:
    from vllmperf.comparison.conditions import Condition
    from vllmperf.loadgen.task import Task
    from vllmperf.run import Run

NO_CONNECTION = ("refused", "dns_failed", "connect_timeout", "tls_failed")


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "bench",
        help="load a server and measure how fast it serves",
        usage="vllmperf bench [--base-url URL | --sim] [options]",
        description="Send requests to an OpenAI-compatible server, and report how fast it answers and how reliable the "
        "numbers are. Flags have the names of vllm bench serve, with _ or -. `vllmperf bench --profile "
        "vllm-0.6|vllm-0.8|vllm-2026|sglang [its options]` replaces the client of vLLM or SGLang: same requests, output and "
        "files.",
        formatter_class=Help,
    )
    add_arguments(command)
    command.set_defaults(run=run)


# ---- from arguments to a task ----


def task_of(args: argparse.Namespace, **more: object) -> Task:
    """The task that the arguments describe; `more` are settings that no argument may change. Raises UsageError."""
    from vllmperf.api.given import url_of
    from vllmperf.loadgen.task import Task

    given, base = {**given_of(args), **more}, _base(args)
    if base is None and not {"base_url", "simulator"} & given.keys():
        given["base_url"] = url_of(getattr(args, "host", None), getattr(args, "port", None))
    if given.get("warm_connections") == AS_MANY_AS_IN_FLIGHT:
        given["warm_connections"] = _in_flight(given, base)
    return Task.of(given, base)


def given_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings among the arguments that were given."""
    from vllmperf.loadgen.task import SETTINGS
    from vllmperf.plan.settings import OWN_LENGTHS

    known = {*SETTINGS, *OWN_LENGTHS, *datasets.options()}
    found = {name: value for name, value in vars(args).items() if name in known}
    return {**found, "keep_text": True} if getattr(args, "save_detailed", False) else found


def _base(args: argparse.Namespace) -> Plan | None:
    path, resumed = getattr(args, "plan_file", None), getattr(args, "resume", None)
    if resumed is not None:
        from vllmperf.record.plans import plan_of
        from vllmperf.record.unfinished import unfinished

        return plan_of(unfinished(resumed).meta)
    return None if path is None else plan_in(path)


def plan_in(path: Path) -> Plan:
    """Of --plan. Raises UsageError."""
    try:
        return Plan.from_json(text_file.read(path))
    except (OSError, text_file.NoTextError) as error:
        raise UsageError(f"--plan {path} cannot be read: {error}") from None
    except UsageError as error:
        raise UsageError(f"--plan {path}: {error}") from None


def _in_flight(given: Mapping[str, Any], base: Plan | None) -> int:
    n = given.get("max_concurrency") or (base.load.max_concurrency if base else None)
    if n is None:
        raise UsageError("--warm-connections without a number needs --max-concurrency: give one of them")
    return int(n)


# ---- the command ----


def run(args: argparse.Namespace) -> int:
    """Make the run, print it, write the files that are asked for."""
    from vllmperf.api import finish_run, make_run
    from vllmperf.api.given import wait_until_ready
    from vllmperf.loadgen.allocator import give_back_large_blocks

    task = task_of(args)
    if args.print_plan:
        print(task.plan.to_json())
        return 0
    wanted = fail_if.conditions(args)
    check_output(args)
    if args.save_detailed and task.knobs.keep_gaps != "all":
        raise UsageError("--save-detailed writes the gaps of every request: leave --keep-gaps out")
    wait_until_ready(task, args.ready_check_timeout_sec)
    give_back_large_blocks()
    if args.repeat is not None:
        return _repeat(args, task, wanted)
    if args.resume:
        from vllmperf.record.unfinished import unfinished

        made = finish_run(task, unfinished(args.resume), not args.no_progress)
    else:
        made = make_run(task, args.record, not args.no_progress)
    made = made.untrimmed if args.no_trim else made
    put_out(made, args)
    judged = fail_if.exit_code_of_runs(args, wanted, [made])
    return exit_code(made) or judged


OF_ONE_RUN = ("resume", "html", "csv", "mlperf", "save_result", "save_detailed")


def _repeat(args: argparse.Namespace, task: Task, wanted: Sequence[Condition]) -> int:
    """Several runs, one table."""
    from vllmperf.api import make_repeats
    from vllmperf.report.repeats import sheet
    from vllmperf.run import open_run

    made = make_repeats(task, args.repeat, args.record, not args.no_progress, not args.no_trim)
    if json_option.write(args.json, lambda: json.dumps(made.to_dict(), indent=1)):
        sheet(made).show()
    judged = fail_if.exit_code_of_runs(args, wanted, made.runs)
    if made.ended:
        return 130 if made.is_interrupted else FAILED
    return max(exit_code(open_run(run.path)) for run in made) or judged


def check_output(args: argparse.Namespace, is_resumable: bool = False) -> None:
    """What cannot be written is said before the run, not after it. is_resumable: a run may be in --record already."""
    for name, value in (("--record", args.record), ("--plan", args.plan_file)):
        if args.resume and value:
            raise UsageError(f"--resume goes on with the plan and the file of a run: leave {name} out")
    if args.repeat is not None:
        for name in OF_ONE_RUN:
            if getattr(args, name):
                raise UsageError(
                    f"--repeat makes several runs, --{name.replace('_', '-')} is of one: leave it out"
                )
    if args.json == "-" and args.csv == "-":
        raise UsageError("--json and --csv - both want stdout: give --csv a file")
    for name, path in (("csv", args.csv), ("record", args.record), ("html", args.html), ("json", args.json)):
        if path and str(path) != "-":
            check_place(name, Path(path))
    if is_resumable:
        return
    if args.record and args.record.exists() and (not args.record.is_file() or args.record.stat().st_size):
        raise UsageError(f"--record {args.record} exists already: choose another name or remove it")


def put_out(made: Run, args: argparse.Namespace) -> None:
    """The table (or JSON) last: it stays in sight, and it is printed even when a file cannot be written."""
    from vllmperf.report.show import show

    try:
        if args.save_result or args.save_detailed:
            from vllmperf.formats.vllm_result import save

            how = {"detailed": args.save_detailed, "is_new": outputs.is_asked(args)}
            path = save(made, args.result_dir, args.result_filename, **how)
            print(f"vllmperf: wrote {path}", file=sys.stderr)
            outputs.beside(args, path)
        if args.csv:
            show(made, csv_to=args.csv)
        if args.html:
            show(made, html_to=args.html, mlperf=args.mlperf)
    finally:
        if args.csv != "-":
            show(made, json_to=args.json, mlperf=args.mlperf)


def exit_code(made: Run) -> int:
    """0 fine, 1 not to be trusted, given up or nothing completed, 3 nobody there, 130 interrupted."""
    gave_up = made.summary["ending"] is not None
    if made.recording.state == "interrupted" and not gave_up:
        return 130
    requests = made.summary["requests"]
    if requests["completed"]:
        return 1 if gave_up or made.summary["verdict"]["level"] == "untrusted" else 0
    only_unreachable = requests["outcomes"] and all(name in NO_CONNECTION for name in requests["outcomes"])
    return 3 if only_unreachable else 1
