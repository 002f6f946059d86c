"""The table of markers as a page: `python -m vllmperf.starts.log.marker_page docs/startup_log.md` writes it there."""

from __future__ import annotations

import sys
from pathlib import Path

from vllmperf.starts.log.marker import Marker
from vllmperf.starts.log.markers import MARKERS

BEGIN, END = "<!-- markers -->\n", "<!-- end of markers -->"
_COLUMNS = ("event", "versions", "from", "line", "meaning", "gives")


def page() -> str:
    """A Markdown table with a row for each wording, in the table's order."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(marker) for marker in MARKERS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(marker: Marker) -> tuple[str, ...]:
    until = f"to {marker.until}" if marker.until and marker.until != marker.since else ""
    versions = f"{marker.since} {until}".strip() if marker.until else f"{marker.since} on"
    who = marker.component if marker.logger == "vllm" else f"{marker.component}, {marker.logger}"
    return (
        marker.event,
        versions,
        who,
        f"`{marker.template.strip()}`".replace("|", r"\|"),
        marker.meaning,
        ", ".join(f"`{key}`" for key in marker.keys),
    )


def update(path: Path) -> None:
    """Put the table of now between the two comments of a page."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + BEGIN + page() + END + after, encoding="utf-8")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
