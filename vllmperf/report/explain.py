"""What `vllmperf explain` shows."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vllmperf.numbers import clean
from vllmperf.report.console import encodable

if TYPE_CHECKING:
    from vllmperf.metrics.explanation import Explained

WIDTH = 110
NOTHING = "nothing to explain: the verdict gives no reasons, and no odd pattern was seen"


def show(found: Sequence[Explained]) -> None:
    """Print all of it."""
    print(encodable("\n".join(lines(found)), sys.stdout))


def lines(found: Sequence[Explained]) -> Iterator[str]:
    """A block each, a blank line between them."""
    if not found:
        yield NOTHING
    for number, one in enumerate(found):
        if number:
            yield ""
        yield from _block(one)


def _block(one: Explained) -> Iterator[str]:
    yield f"{clean(one.title)}{f' ({one.level})' if one.level else ''}"
    yield from _wrapped("seen", one.seen)
    for number, cause in enumerate(one.causes, 1):
        yield from _wrapped("causes" if number == 1 else "", f"{number}. {cause}")
    for number, fact in enumerate(one.tell_apart):
        yield from _wrapped("tell apart" if number == 0 else "", f"- {fact}")
    for number, command in enumerate(one.next):
        yield f"  {'next' if number == 0 else '':<12}{clean(command)}"  # not broken: it is copied


def _wrapped(label: str, text: str) -> Iterator[str]:
    hanging = "   " if text[:1].isdigit() and text[1:3] == ". " else "  " if text[:2] == "- " else ""
    folded = textwrap.wrap(clean(text), WIDTH - 14, subsequent_indent=hanging)
    for number, line in enumerate(folded):
        yield f"  {label if number == 0 else '':<12}{line}"
