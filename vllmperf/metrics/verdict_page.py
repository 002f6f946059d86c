"""The rules as a page's table: `python -m vllmperf.metrics.verdict_page docs/verdict.md` writes it there."""

import sys
from pathlib import Path

from vllmperf.metrics.verdict import RULES

BEGIN, END = "<!-- rules -->\n", "<!-- end of rules -->"
HEAD = "| reason | value | caution above | untrusted above | why there |\n|---|---|---|---|---|\n"


def page() -> str:
    """A row for each rule, in the table's order."""
    return HEAD + "".join(rule.row() + "\n" for rule in RULES)


def update(path: Path) -> None:
    """Put the table of now between the two comments of a page."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    path.write_text(before + BEGIN + page() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
