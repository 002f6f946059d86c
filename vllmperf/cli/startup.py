"""vllmperf startup: where the start of a server goes, measured live: pods of a cluster, or a command."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.cli.startup_arguments import GRACE_S, add_both, add_cluster, add_command, check
from vllmperf.errors import UsageError
from vllmperf.exit_codes import FAILED, INTERRUPTED, OK
from vllmperf.report.startup.show import add_output_arguments, check_outputs, write_outputs

if TYPE_CHECKING:
    from vllmperf.report.startup.live import LiveStarts
    from vllmperf.starts.result import Start


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "startup",
        help="measure the start of a server: pods of a cluster, or a command",
        description=__doc__,
        epilog='a cluster: vllmperf startup -l app=vllm --watch    no cluster: vllmperf startup --command "vllm serve MODEL"',
    )
    add_both(parser)
    add_cluster(parser)
    add_command(parser)
    add_output_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.report.startup.live import LiveStarts

    check(args)
    _make_folder(args.output)
    check_outputs(args)
    starts: list[Start] = []
    code = OK
    with _terminable(), LiveStarts(quiet=args.quiet) as live:
        try:
            measured = _of_command(args, live, starts) if args.server is not None else _of_pods(args, live)
            starts[:] = measured
        except KeyboardInterrupt as stopped:
            starts[:] = getattr(stopped, "starts", starts)
            code = INTERRUPTED
    if starts:
        write_outputs(starts, args)
        _write_txt(starts, args)
    return code or _verdict(starts)


def _make_folder(folder: str | Path | None) -> None:
    """Before the outputs are looked at: they may be meant to lie in it."""
    if folder is None:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {folder}: {error.strerror}; give a folder that can be written to") from None


def _of_command(args: argparse.Namespace, live: LiveStarts, finished: list[Start]) -> list[Start]:
    from vllmperf.starts.live.child import STOP_S
    from vllmperf.starts.live.launch import Asked, starts
    from vllmperf.starts.live.probe import Access

    asked = Asked(
        args.server,
        url=args.url,
        timeout_s=args.timeout,
        stop_s=args.stop_timeout if args.stop_timeout is not None else STOP_S,
        logs_to=args.output,
        log_stamps=args.log_timestamps,
        access=Access(args.api_key, dict(args.header), args.cacert, args.insecure),
        probe_first_token=not args.no_first_token,
        sleep_wake=args.sleep_wake,
        echo=_echo if args.echo else None,
        on_update=_updating(live),
    )
    for start in starts(asked, args.repeat or 1, cold=args.cold, warm=args.warm, cache_dir=args.cache_dir):
        finished.append(start)  # kept when a later one is interrupted
    return list(finished)


def _of_pods(args: argparse.Namespace, live: LiveStarts) -> list[Start]:
    from vllmperf.starts.live.pods import measure

    return measure(
        args.config,
        args.context,
        args.namespace or "default",
        args.label,
        args.containername,
        args.deployment,
        args.watch,
        args.timeout,
        args.probe_first_token,
        args.output,
        _updating(live),
        scale=args.scale,
        restart=args.restart,
        repeat=args.repeat or 1,
        sleep_wake=args.sleep_wake,
        url=args.url,
        api_key=args.api_key,
        headers=dict(args.header),
        cacert=args.cacert,
        insecure=args.insecure,
        grace_s=args.grace if args.grace is not None else GRACE_S,
        log_stamps=args.log_timestamps,
    )


def _updating(live: LiveStarts) -> Any:
    import time

    return lambda starts: live.update(starts, time.time_ns())


def _echo(line: bytes) -> None:
    sys.stderr.buffer.write(line + b"\n")
    sys.stderr.buffer.flush()


def _write_txt(starts: Sequence[Start], args: argparse.Namespace) -> None:
    """The old script's file, and where the logs are."""
    if args.output is None:
        return
    from vllmperf.formats import startup_txt

    model = args.model or next((start.log.model for start in starts if start.log and start.log.model), None)
    cached = args.model_cached == "yes"
    written = [str(startup_txt.write(starts, args.output, model, args.layout, cached=cached))]
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


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the measurement as Ctrl-C does: children are ended, replicas put back, what came is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
