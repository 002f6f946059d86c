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
        help="run one load from the generators of several replicas, and merge their results",
        usage="vllmperf aggregate --specs FILE (--peer URL … | --dns NAME --replicas N | --pods SELECTOR --replicas N) [options]",
        description="Split each load of a values file among generators (vllmperf serve). Each generator sends its share to the "
        "server beside it, all at the same time: of N generators, generator i mod N sends request i, so that together they send "
        "exactly what one would. aggregate merges their run files, with the figures of each replica. It sends VLLMPERF_TOKEN as "
        "their token, and uploads the results to BENCHMARK_RESULTS_BUCKET if it is set.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("--specs", type=Path, required=True, metavar="FILE", help="YAML with benchmarkSpecs; localhost is the "
           "server beside each generator")  # fmt: skip
    option("--peer", action="append", metavar="URL", default=[], help="URL of a generator; repeatable")
    option("--dns", metavar="NAME", help="find the generators by this DNS name, like that of a headless Service, which lists "
           "its ready pods")  # fmt: skip
    option(
        "--pods",
        metavar="SELECTOR",
        help="find the generators by asking the Kubernetes API for ready pods with these labels",
    )
    option("--namespace", help="namespace of the pods (default: this pod's, or that of the kubeconfig)")
    option("--port", type=int, default=8081, help="port of the generators (default: 8081)")
    option("--replicas", type=int, metavar="N", help="number of generators to wait for")
    option("--data", type=Path, default=Path(), metavar="DIR", help="folder of the results (default: here)")
    option(
        "--start-in",
        type=duration,
        default=15.0,
        metavar="T",
        help="time between asking the generators and the first request, in which each starts a process and reads its data",
    )
    option(
        "--ready-timeout",
        type=duration,
        default=3600.0,
        metavar="T",
        help="longest time to wait for all generators",
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
