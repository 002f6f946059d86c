"""The command line: one file a command, each with add() for its arguments and run() for its one call."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from vllmperf.cli import json_option, outputs
from vllmperf.errors import UsageError, VllmperfError
from vllmperf.exit_codes import INTERRUPTED, USAGE, help_text
from vllmperf.outlet import outlets
from vllmperf.parser import Parser, flag
from vllmperf.version import __version__

COMMANDS = {
    "bench": (
        "load a server and measure how fast it serves",
        "vllmperf bench --sim",
        "vllmperf bench --base-url http://HOST:8000 --request-rate 10 --duration 5m",
    ),
    "startup": (
        "measure the start of a server: pods of a cluster, or a command",
        "vllmperf startup -l app=vllm --watch",
        "vllmperf startup --command 'vllm serve MODEL' --repeat 5",
    ),
    "parse-log": (
        "show from its log where the start-up time of a server went",
        "vllmperf parse-log pod.log",
        "kubectl logs POD --timestamps | vllmperf parse-log - --html start.html",
    ),
    "fit": (
        "fit alpha, beta, gamma and delta of one replica, with intervals",
        "vllmperf fit --base-url http://HOST:8000 --budget 5m",
        "vllmperf fit sync.json throughput.json --batch 1,64",
    ),
    "size": (
        "find the rate that a replica carries within its SLO, and the replicas for a load",
        "vllmperf size parameters.json --ttft 500 --tpot 20",
        "vllmperf size parameters.json --ttft p95:500 --rate 200 --max-num-seqs 64 --input-len 512 --output-len 128",
    ),
    "capacity": (
        "find the highest rate at which a live server meets its SLO",
        "vllmperf capacity --base-url http://HOST:8000 --ttft 500 --tpot 20",
        "vllmperf capacity --base-url http://HOST:8000 --ttft 500 --budget 10m --output-dir search --plot capacity.png",
    ),
    "sweep": (
        "measure several set-ups of a server at several loads, and report what each changes",
        "vllmperf sweep routers.yaml --dry-run",
        "vllmperf sweep routers.yaml --repeat 5 --csv points.csv",
    ),
    "stress": (
        "load a server for hours, through restarts of the server and of the command",
        "vllmperf stress --base-url http://HOST:8000 --power dcgm=http://NODE:9400/metrics --gpu-tdp 700",
        "vllmperf stress --base-url http://HOST:8000 --request-rate 20 --num-prompts 100000 --record night.vllmperf",
    ),
    "compare": (
        "show runs side by side, with changes and whether they are beyond chance",
        "vllmperf compare before.vllmperf after.vllmperf",
        "vllmperf compare before.vllmperf after.vllmperf --fail-if 'ttft_p99 +5%' --junit junit.xml",
    ),
    "reconcile": (
        "explain why the results of two tools differ: definition, load, tokens, path or chance",
        "vllmperf reconcile result.json run.vllmperf",
        "vllmperf reconcile benchmarks.json run.vllmperf --json",
    ),
    "explain": (
        "explain the verdict and odd patterns of a run: causes, and what to run next",
        "vllmperf explain run.vllmperf",
        "vllmperf explain run.vllmperf --json",
    ),
    "check": (
        "check whether the figures of a result agree: Little's law, rates, times, tokens",
        "vllmperf check run.vllmperf",
        "vllmperf check result.json benchmark.log --json",
    ),
    "report": (
        "show a run or a result of another tool again, or write it in another format",
        "vllmperf report run.vllmperf",
        "vllmperf report benchmarks.json --to vllm result.json",
    ),
    "guidellm": (
        "run command lines of guidellm 0.2/0.3 with the engine of vllmperf",
        "vllmperf guidellm benchmark --target http://HOST:8000 --rate-type sweep --data prompt_tokens=256,output_tokens=128",
        "vllmperf guidellm benchmark from-file benchmarks.json",
    ),
    "selftest": (
        "measure what this machine adds to latencies",
        "vllmperf selftest",
        "kubectl run selftest --rm -it --image IMAGE -- vllmperf selftest",
    ),
    "sim": (
        "run the simulated server",
        "vllmperf sim --port 8000 --ttft-ms 50 --itl-ms 10",
        "vllmperf sim --mode batching --alpha-ms 7 --beta-ms 0.03 --truth truth.jsonl",
    ),
    "serve": (
        "run benchmarks over HTTP: POST /start-load, a queue, live figures, reports",
        "vllmperf serve --data results",
        "vllmperf serve --host 0.0.0.0 --data /data --specs values.yaml --queue-limit 50",
    ),
    "aggregate": (
        "run one load from the generators of several replicas, and merge their results",
        "vllmperf aggregate --specs values.yaml --peer http://HOST1:8081 --peer http://HOST2:8081",
        "vllmperf aggregate --specs values.yaml --dns bench-vllmperf-pods --replicas 3 --data /data",
    ),
    "kube": (
        "check rights in a Kubernetes cluster, or delete pods",
        "vllmperf kube check",
        "vllmperf kube clean -n NAMESPACE -l experiment=cold-start",
    ),
    "shims": (
        "write programs that have the names of the tools that vllmperf replaces",
        "vllmperf shims /usr/local/bin",
        "vllmperf shims bin && PATH=$PWD/bin:$PATH guidellm benchmark --help",
    ),
}
"""What each command does, and the two examples with which its help begins."""

EPILOG = f"""\
first try:  vllmperf bench --sim
a server:   vllmperf bench --base-url http://HOST:8000 --request-rate 10 --num-prompts 300
help:       vllmperf COMMAND --help

