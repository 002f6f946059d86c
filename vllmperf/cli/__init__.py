"""The command line: one file a command, each with add() for its arguments and run() for its one call."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from vllmperf import __version__
from vllmperf.errors import VllmperfError

COMMANDS = {
    "bench": "load a server and measure how fast it serves",
    "report": "show a recorded run again: table, JSON, CSV, HTML",
    "sim": "run the simulated server",
}

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code (0 fine, 1 checks failed, 2 bad arguments, 3 no server, 130 interrupted)."""
    args = parser(_command_of(words := _dashes(sys.argv[1:] if argv is None else argv))).parse_args(words)
    if args.command is None:
        parser(None).print_help()
        return 2
    try:
        code: int = importlib.import_module(f"vllmperf.cli.{args.command}").run(args)
        sys.stdout.flush()
        return code
    except VllmperfError as error:
        print(f"vllmperf: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser(command: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of one command: building all of them would cost at every start."""
    top = argparse.ArgumentParser(
        prog="vllmperf",
        description="How fast a vLLM server serves, and how sure each number is.",
        epilog="vllmperf COMMAND --help says more. First try: vllmperf bench --sim",
    )
    top.add_argument("--version", action="version", version=f"vllmperf {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        if name == command:
            importlib.import_module(f"vllmperf.cli.{name}").add(commands)
        else:
            commands.add_parser(name, help=text, add_help=False)
    return top


def _command_of(words: Sequence[str]) -> str | None:
    return next((word for word in words if word in COMMANDS), None)


def _dashes(words: Sequence[str]) -> list[str]:
    """--num_prompts=5 means --num-prompts=5, as in the tools that this one replaces."""
    return [_dash(word) if word.startswith("--") else word for word in words]


def _dash(word: str) -> str:
    name, mark, value = word.partition("=")
    return name.replace("_", "-") + mark + value
