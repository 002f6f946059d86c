"""What a dashboard is: rows of panels, each with its queries. No Grafana in here (to_json.py has that)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

COLUMNS = 24

Kind = Literal["timeseries", "stat", "gauge", "bargauge", "heatmap", "barchart", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """legend: labels in {{}} are replaced by Grafana. v1_only: vLLM's V0 has nothing like it."""

    expr: str
    legend: str = ""
    v1_only: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """description: what it answers, and what to do when it looks bad. unit: Grafana's name of it. steps: (from, colour), the
    first from None. stacked: timeseries add up. names: text for a value. matrix: of a barchart, the labels of its bars and of
    the parts of a bar. is_now: asked for the end of the time range alone; bars and tables always are."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float | None, str], ...] = ()
    least: float | None = None
    most: float | None = None
    decimals: int | None = None
    stacked: bool = False
    names: tuple[tuple[str, str, str], ...] = ()
    matrix: tuple[str, str] | None = None
    is_now: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """query: of Prometheus, like label_values(series, label); for kind textbox the value at first. regex: its first group is
    the value. many: several may be chosen, or all of them, series without the label included."""

    name: str
    label: str
    query: str
    kind: Literal["query", "textbox"] = "query"
    regex: str = ""
    many: bool = True
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation at the times that are the values of a query, in ms."""

    name: str
    expr: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """name: of its file and its uid."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()


def stat(
    title: str,
    description: str,
    expr: str,
    unit: str = "short",
    *,
    legend: str = "",
    width: int = 3,
    steps: tuple[tuple[float | None, str], ...] = (),
    names: tuple[tuple[str, str, str], ...] = (),
    decimals: int | None = None,
    is_now: bool = False,
) -> Panel:
    """One number."""
    return Panel(
        title,
        description,
        (Query(expr, legend),),
        unit,
        "stat",
        width,
        4,
        steps=steps,
        names=names,
        decimals=decimals,
        is_now=is_now,
    )


def quantiles(expr: str, by: str, legend: str = "") -> tuple[Query, ...]:
    """p50, p90 and p99 of buckets that are summed before. expr: the rate of the buckets."""
    labels = f"{by}, le" if by else "le"
    return tuple(
        Query(f"histogram_quantile({q}, sum by ({labels}) ({expr}))", f"{name} {legend}".strip())
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    )
