"""vllmperf serve: runs over HTTP, one after the other."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli.bench_arguments import add_arguments
from vllmperf.cli.flags import Help, duration
from vllmperf.errors import UsageError
from vllmperf.service.guard.settings import TOKEN, Guard, Limits, guard_of

if TYPE_CHECKING:
    from vllmperf.bucket.place import Place
    from vllmperf.service.specs import Spec

HOST, PORT = "127.0.0.1", 8081


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "serve",
        help="run benchmarks over HTTP: POST /start-load, a queue, live figures, reports",
        usage="vllmperf serve [--host HOST] [--port PORT] [--data DIR] [options]",
        description="Accept runs over HTTP and make them one after the other, each in its own process: payloads of "
        "vllm-inference-benchmark for POST /start-load, and any plan, sweep, fit or search for capacity for POST /runs. /docs "
        "shows the API with examples. The queue and the runs survive a restart.",
        formatter_class=Help,
    )
    option = command.add_argument
    option(
        "--host",
        default=HOST,
        help="address to listen on; 0.0.0.0 for all. That needs the environment variable VLLMPERF_TOKEN, which clients send as "
        "Authorization: Bearer",
    )
    option("--port", type=int, default=PORT, help="port to listen on; 0 for any free one")
    option(
        "--data",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of the runs, which serve makes if it is missing; paths in requests, such as dataset_path, are relative to "
        "it and must stay in it (default: here)",
    )
    option(
        "--specs",
        type=Path,
        metavar="FILE",
        help="YAML file with benchmarkSpecs, a list of payloads of /start-load; serve runs those that DIR does not have yet",
    )
    option(
        "--queue-limit",
        type=int,
        default=20,
        metavar="N",
        help="most runs in the queue; serve answers 429 to the next one",
    )
    option(
        "--parallel-runs",
        type=int,
        default=1,
        metavar="N",
        help="runs at the same time; more than one disturb each other's figures (default: 1)",
    )
    option(
        "--ready-timeout",
        type=duration,
        default="1h",
        metavar="T",
        help="longest time that a run waits for its server to answer, like 30s, 10m, 1h",
    )
    option(
        "--keep-runs",
        type=int,
        metavar="N",
        help="keep the N newest runs that have ended, and remove older ones once the bucket has their files (default: all)",
    )
    option(
        "--keep-days",
        type=float,
        metavar="D",
        help="remove a run D days after its end, once the bucket has its files (default: never)",
    )
    option(
        "--allow-target",
        action="append",
        default=[],
        metavar="TARGET",
        help="server that runs may load; repeatable: HOST, HOST:PORT, *.SUFFIX, NETWORK/BITS, [IPV6]:PORT, * "
        "for any, cluster for private networks, hub for Hugging Face (default: * when only this machine can reach the service, "
        "else cluster)",
    )
    option(
        "--output",
        metavar="DEST",
        help="upload the files of each run to s3://BUCKET/PREFIX when it has ended; DIR keeps them, too (default: from "
        "BENCHMARK_RESULTS_BUCKET and BENCHMARK_RESULTS_DIRECTORY, if set)",
    )
    option(
        "--layout",
        choices=("flat", "llm-d"),
        default="flat",
        help="layout of the files in the bucket: flat, or SCENARIO/MODEL/HARDWARE/RUN",
    )
    option(
        "--output-endpoint",
        metavar="URL",
        help="the S3 server (default: BENCHMARK_RESULTS_ENDPOINT, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else Amazon's)",
    )
    limits = Limits()
    for name, kind, default, unit, what in (
        ("prompts", int, limits.num_prompts, "N", "most prompts"),
        ("duration", duration, f"{limits.duration_s / 3600:g}h", "T", "longest duration"),
        ("concurrency", int, limits.concurrency, "N", "most requests in flight"),
    ):
        option(
            f"--max-{name}",
            type=kind,
            default=default,
            metavar=unit,
            help=f"{what} that a run may ask for",
        )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. 0 fine, 2 bad arguments."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UsageError("serve needs FastAPI and uvicorn: pip install 'vllmperf[service]'") from None
    from vllmperf.service.keeping import Keep
    from vllmperf.service.queue import Settings
    from vllmperf.service.serving import serve
    from vllmperf.service.specs import read_specs

    if args.queue_limit < 0 or args.parallel_runs < 1:
        raise UsageError("--queue-limit must be at least 0, and --parallel-runs at least 1")
    keep = Keep(args.keep_runs, args.keep_days)
    limits = Limits(
        num_prompts=args.max_prompts, duration_s=args.max_duration, concurrency=args.max_concurrency
    )
    guard = guard_of(args.host, args.allow_target, args.data, os.environ.get(TOKEN), limits)
    specs = read_specs(args.specs) if args.specs else []
    for spec in specs:
        _check(spec, guard)
    bucket = _bucket(args)
    settings = Settings(
        *(args.data, args.queue_limit, args.parallel_runs, args.ready_timeout, guard, bucket, args.layout),
        keep=keep,
    )
    return serve(settings, args.host, args.port, specs, help_texts())


def _check(spec: Spec, guard: Guard) -> None:
    """The same checks as for a run that comes over HTTP."""
    from vllmperf.service.errors import RefusedError
    from vllmperf.service.guard.request import check_request

    try:
        check_request(spec.request, guard)
    except RefusedError as error:
        raise UsageError(f"--specs: {spec.key.partition(' ')[0]}: {error}") from None


def _bucket(args: argparse.Namespace) -> Place | None:
    """Of --output, else of the environment. Raises UsageError for one where nothing can ever be written."""
    from vllmperf.bucket import client
    from vllmperf.bucket.place import Place, of_environment

    place = (
        Place.of(args.output, args.output_endpoint) if args.output else of_environment(args.output_endpoint)
    )
    if place is not None and (why := client.check(place)):
        print(f"vllmperf: {why}; results wait in --data until it works", file=sys.stderr, flush=True)
    return place


def help_texts() -> dict[str, str]:
    """What the help of `vllmperf bench` says of each setting."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return {action.dest: (action.help or "").replace("%%", "%") for action in parser._actions}
