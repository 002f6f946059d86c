"""What `vllmperf report` puts out: a run file in, the asked forms out."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from vllmperf.errors import UsageError
from vllmperf.report import console, csv, html
from vllmperf.report.run import Run


def show(
    run_file: Path,
    as_json: bool = False,
    csv_to: str | None = None,
    html_to: str | None = None,
    percentile_metrics: Sequence[str] | None = None,
    metric_percentiles: Sequence[float] | None = None,
) -> None:
    """Print the table of a run file, or in its place what was asked for: JSON to stdout, CSV and HTML to a file or,
    with "-", to stdout. Raises UsageError when the run cannot be read or a file cannot be written."""
    run = Run(run_file)
    if as_json:
        summary = run.summarize(metric_percentiles or ())
        sys.stdout.write(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    if csv_to:
        _put(csv_to, lambda file: csv.write(run.recording, file))
    if html_to:
        _put(html_to, lambda file: _write_page(run, file))
    if not (as_json or csv_to or html_to):
        summary = run.summarize(metric_percentiles or ())
        console.print_report(summary, percentile_metrics, metric_percentiles)


def _write_page(run: Run, file: TextIO) -> None:
    file.write(html.page(run.html(), f"vllmperf: {run.path.name}"))


def _put(target: str, write: Callable[[TextIO], None]) -> None:
    if target == "-":
        write(sys.stdout)
        return
    try:
        with Path(target).open("w", encoding="utf-8", newline="") as file:
            write(file)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
    print(f"vllmperf: wrote {target}", file=sys.stderr)
