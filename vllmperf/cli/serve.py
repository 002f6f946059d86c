"""vllmperf serve: runs over HTTP, one after the other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vllmperf.cli.bench_arguments import add_arguments
from vllmperf.cli.flags import Help, duration
from vllmperf.errors import UsageError

HOST, PORT = "127.0.0.1", 8081


def add(subparsers: Any) -> None:
    """The command and its arguments."""
    command = subparsers.add_parser(
        "serve",
        help="run benchmarks over HTTP: POST /start-load, a queue, live figures, reports",
        usage="vllmperf serve [--host HOST] [--port PORT] [--data DIR] [options]",
        description="Take runs over HTTP and carry them out one after the other, each in a process of its own: the payload of "
        "vllm-inference-benchmark's /start-load, or any plan, sweep, fit or search for capacity (POST /runs). /docs has the "
        "API with examples. The queue and the runs survive a restart.",
        formatter_class=Help,
    )
    option = command.add_argument
    option("--host", default=HOST, help="address to listen on; 0.0.0.0 for all")
    option("--port", type=int, default=PORT, help="port to listen on; 0 for any free one")
    option(
        "--data",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of the runs; dataset_path and other paths of requests are relative to it (default: here)",
    )
    option(
        "--specs",
        type=Path,
        metavar="FILE",
        help="YAML whose benchmarkSpecs, a list of payloads of /start-load, are run at the start; what is done is not done again",
    )
    option(
        "--queue-limit",
        type=int,
        default=20,
        metavar="N",
        help="runs that may wait; beyond, requests get 429",
    )
    option(
        "--parallel-runs",
        type=int,
        default=1,
        metavar="N",
        help="runs at once; they disturb each other's figures",
    )
    option(
        "--ready-timeout",
        type=duration,
        default=3600.0,
        metavar="T",
        help="how long a run waits for its server to answer before it fails",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. 0 fine, 2 bad arguments."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UsageError("serve needs FastAPI and uvicorn: pip install 'vllmperf[service]'") from None
    from vllmperf.service.queue import Settings
    from vllmperf.service.serving import serve
    from vllmperf.service.specs import read_specs

    if args.queue_limit < 0 or args.parallel_runs < 1:
        raise UsageError("--queue-limit must be at least 0, and --parallel-runs at least 1")
    specs = read_specs(args.specs) if args.specs else []
    settings = Settings(args.data, args.queue_limit, args.parallel_runs, args.ready_timeout)
    return serve(settings, args.host, args.port, specs, help_texts())


def help_texts() -> dict[str, str]:
    """What the help of `vllmperf bench` says of each setting."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return {action.dest: (action.help or "").replace("%%", "%") for action in parser._actions}
