"""The sums as a page's table: `python -m vllmperf.metrics.sums_page docs/check.md` writes it there."""

import sys
from pathlib import Path

from vllmperf.metrics.sums import SUMS

BEGIN, END = "<!-- sums -->\n", "<!-- end of sums -->"


def page() -> str:
    """A row for each sum, in the table's order."""
    rows = (f"| `{one.name}` | {one.statement} | {'doubt' if one.is_doubt else 'WRONG'} |\n" for one in SUMS)
    return "| sum | statement | where it does not hold |\n|---|---|---|\n" + "".join(rows)


def update(path: Path) -> None:
    """Put the table of now between the two comments of a page."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    path.write_text(before + BEGIN + page() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
