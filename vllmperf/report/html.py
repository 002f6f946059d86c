"""The report as a fragment of HTML for a notebook or a page: self-contained, no script, fit for
light and dark."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from vllmperf.metrics.definitions import BY_NAME, per_request
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import NS, Completed
from vllmperf.numbers import align
from vllmperf.report import svg
from vllmperf.report.content import Outcome, Report, report
from vllmperf.report.table import Row, Span, Table, with_margins
from vllmperf.run import Run

STYLE = """
.vllmperf{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:760px}
.vllmperf table{border-collapse:collapse;margin:0 0 12px;background:none;color:inherit;
font-variant-numeric:tabular-nums}
.vllmperf th,.vllmperf td{padding:2px 14px 2px 0;border:0;text-align:left;background:none;color:inherit;
vertical-align:top}
.vllmperf th{font-weight:600}
.vllmperf .n{text-align:right;white-space:pre}
.vllmperf .d{opacity:.65}
.vllmperf thead th{border-bottom:1px solid rgba(128,128,128,.45)}
.vllmperf .v{border-left:4px solid;padding:2px 0 2px 10px;margin:0 0 12px}
.vllmperf .trusted{border-color:#2e9e5b}
.vllmperf .caution{border-color:#d99a1c}
.vllmperf .untrusted{border-color:#d3413a}
.vllmperf .bad{color:#d3413a}
.vllmperf ul{margin:2px 0 0;padding-left:18px}
.vllmperf svg{max-width:100%;margin-right:12px}
"""

LEVELS = {"trusted": "Trusted", "caution": "Caution", "untrusted": "Not trusted", "unknown": "Unknown"}


def fragment(
    summary: Mapping[str, Any],
    plots: Sequence[str] = (),
    percentile_metrics: Sequence[str] | None = None,
    metric_percentiles: Sequence[float] | None = None,
) -> str:
    """A <div> with the tables of a summary and ready-made SVG plots."""
    content = report(summary, percentile_metrics, metric_percentiles)
    parts = [
        _throughput(content),
        _pairs(content.left_out),
        _verdict(content),
        table(content.latency),
        table(content.times) if content.times.rows else "",
        table(content.targets) if content.targets.rows else "",
        table(content.turns) if content.turns.rows else "",
        "".join(plots),
        _outcomes(content.outcomes),
        table(content.client),
        _pairs(content.client_facts),
        _pairs(content.facts),
    ]
    return styled("".join(parts))


def styled(body: str) -> str:
    """A <div> that brings its style along."""
    return f'<div class="vllmperf"><style>{STYLE}</style>{body}</div>'


def of_run(run: Run, summary: Mapping[str, Any] | None = None) -> str:
    """The tables of a run, and how TTFT and ITL are distributed and TTFT goes over time where it has its requests. summary:
    in the place of the run's own."""
    summary = run.summary if summary is None else summary
    if not run.has_requests:
        return fragment(summary)
    plots = [
        svg.cdf(f"{BY_NAME[name].short}, ms", BY_NAME[name].values(run.done)) for name in ("ttft", "itl")
    ]
    return fragment(summary, [*plots, _over_time(run.done)])


def _over_time(done: Completed) -> str:
    """TTFT of all completed requests, or E2EL where nothing is streamed, with what is left out shaded."""
    name = "ttft" if len(BY_NAME["ttft"].all_samples(done)) else "e2el"
    values, sent = per_request(done.whole, name), done.whole.requests["sent_ns"]
    known = np.flatnonzero(values == values)  # without NaN
    known = known[np.argsort(sent[known], kind="stable")]
    trim = done.trim
    first = 0 if trim is None else trim.first_ns
    edges = [] if trim is None else [(trim.first_ns, trim.start_ns), (trim.end_ns, trim.last_ns)]
    shaded = [((a - first) / NS, (b - first) / NS) for a, b in edges if b > a]
    times = (sent[known] - first) / NS
    return svg.over_time(f"{BY_NAME[name].short}, ms,", times, values[known] / NS_PER_MS, shaded)


def page_of(run: Run, summary: Mapping[str, Any] | None = None) -> str:
    return page(of_run(run, summary), f"vllmperf: {run.path.name}")


def page(body: str, title: str) -> str:
    """A whole page around a fragment, for a file of its own."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'</head><body style="margin:24px">{body}</body></html>\n'
    )


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td class="d">{escape(label)}</td><td>{escape(value)}</td></tr>' for label, value in pairs
    )
    return f"<table>{rows}</table>" if rows else ""


def _throughput(content: Report) -> str:
    numbers = align([number for number, _ in content.throughput])
    units = [unit for _, unit in content.throughput]
    rows = "".join(
        f'<tr><td class="n">{figures(number)}</td><td>{escape(unit)}</td></tr>'
        for number, unit in zip(numbers, units, strict=True)
    )
    return f"<table>{rows}</table>" if rows else ""


def figures(cell: str) -> str:
    """A figure space is as wide as a digit: decimal points stay under each other in any font."""
    return escape(cell.replace(" ", chr(0x2007)))


def table(content: Table) -> str:
    """A <table>, and its footnote; "" without rows."""
    if not content.rows:
        return ""
    columns = with_margins(content)
    heads = "".join(f'<th class="n">{escape(head)}</th>' for head in content.heads)
    rows = "".join(_html_row(row, [column[i] for column in columns]) for i, row in enumerate(content.rows))
    notes = content.footnote.split("\n") if content.footnote else []
    footnote = "".join(f'<div class="d">{escape(note)}</div>' for note in notes)
    head = (
        f"<thead><tr><th>{escape(content.title)}</th>{heads}<th>{escape(content.note_head)}</th></tr></thead>"
    )
    return f"<table>{head}<tbody>{rows}</tbody></table>{footnote}"


def _html_row(row: Row, cells: Sequence[str]) -> str:
    numbers = "".join(f'<td class="n">{figures(cell)}</td>' for cell in cells)
    return f'<tr><td>{escape(row.label)}</td>{numbers}<td class="d">{escape(row.note)}</td></tr>'


def said(sentences: Iterable[Span]) -> str:
    """Sentences with their styles, a line each."""
    tags = {"strong": "b", "warning": "em"}
    return "".join(
        f"<div><{tag}>{escape(text)}</{tag}></div>"
        for text, style in sentences
        for tag in (tags.get(style, "span"),)
    )


def _outcomes(outcomes: Sequence[Outcome]) -> str:
    rows = "".join(
        f"<tr><td{'' if outcome.is_good else ' class=bad'}>{escape(outcome.name)}</td>"
        f'<td class="n">{escape(outcome.count)}</td><td class="n">{escape(outcome.share)}</td>'
        f'<td class="d">{escape(outcome.sample)}{_hint(outcome)}</td></tr>'
        for outcome in outcomes
    )
    return (
        f'<table><thead><tr><th colspan="4">Outcomes</th></tr></thead><tbody>{rows}</tbody></table>'
        if rows
        else ""
    )


def _hint(outcome: Outcome) -> str:
    return f"<div>→ {escape(outcome.hint)}</div>" if outcome.hint else ""


def _verdict(content: Report) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in content.reasons)
    listed = f"<ul>{reasons}</ul>" if reasons else ""
    said = f"<b>{LEVELS[content.level]}</b>: {escape(content.verdict)}"
    return f'<div class="v {content.level}">{said}{listed}</div>'
