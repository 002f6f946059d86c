"""The report as Markdown tables, for issues and pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vllmperf.run import Run
from vllmperf.whole_file import write_whole


def write(run: Run, path: Path) -> None:
    write_whole(path, "\n".join(lines(run)) + "\n")


def lines(run: Run) -> Iterator[str]:
    from vllmperf.report.content import report
    from vllmperf.report.table import with_margins

    content = report(run.summary)
    yield f"# {_cell(run.path.name)}"
    yield ""
    yield from (f"- **{_cell(value)}** {_cell(unit)}" for value, unit in content.throughput)
    yield from (f"- left out: {_cell(words)}" for _, words in content.left_out)
    yield f"- verdict: **{content.level}**, {content.verdict}"
    yield from (f"  - {_cell(reason)}" for reason in content.reasons)
    for table in (content.latency, content.times, content.client):
        if table.rows:
            cells = zip(*with_margins(table), strict=True)
            rows = [(row.label, *line) for row, line in zip(table.rows, cells, strict=True)]
            yield from _table((table.title, *table.heads), rows)
    if content.outcomes:
        outcomes = [(one.name, one.count, one.share, one.sample) for one in content.outcomes]
        yield from _table(("Outcomes", "count", "share", "what the server said"), outcomes)
    pairs = [*content.client_facts, *content.facts]
    if pairs:
        yield from _table(("", ""), pairs)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield _line(heads)
    yield _line(["---", *["---:"] * (len(heads) - 1)])
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell).strip() for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