{help_text()}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code (see EPILOG)."""
    if argv is None:
        _start_lightly()
    return guarded(lambda: _run(_dashes(sys.argv[1:] if argv is None else argv)))


def _start_lightly() -> None:
    """Settings for a process that ends with its command; together they save a third of the start.

    Nearly all objects here are modules, which stay: Python would look for garbage among them again and again, and once
    more at the exit. NumPy's OpenBLAS would start a thread a core, though no command has work for them."""
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def guarded(command: Callable[[], int]) -> int:
    """The exit code of a command; what is wrong is said in one line. A stdout that is closed or full loses its words
    alone: the command goes on (see outlet.py)."""
    with outlets() as out:
        try:
            return out.told(_coded(command))
        except SystemExit as end:  # argparse has printed its help
            sys.exit(out.told(end.code or 0) if end.code is None or isinstance(end.code, int) else end.code)


def _coded(command: Callable[[], int]) -> int:
    try:
        return command()
    except VllmperfError as error:
        print(f"vllmperf: error: {_one_line(error.told(flag))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(words: Sequence[str]) -> int:
    if (profile := _named_profile(words)).startswith("vllm-"):
        from vllmperf.dropin.benchmark_serving.command import main as of_vllm

        return of_vllm(words[1:], default="vllm-2026")
    if profile == "sglang":
        from vllmperf.dropin.sglang.command import main as of_sglang

        return of_sglang(words[1:])
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise _no_command(words[0])
    top = parser(words[0] if words and words[0] in COMMANDS else None)
    args, rest = top.parse_known_args(json_option.settled(words))
    if rest:
        raise _unknown(rest[0], top, args.command)
    if args.command is None:
        top.print_help(sys.stderr)
        return USAGE
    return outputs.carried_out(args)


def _named_profile(words: Sequence[str]) -> str:
    """NAME of `bench --profile NAME`: that client's own flags follow. Empty without one."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    named = (
        value if word == "--profile" else word.removeprefix("--profile=")
        for word, value in pairs
        if word == "--profile" or word.startswith("--profile=")
    )
    return next(named, "") if words[:1] == ["bench"] else ""


def parser(command: str | None) -> Parser:
    """The parser of one command, or one that names them all: building everything would cost at every start."""
    top = Parser(
        prog="vllmperf",
        description="Measures how fast a vLLM server starts and serves, what load it carries, and how reliable each number is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"vllmperf {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (text, *examples) in COMMANDS.items():
        if name == command:
            importlib.import_module(f"vllmperf.cli.{name.replace('-', '_')}").add(commands)
            commands.choices[name].examples = examples
            if name in outputs.SETS:
                outputs.add(commands.choices[name])
        elif command is None:
            commands.add_parser(name, help=text, add_help=False)
    return top


def _no_command(word: str) -> UsageError:
    """no such command bnech: did you mean bench? See vllmperf --help"""
    from vllmperf.plan.settings import nearest

    close = nearest(word, COMMANDS)
    return UsageError(
        f"no such command {word}{f': did you mean {close}?' if close else '.'} See vllmperf --help"
    )


def _unknown(word: str, top: Parser, command: str | None) -> UsageError:
    """no such flag --max-concurency: did you mean --max-concurrency? See vllmperf bench --help"""
    from vllmperf.plan.settings import nearest

    where = f"vllmperf {command}" if command else "vllmperf"
    if not word.startswith("--"):
        return UsageError(f"unrecognized argument {word!r}; see {where} --help")
    flags = {flag.removeprefix("--").replace("-", "_"): flag for flag in top.flags_of(command)}
    close = nearest(word.partition("=")[0].removeprefix("--").replace("-", "_"), flags)
    hint = f": did you mean {flags[close]}?" if close else ""
    return UsageError(f"no such flag {word.partition('=')[0]}{hint or '.'} See {where} --help")


def _dashes(words: Sequence[str]) -> list[str]:
    """--num_prompts=5 means --num-prompts=5, as in the tools that this one replaces."""
    return [_dash(word) if word.startswith("--") else word for word in words]


def _dash(word: str) -> str:
    name, mark, value = word.partition("=")
    return name.replace("_", "-") + mark + value


def _one_line(text: str) -> str:
    return " ".join(text.split())
