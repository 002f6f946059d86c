"""What the two start-up scripts share: arguments, layouts, one line for what is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from vllmperf.errors import VllmperfError
from vllmperf.outlet import outlets
from vllmperf.parser import flag

FOLDER = "vllm-log-dir"
GENERATIONS = ("A", "B", "C", "D", "E")
INTERRUPTED = 130


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-cached",
        choices=("yes", "no"),
        default="no",
        help="weights were there already: their load begins at `Starting to load model` (default: no)",
    )
    parser.add_argument(
        "-o", "--output", default=FOLDER, metavar="DIR", help=f"folder, made (default: {FOLDER})"
    )
    parser.add_argument(
        "--layout", choices=GENERATIONS, default="D", help="columns by generation (default: D)"
    )


def offline_layout(generation: str) -> str:
    """What the offline parser wrote in that generation; before D it wrote no file of its own."""
    from vllmperf.formats.startup_txt import OFFLINE

    return OFFLINE.get(generation, generation)


def run(prog: str, work: Callable[[], int]) -> int:
    """The script's exit code. A stdout that is closed or full loses its words alone (see outlet.py)."""
    with outlets() as out:
        return out.told(_coded(prog, work))


def _coded(prog: str, work: Callable[[], int]) -> int:
    try:
        return work()
    except VllmperfError as error:
        print(f"{prog}: error: {' '.join(error.told(flag).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
