"""What the command line puts out of a run: a table, JSON, CSV, HTML."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from vllmperf.metrics.ci95 import with_upper_bounds
from vllmperf.report import console
from vllmperf.run import Run
from vllmperf.whole_file import write_whole

STDOUT = "-"


def show(
    run: Run,
    json_to: str | None = None,
    csv_to: str | None = None,
    html_to: str | None = None,
    percentile_metrics: Sequence[str] | None = None,
    metric_percentiles: Sequence[float] | None = None,
    mlperf: bool = False,
) -> None:
    """Print the table of a run, or in its place what is asked for.

    mlperf: with MLCommons' upper bounds, in table, JSON and HTML. JSON, CSV and HTML go to a file, or to stdout for "-"; the
    table stands beside a file of JSON.

    Raises UsageError when the run cannot be read or a file cannot be written.
    """
    if csv_to:
        from vllmperf.report import csv

        _put(csv_to, lambda file: csv.write(run, file))
    if html_to:
        _put(html_to, lambda file: _write_page(run, _summary(run, None, mlperf), file))
    if json_to:
        summary = _summary(run, metric_percentiles, mlperf)
        _put(json_to, lambda file: file.write(console.json_text(summary, file, indent=2) + "\n"))
    if json_to != STDOUT and not csv_to and not html_to:
        summary = _summary(run, metric_percentiles, mlperf)
        console.print_report(summary, percentile_metrics, metric_percentiles)


def _summary(run: Run, percentiles: Sequence[float] | None, mlperf: bool) -> Mapping[str, Any]:
    summary = run.summarize(percentiles or ())
    return with_upper_bounds(summary, run.done) if mlperf and run.has_requests else summary


def _write_page(run: Run, summary: Mapping[str, Any], file: TextIO) -> None:
    from vllmperf.report import html

    file.write(html.page_of(run, summary))


def _put(target: str, write: Callable[[TextIO], object]) -> None:
    if target == STDOUT:
        write(sys.stdout)
        return
    write_whole(Path(target), write)
    print(f"vllmperf: wrote {target}", file=sys.stderr)
