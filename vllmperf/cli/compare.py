"""vllmperf compare A B: the metrics of two runs side by side with the change."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import text_file
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.report.compare import Figures

SQLITE = b"SQLite format 3\0"


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "compare", help="show two runs side by side with the change", description=__doc__
    )
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a run file, or a result JSON of vLLM's benchmark (its last object)",
        )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vllmperf.report.compare import lines, short_names, to_json

    names = short_names([args.a, args.b])
    first, second = figures(Path(args.a), names[0]), figures(Path(args.b), names[1])
    if args.json:
        print(json.dumps(to_json(first, second), indent=1))
    else:
        print("\n".join(lines(first, second)))
    return 0


def figures(path: Path, name: str) -> "Figures":
    """What a file says. Raises UsageError when it is neither of the two kinds."""
    from vllmperf.formats.vllm_result import peak_tokens_per_s
    from vllmperf.report.compare import figures_of_summary, figures_of_vllm
    from vllmperf.report.run import Run

    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    with path.open("rb") as file:
        is_run = file.read(len(SQLITE)) == SQLITE
    if not is_run:
        return figures_of_vllm(_last_object(path), name)
    found = Run(path)
    return figures_of_summary(found.summary, name, peak_tokens_per_s(found.recording))


def _last_object(path: Path) -> dict[str, Any]:
    """The object of a result file, the last one when results were appended to it."""
    try:
        text = text_file.read(path).strip()
        try:
            found = json.loads(text)
        except ValueError:
            found = json.loads(text.splitlines()[-1])
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"{path} is neither a run file nor a result JSON ({error})") from None
    if not isinstance(found, dict) or "duration" not in found or "completed" not in found:
        raise UsageError(f"{path} is no result of a serving benchmark: it has no duration and completed")
    return found
