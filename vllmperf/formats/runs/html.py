"""The report as a page of HTML without anything from elsewhere."""

from __future__ import annotations

from pathlib import Path

from vllmperf.run import Run
from vllmperf.whole_file import write_whole


def write(run: Run, path: Path) -> None:
    from vllmperf.report import html

    write_whole(path, html.page_of(run))
