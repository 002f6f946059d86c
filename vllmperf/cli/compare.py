"""vllmperf compare A B: the metrics of two runs side by side with the change."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.cli import json_option

if TYPE_CHECKING:
    from vllmperf.comparison import Figures


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "compare", help="show two runs side by side with the change", description=__doc__
    )
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a run file, a result JSON of vLLM's benchmark (its last object), a report of guidellm, …",
        )
    json_option.add(parser.add_argument, "both sides and the change")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.comparison import Comparison, short_names
    from vllmperf.report.compare import show

    names = short_names([args.a, args.b])
    found = Comparison(figures(Path(args.a), names[0]), figures(Path(args.b), names[1]))
    if json_option.write(args.json, lambda: json.dumps(found.to_dict(), indent=1)):
        show(found)
    return 0


def figures(path: Path, name: str) -> "Figures":
    """What a file says. Raises UsageError when it holds no run."""
    from vllmperf.comparison import figures_of_summary, figures_of_vllm
    from vllmperf.formats import runs
    from vllmperf.formats.runs import vllm
    from vllmperf.formats.runs.file import File

    file = File(path)
    if vllm.recognise(file):
        return figures_of_vllm(file.data, name)
    return figures_of_summary(runs.read(path).summary, name)
