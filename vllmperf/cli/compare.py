"""vllmperf compare A B: the metrics of two runs side by side with the change."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf import text_file
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.comparison import Figures

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
    from vllmperf.comparison import Comparison, short_names
    from vllmperf.report.compare import show

    names = short_names([args.a, args.b])
    found = Comparison(figures(Path(args.a), names[0]), figures(Path(args.b), names[1]))
    if args.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        show(found)
    return 0


def figures(path: Path, name: str) -> "Figures":
    """What a file says. Raises UsageError when it is neither of the two kinds."""
    from vllmperf.comparison import figures_of_summary, figures_of_vllm
    from vllmperf.run import open_run

    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    with path.open("rb") as file:
        is_run = file.read(len(SQLITE)) == SQLITE
    if not is_run:
        return figures_of_vllm(_last_object(path), name)
    return figures_of_summary(open_run(path).summary, name)


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
