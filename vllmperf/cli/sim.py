"""`vllmperf sim`: run the simulated server until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vllmperf.sim.config import BATCHING, REPLICAS, SETTINGS, Setting, checked, describe_faults
from vllmperf.sim.startup_script import VERSIONS, StartupScript, parse_startup

if TYPE_CHECKING:
    from vllmperf.sim import Server

LOOK_S = 0.05  # how often it is looked whether a start-up has failed
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


def add_setting(group: Any, setting: Setting) -> None:
    if setting.name == "faults":
        group.add_argument(
            "--fault", action="append", default=[], dest="faults", metavar="FAULT", help=setting.help
        )
    elif setting.default is False:
        group.add_argument(setting.flag, action="store_true", help=setting.help)
    elif setting.default is True:
        group.add_argument(
            setting.flag, action=argparse.BooleanOptionalAction, default=True, help=setting.help
        )
    else:
        default = f" (default {setting.default})" if setting.default not in ("", 0.0) else ""
        group.add_argument(
            setting.flag, default=setting.default, metavar=setting.metavar, help=setting.help + default
        )


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sim",
        help="run a simulated vLLM server with exact times, or a batching one",
        description="Run a simulated vLLM server: it answers the OpenAI API at times that are planned to the "
        "nanosecond and do not depend on load, or, with --mode batching, follow from a scheduler and a known law "
        "of step times.",
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-h", "--help", action=HelpWithFaults, help="show this and exit")
    engine = parser.add_argument_group(
        "batching", "the engine of --mode batching; docs/simulator.md has its law and its scheduler"
    )
    several = parser.add_argument_group(
        "replicas",
        "several engines behind one endpoint; docs/simulator.md says how they are chosen and counted",
    )
    groups = {BATCHING: engine, REPLICAS: several}
    for setting in SETTINGS:
        add_setting(groups.get(setting.group, parser), setting)
    start = parser.add_argument_group(
        "start-up", "with any of these the server first goes through a start of vLLM: 503 until it is ready"
    )
    start.add_argument(
        "--startup-log", metavar="FILE", help="write vLLM's log there as time passes, - for stdout"
    )
    start.add_argument(
        "--startup-version", metavar="VERSION", help=f"release: {', '.join(VERSIONS)}, or any other"
    )
    start.add_argument(
        "--startup",
        nargs="+",
        action="extend",
        metavar="K=V",
        help="with , or blanks between them: durations of phases in s, ranks, cache, failure: "
        "weights_load=3.2,compile=10,tp=2,cache=warm,"
        "fail=compile,eager=1,time_scale=0.1 (docs/simulator.md)",
    )
    parser.set_defaults(run=run)


def greeting(url: str, settings: dict[str, Any]) -> str:
    model, ttft, itl = settings["model"], settings["ttft_ms"], settings["itl_ms"]
    times = f"TTFT {ttft} ms, ITL {itl} ms"
    if settings["mode"] == "batching":
        step, seqs = f"{settings['alpha_ms']:g} + {settings['beta_ms']:g}·batch", settings["max_num_seqs"]
        times = f"batching, ITL {step} ms, at most {seqs} sequences"
    if settings["replicas"] > 1:
        times = f"{settings['replicas']} replicas, router {settings['router']}, {times}"
    return f"listening on {url} (model {model}, {times})"


def startup_of(args: argparse.Namespace, settings: dict[str, Any]) -> StartupScript | None:
    """The start that is asked for. What its script says too is taken out of the settings."""
    if args.startup_log is None and args.startup_version is None and args.startup is None:
        return None
    said: dict[str, Any] = {"sleep": settings.pop("sleep_ms") / 1000, "wake": settings.pop("wake_ms") / 1000}
    said = {name: value for name, value in said.items() if value}
    del settings["version"]
    if settings["mode"] == "batching":
        blocks, tokens = settings["num_gpu_blocks"], settings["block_size"]
        said |= {"num_gpu_blocks": blocks, "kv_cache_tokens": blocks * tokens}
        said["max_model_len"] = settings["max_model_len"]
    script = StartupScript(model=settings.pop("model"), **said)
    if args.startup_version:
        script = replace(script, version=args.startup_version)
    return parse_startup(",".join(args.startup or ()), script)


def wait(server: Server, signals: set[signal.Signals]) -> int:
    """Until a signal comes, or the start-up has failed; the exit code."""
    while signal.sigtimedwait(signals, LOOK_S) is None:
        if server.exit_code is not None:
            return server.exit_code
    return 0


def run(args: argparse.Namespace) -> int:
    from vllmperf.sim import Server

    stop_signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server starts, so that none comes between its start and the wait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    try:
        settings = checked({setting.name: getattr(args, setting.name) for setting in SETTINGS})
        shown = dict(settings)
        startup = startup_of(args, settings)
        with Server(startup, args.startup_log, **settings) as server:
            # A log on stdout is alone there: whoever reads it reads stderr too, and the first line counts.
            if args.startup_log != "-" or settings["port"] == 0:
                print(greeting(server.url, shown), flush=True, file=sys.stderr if startup else sys.stdout)
            code = wait(server, stop_signals)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    sys.stdout.flush()
    return code
