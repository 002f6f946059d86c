"""The report as one page of HTML: tables and cumulative plots, the report's figures as JSON in it, no address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from vllmperf.dropin.guidellm.console import metadata
from vllmperf.dropin.guidellm.tables import Table, info, stats
from vllmperf.formats.guidellm_file import strategy_name
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.report.html import STYLE
from vllmperf.report.html import page as whole_page
from vllmperf.report.svg import cdf

PLOTS = (("time_to_first_token_ms", "TTFT, ms"), ("inter_token_latency_ms", "ITL of requests, ms"))
WIDE = ".vllmperf{max-width:none}.vllmperf th[colspan]{text-align:center}"


def page(report: Mapping[str, Any]) -> str:
    """A page of its own. The rows of single requests are left out of the JSON in it."""
    benchmarks: Sequence[Mapping[str, Any]] = report["benchmarks"]
    pairs = "".join(
        f'<tr><td class="d">{escape(label)}</td><td>{escape(value)}</td></tr>'
        for label, value in metadata(benchmarks)
    )
    parts = [
        f"<style>{STYLE}{WIDE}</style><table>{pairs}</table>",
        *[_table(table) for table in (info(benchmarks), stats(benchmarks))],
        *[_plots(found) for found in benchmarks],
        f'<script type="application/json" id="benchmarks">{_data(benchmarks)}</script>',
    ]
    return whole_page(f'<div class="vllmperf">{"".join(parts)}</div>', "Benchmarks")


def _table(table: Table) -> str:
    titles = "".join(f'<th colspan="{n}">{escape(title)}</th>' for title, n in table.sections)
    heads = "".join(f'<th class="n">{escape(head)}</th>' for head in table.heads)
    rows = "".join(
        "<tr>" + "".join(f'<td class="n">{escape(cell)}</td>' for cell in row) + "</tr>" for row in table.rows
    )
    head = f"<thead><tr>{titles}</tr><tr>{heads}</tr></thead>"
    return f"<h3>{escape(table.title)}</h3><table>{head}<tbody>{rows}</tbody></table>"


def _plots(found: Mapping[str, Any]) -> str:
    name = strategy_name(found["args"]["strategy"])
    rows = found["requests"]["successful"]
    drawn = []
    for key, title in PLOTS:
        values = [row[key] for row in rows if row[key] is not None]
        drawn.append(cdf(f"{name}: {title}", np.asarray(values, dtype=np.float64) * NS_PER_MS))
    return "".join(drawn)


def _data(benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """JSON that cannot end its script element."""
    kept = [{name: value for name, value in found.items() if name != "requests"} for found in benchmarks]
    return json.dumps({"benchmarks": kept}).replace("<", "\\u003c")
