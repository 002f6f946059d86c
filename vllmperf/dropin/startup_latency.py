"""vllm-serverStartupLatency.py: its arguments, its files (dumb0002/production-stack, perf-test/server-startup, 2025)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.dropin.startup_arguments import INTERRUPTED, add_common, run
from vllmperf.parser import Parser

if TYPE_CHECKING:
    from vllmperf.report.startup import Starts
    from vllmperf.starts.result import Start

PROG = "vllm-serverStartupLatency.py"
POSITIONAL = {
    5: ("-cfg", "-ctx", "-l", "-n", "-o"),
    6: ("-cfg", "-ctx", "-l", "-n", "-m", "-o"),
}
"""kubeconfig context label namespace [model] outdir, as in the first days."""
EVERY_POD = "!vllmperf.none"
"""A selector that every pod meets, for a call without -l."""


def main(words: Sequence[str] | None = None) -> int:
    """Read the chosen pods and write a row and a log for each: 0, or 1 when one is not up, 2 for bad arguments, 3 when
    the cluster does not answer or has no such pod."""
    return run(PROG, lambda: _write(parse_arguments(sys.argv[1:] if words is None else words)))


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog=PROG, description="Where the starts of vLLM servers in a Kubernetes cluster went.")
    parser.add_argument(
        "-cfg", "--config", metavar="FILE", help="kubeconfig; None or left out: as kubectl finds it"
    )
    parser.add_argument("-ctx", "--context", metavar="NAME", help="context of the kubeconfig")
    parser.add_argument(
        "-l", "--label", metavar="SELECTOR", help="label of the pods, such as environment=test"
    )
    parser.add_argument(
        "-c", "--containername", metavar="NAME", help="container of the pods (default: the server's)"
    )
    parser.add_argument("-n", "--namespace", default="default", metavar="NAME", help="(default: default)")
    parser.add_argument(
        "-m", "--model", default="mymodel", metavar="NAME", help="for the file's name (default: mymodel)"
    )
    add_common(parser)
    if len(words) in POSITIONAL and not any(word.startswith("-") for word in words):
        words = [word for pair in zip(POSITIONAL[len(words)], words, strict=True) for word in pair]
    return parser.parse_args(words)


def _write(args: argparse.Namespace) -> int:
    from vllmperf.formats import startup_txt

    folder = Path(args.output)
    starts = _measure(args, folder)
    cached = args.model_cached == "yes"
    print(f"wrote {startup_txt.write(starts, folder, args.model, args.layout, cached=cached)}")
    for start in starts:
        if start.log_path is not None:
            print(f"wrote {start.log_path}")
    return INTERRUPTED if starts.interrupted else _say_failures(starts)


def _measure(args: argparse.Namespace, folder: Path) -> Starts:
    from vllmperf import api

    return api.startup(
        config=_config(args.config),
        context=_given(args.context),
        namespace=args.namespace,
        label=_given(args.label) or EVERY_POD,
        containername=_given(args.containername),
        output=folder,
    )


def _given(text: str | None) -> str | None:
    """The guide writes None for what is left out."""
    return None if text in (None, "", "None") else text


def _config(text: str | None) -> str | None:
    given = _given(text)
    return None if given is None else str(Path(given).expanduser())


def _say_failures(starts: Sequence[Start]) -> int:
    from vllmperf.report.startup.one import failure_words

    failed = [start for start in starts if not start.reached]
    for start in failed:
        print(f"{PROG}: {start.name}: {failure_words(start)}", file=sys.stderr)
    return 1 if failed else 0
