"""The report as a page of HTML without anything from elsewhere."""

from __future__ import annotations

from pathlib import Path

from vllmperf.run import Run


def write(run: Run, path: Path) -> None:
    from vllmperf.report import html

    path.write_text(html.page_of(run), encoding="utf-8")
