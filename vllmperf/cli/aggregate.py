"""vllmperf aggregate: one load over the generators of several replicas, and one result."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli.flags import Help, duration
from vllmperf.errors import UsageError
from vllmperf.exit_codes import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from vllmperf.run import Run
    from vllmperf.service.aggregate import Load
    from vllmperf.service.peers import Find


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "aggregate",
        help="run one load over the generators of several replicas, and merge what they measured",
        usage="vllmperf aggregate --specs FILE (--peer URL … | --dns NAME --replicas N | --pods SELECTOR --replicas N) [options]",
        description="Split each load of a values file over generators (vllmperf serve): each sends its share to the server "
        "beside it, all at the same time. Request i of the plan is that of generator i modulo their number: together they send "
        "exactly what one would. Their run files become one, with the figures of each replica. VLLMPERF_TOKEN is their token; "
        "results go to BENCHMARK_RESULTS_BUCKET, too, when it is set.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("--specs", type=Path, required=True, metavar="FILE", help="YAML with benchmarkSpecs; localhost is the "
           "server beside each generator")  # fmt: skip
    option("--peer", action="append", metavar="URL", default=[], help="a generator; given once for each")
    option("--dns", metavar="NAME", help="generators are at the addresses of this name, like that of a headless Service, which "
           "has those of its ready pods")  # fmt: skip
    option(
        "--pods",
        metavar="SELECTOR",
        help="generators are the ready pods with these labels, which the Kubernetes API lists",
    )
    option("--namespace", help="of the pods (default: this pod's, or that of the kubeconfig)")
    option("--port", type=int, default=8081, help="of the generators (default: 8081)")
    option("--replicas", type=int, metavar="N", help="how many generators there must be")
    option("--data", type=Path, default=Path(), metavar="DIR", help="folder of the results (default: here)")
    option(
        "--start-in",
        type=duration,
        default=15.0,
        metavar="T",
        help="time from asking the generators to the first request: each starts a process and reads its data meanwhile",
    )
    option(
        "--ready-timeout",
        type=duration,
        default=3600.0,
        metavar="T",
        help="how long to wait until all generators are there",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 fine, 1 no answer, or a result is not in the bucket, 2 bad arguments, 3 a generator is not there, 130 interrupted."""
    from vllmperf.bucket.outbox import Outbox
    from vllmperf.bucket.place import of_environment
    from vllmperf.service.aggregate import aggregate, load_of
    from vllmperf.service.peers import wait_for
    from vllmperf.signals import terminable

    loads, find = [load_of(body) for body in _bodies(args.specs)], _find(args)
    place, outbox, is_fine = of_environment(), Outbox(args.data), True
    for number, load in enumerate(loads):
        say(f"load {number + 1} of {len(loads)}")
        with terminable():
            peers = wait_for(find, args.replicas or len(args.peer), _token(), args.ready_timeout, say)
            folder = args.data / "aggregate" / f"{datetime.now():%Y%m%d-%H%M%S}-{number}"
            found = aggregate(load, peers, folder, args.start_in, say)
        for path in _written(load, found, folder):
            if place is not None:
                outbox.add(path, place / path.name)
        print(found, flush=True)
        if place is not None:
            _upload(outbox)
        if found.recording.state != "finished":
            return INTERRUPTED
        is_fine &= found.summary["requests"]["completed"] > 0
    return OK if is_fine and not outbox.waiting else FAILED


def say(line: str) -> None:
    print(f"vllmperf: {line}", file=sys.stderr, flush=True)


def _token() -> str | None:
    return os.environ.get("VLLMPERF_TOKEN")


def _bodies(path: Path) -> list[Any]:
    from vllmperf.service.specs import bodies

    return bodies(path)


def _find(args: argparse.Namespace) -> Find:
    from vllmperf.service.peers import named, pods

    if sum(map(bool, (args.peer, args.dns, args.pods))) != 1:
        raise UsageError(
            "give the generators: --peer URL for each, or --dns NAME or --pods SELECTOR with --replicas N"
        )
    if args.peer:
        return lambda: list(args.peer)
    if not args.replicas:
        raise UsageError(
            f"--{'dns' if args.dns else 'pods'} needs --replicas: how many generators there must be before a load begins"
        )
    return named(args.dns, args.port) if args.dns else pods(args.pods, args.namespace, args.port)


def _written(load: Load, found: Run, folder: Path) -> list[Path]:
    """The result as vLLM's client writes it, the run file and the report, under the name of that client."""
    from vllmperf.formats.runs import vllm
    from vllmperf.report.html import page_of
    from vllmperf.service.aggregate import stem_of
    from vllmperf.whole_file import write_whole

    stem = folder / stem_of(load, found, datetime.now())
    result, report, run_file = (stem.with_name(stem.name + end) for end in (".json", ".html", ".vllmperf"))
    vllm.write(found, result)
    write_whole(report, page_of(found))
    run_file.hardlink_to(found.path)
    return [result, run_file, report]


def _upload(outbox: Any) -> None:
    waiting = outbox.upload()
    for one in outbox.uploads:
        say(f"{one.name} → {one.to}: {one.error or 'waiting' if one in waiting else 'uploaded'}")
