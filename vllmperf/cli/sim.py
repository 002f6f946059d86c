"""`vllmperf sim`: run the simulated server until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from vllmperf.sim.config import SETTINGS, checked, describe_faults

FAULT_GRAMMAR = """\
faults: NAME[:PARAMETER=NUMBER...][@SELECTOR], --fault may be given several times
  @every=N       every Nth request (numbers N, 2N, ...)
  @at=N,N,...    the requests of these numbers, from 1
  @p=SHARE       this share of the requests, drawn by the seed
  no selector    all requests
  A request with the header `x-sim-fault: NAME[:PARAMETER=NUMBER...]` gets that fault; "; " between several.

"""


class HelpWithFaults(argparse.Action):
    """--help that reads the table of faults only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.epilog = FAULT_GRAMMAR + describe_faults()
        parser.print_help()
        parser.exit()


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sim",
        help="run a simulated vLLM server with exact times",
        description="Run a simulated vLLM server: it answers the OpenAI API at times that are planned to the "
        "nanosecond and do not depend on load.",
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-h", "--help", action=HelpWithFaults, help="show this and exit")
    for setting in SETTINGS:
        if setting.name == "faults":
            parser.add_argument(
                "--fault", action="append", default=[], dest="faults", metavar="FAULT", help=setting.help
            )
        elif setting.default is False:
            parser.add_argument(setting.flag, action="store_true", help=setting.help)
        else:
            default = f" (default {setting.default})" if setting.default not in ("", 0.0) else ""
            parser.add_argument(
                setting.flag, default=setting.default, metavar=setting.metavar, help=setting.help + default
            )
    parser.set_defaults(run=run)


def greeting(url: str, settings: dict[str, Any]) -> str:
    model, ttft, itl = settings["model"], settings["ttft_ms"], settings["itl_ms"]
    return f"listening on {url} (model {model}, TTFT {ttft} ms, ITL {itl} ms)"


def run(args: argparse.Namespace) -> int:
    from vllmperf.sim import Server

    stop_signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server starts, so that none comes between its start and the wait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    try:
        settings = checked({setting.name: getattr(args, setting.name) for setting in SETTINGS})
        with Server(**settings) as server:
            print(greeting(server.url, settings), flush=True)
            signal.sigwait(stop_signals)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    sys.stdout.flush()
    return 0
