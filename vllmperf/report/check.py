"""What `vllmperf check` shows: a line for each sum, and under a broken one what it means."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vllmperf.numbers import clean, plural
from vllmperf.report.console import encodable

if TYPE_CHECKING:
    from vllmperf.metrics.checked import CheckedRun
    from vllmperf.metrics.sums import Checked

MARKS = {"ok": "ok", "broken": "WRONG", "doubt": "doubt"}
WIDTH, INDENT = 110, 9


def show(found: Sequence[CheckedRun]) -> None:
    """Print all runs, a blank line between them."""
    text = "\n\n".join("\n".join(lines(one)) for one in found)
    print(encodable(text, sys.stdout))


def lines(run: CheckedRun) -> Iterator[str]:
    """Of one run."""
    yield f"{clean(run.name)}: {clean(run.tool)}, {plural(run.completed, 'request')} completed"
    for one in run.checks:
        if one.status != "unknown":
            yield from _check(one)
    unknown = [one.name for one in run.checks if one.status == "unknown"]
    if unknown:
        yield from _wrapped(f"not checked, figures are missing: {', '.join(unknown)}", 2)
    counts = {status: sum(one.status == status for one in run.checks) for status in MARKS}
    yield f"  {counts['ok']} hold, {counts['broken']} do not, {plural(counts['doubt'], 'doubt')}"


def _check(one: Checked) -> Iterator[str]:
    sides = f": {one.left} against {one.right}" if one.left else ""
    first, *rest = textwrap.wrap(f"{one.statement}{sides}", WIDTH - INDENT)
    yield f"  {MARKS[one.status]:<{INDENT - 2}}{clean(first)}"
    yield from (" " * INDENT + clean(line) for line in rest)
    yield from _wrapped(one.meaning, INDENT + 2)


def _wrapped(text: str, indent: int) -> list[str]:
    return [" " * indent + clean(line) for line in textwrap.wrap(text, WIDTH - indent)]
