"""Measure live where the start-up time of a server goes: of pods in a cluster, or of a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.cli.startup_arguments import add_both, add_cluster, add_command, measurement
from vllmperf.errors import UsageError
from vllmperf.exit_codes import FAILED, INTERRUPTED, OK
from vllmperf.report.startup.show import add_output_arguments, check_outputs, write_outputs
from vllmperf.signals import terminable

if TYPE_CHECKING:
    from vllmperf.starts.result import Start


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "startup",
        help="measure the start of a server: pods of a cluster, or a command",
        description=__doc__,
    )
    add_both(parser)
    add_cluster(parser)
    add_command(parser)
    add_output_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf import api

    asked = measurement(args)
    _make_folder(asked.output)
    check_outputs(args)
    with terminable():
        starts = api.startup(asked, progress=not args.quiet)
    if starts:
        write_outputs(starts, args)
        _write_txt(starts, args, asked.output)
    return INTERRUPTED if starts.interrupted else _verdict(starts)


def _make_folder(folder: Path | None) -> None:
    """Before the outputs are looked at: they may be meant to lie in it."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {folder}: {error.strerror}; give a folder that can be written to") from None


def _write_txt(starts: Sequence[Start], args: argparse.Namespace, folder: Path | None) -> None:
    """The old script's file, and where the logs are."""
    if folder is None:
        return
    from vllmperf.formats import startup_txt

    model = args.model or next((start.log.model for start in starts if start.log and start.log.model), None)
    cached = args.model_cached == "yes"
    written = [str(startup_txt.write(starts, folder, model, args.layout, cached=cached))]
    written += [start.log_path for start in starts if start.log_path and Path(start.log_path).exists()]
    for path in written:
        print(f"vllmperf: wrote {path}", file=sys.stderr)


def _verdict(starts: Sequence[Start]) -> int:
    """1 when a server is not up, or something that was asked for could not be measured."""
    from vllmperf.starts.live.sleep_wake import NOT_MEASURED

    failed = [start for start in starts if start.failure is not None]
    for start in failed:
        assert start.failure is not None
        print(f"vllmperf: {start.name} failed: {' '.join(start.failure.text.split())}", file=sys.stderr)
    unmeasured = [note for start in starts for note in start.notes if note.startswith(NOT_MEASURED)]
    for note in dict.fromkeys(unmeasured):
        print(f"vllmperf: {note}", file=sys.stderr)
    return FAILED if unmeasured or not all(start.reached for start in starts) else OK
