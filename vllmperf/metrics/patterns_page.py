"""Patterns and doubts as a page: `python -m vllmperf.metrics.patterns_page docs/explain.md` writes them there."""

import sys
from collections.abc import Iterator
from pathlib import Path

from vllmperf.metrics.advice import DOUBTS, Advice
from vllmperf.metrics.patterns import PATTERNS

BEGIN, END = "<!-- patterns -->\n", "<!-- end of patterns -->"


def page() -> str:
    """A section for each pattern, a row for each doubt."""
    return "".join([*_patterns(), *_doubts()])


def _patterns() -> Iterator[str]:
    for one in PATTERNS:
        yield f"### {one.title}\n\n`{one.name}` is seen when: {one.rule}.\n\n"
        yield from (f"{n}. {text}\n" for n, (_, text) in enumerate(one.advice.causes, 1))
        yield "\nWhat tells them apart:\n\n"
        yield from (f"- {text}\n" for text in one.advice.tell_apart)
        yield "\n"


def _doubts() -> Iterator[str]:
    yield "### Doubts of the verdict\n\n| doubt | likely causes, in order | what tells them apart |\n|---|---|---|\n"
    yield from (
        f"| `{name}` | {_causes(one)} | {'; '.join(one.tell_apart) or '–'} |\n"
        for name, one in DOUBTS.items()
    )


def _causes(advice: Advice) -> str:
    texts = [text for _, text in advice.causes]
    return texts[0] if len(texts) == 1 else "; ".join(f"({n}) {text}" for n, text in enumerate(texts, 1))


def update(path: Path) -> None:
    """Put the page of now between the two comments."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    path.write_text(before + BEGIN + page() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
