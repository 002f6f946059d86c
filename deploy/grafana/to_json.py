"""A dashboard as Grafana's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from grafana.dashboard import COLUMNS, Dashboard, Mark, Panel, Row, Variable

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "vllmperf"
SCHEMA_VERSION = 39
"""Of Grafana 10.4 and later."""

Json = dict[str, Any]

EVERYTHING: Json = {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
"""Of a variable of which all may be chosen, as at first: series without the label too."""

VISIBLE_LEGEND: Json = {
    "calcs": ["mean", "max", "lastNotNull"],
    "displayMode": "table",
    "placement": "bottom",
    "showLegend": True,
}
TOOLTIP: Json = {"mode": "multi", "sort": "desc"}
LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def dumped(dashboard: Dashboard) -> str:
    """The text of its file."""
    return json.dumps(to_json(dashboard), indent=2, ensure_ascii=False) + "\n"


def to_json(dashboard: Dashboard) -> Json:
    return {
        "uid": dashboard.name,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [_links()],
        "annotations": {"list": [_built_in(), *map(_mark, dashboard.marks)]},
        "templating": {"list": [_source_variable(), *map(_variable, dashboard.variables)]},
        "panels": list(_panels(dashboard.rows)),
    }


def _links() -> Json:
    return {
        "type": "dashboards",
        "title": "vllmperf",
        "tags": [TAG],
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


# ---- annotations and variables ----


def _built_in() -> Json:
    return {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }


def _mark(mark: Mark) -> Json:
    return {
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": mark.colour,
        "name": mark.name,
        "target": {"refId": "Anno", "expr": mark.expr, "interval": "30s"},
        "titleFormat": mark.title,
        "textFormat": "",
        "tagKeys": "run",
        "useValueForTime": True,
    }


def _source_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "regex": "",
        "options": [],
    }


def _variable(variable: Variable) -> Json:
    named: Json = {"name": variable.name, "label": variable.label, "hide": 0}
    if variable.kind == "textbox":
        value = {"text": variable.query, "value": variable.query}
        return {**named, "type": "textbox", "query": variable.query, "current": value, "options": [value]}
    return {
        **named,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "regex": variable.regex,
        "refresh": 2,
        "sort": 2 if variable.newest_first else 1,
        "multi": variable.many,
        "includeAll": variable.many,
        **(EVERYTHING if variable.many else {}),
        "options": [],
    }


# ---- panels ----


def _panels(rows: tuple[Row, ...]) -> Iterator[Json]:
    """Every row begins at the left; its panels fill lines of COLUMNS from there."""
    number, y = 0, 0
    for row in rows:
        number += 1
        placed, below = _placed(row, number, y + 1)
        number += len(placed)
        grid = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        head = {"type": "row", "id": number - len(placed), "title": row.title, "collapsed": row.collapsed}
        yield {**head, "gridPos": grid, "panels": placed if row.collapsed else []}
        if not row.collapsed:
            yield from placed
        y = y + 1 if row.collapsed else below


def _placed(row: Row, number: int, y: int) -> tuple[list[Json], int]:
    """The panels of a row, and the y below them."""
    placed, x, line = [], 0, 0
    for panel in row.panels:
        if x + panel.width > COLUMNS:
            x, y, line = 0, y + line, 0
        number += 1
        placed.append({"id": number, "gridPos": _grid(panel, x, y), **_panel(panel)})
        x, line = x + panel.width, max(line, panel.height)
    return placed, y + line


def _grid(panel: Panel, x: int, y: int) -> Json:
    return {"h": panel.height, "w": panel.width, "x": x, "y": y}


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": list(_targets(panel)),
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        **({"transformations": _transformations(panel)} if panel.kind in ("barchart", "table") else {}),
    }


def _options(panel: Panel) -> Json:
    found = OPTIONS[panel.kind]
    if panel.kind != "heatmap":
        return found
    return {**found, "yAxis": {"axisPlacement": "left", "reverse": False, "unit": panel.unit}}


def _targets(panel: Panel) -> Iterator[Json]:
    is_now = panel.is_now or panel.kind in ("bargauge", "barchart", "table")
    form = {"heatmap": "heatmap", "barchart": "table", "table": "table"}.get(panel.kind, "time_series")
    for i, query in enumerate(panel.queries):
        yield {
            "refId": chr(ord("A") + i),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": "{{le}}" if panel.kind == "heatmap" else query.legend or "__auto",
            "format": form,
            "instant": is_now,
            "range": not is_now,
        }


def _defaults(panel: Panel) -> Json:
    steps = [{"color": colour, "value": start} for start, colour in panel.steps or ((None, "green"),)]
    found: Json = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if _has_thresholds(panel) else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": _mappings(panel),
    }
    for key, value in (("min", panel.least), ("max", panel.most), ("decimals", panel.decimals)):
        if value is not None:
            found[key] = value
    if panel.kind == "timeseries":
        found["custom"] = _lines(panel)
    elif panel.kind == "barchart":
        found["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    return found


def _has_thresholds(panel: Panel) -> bool:
    return panel.kind in ("stat", "gauge", "bargauge")


def _mappings(panel: Panel) -> list[Json]:
    if not panel.names:
        return []
    options = {
        value: {"text": text, "color": colour, "index": i}
        for i, (value, text, colour) in enumerate(panel.names)
    }
    return [{"type": "value", "options": options}]


def _lines(panel: Panel) -> Json:
    return {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        "axisSoftMin": 0,
    }


def _transformations(panel: Panel) -> list[Json]:
    if panel.matrix is None:
        hidden = {"Time": True, "Value": True, "__name__": True, "job": True, "instance": True}
        return [
            {"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": {}}}
        ]
    bars, parts = panel.matrix
    options = {"rowField": bars, "columnField": parts, "valueField": "Value", "emptyValue": "null"}
    return [{"id": "groupingToMatrix", "options": options}]


OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": VISIBLE_LEGEND, "tooltip": TOOLTIP},
    "stat": {
        "reduceOptions": LAST,
        "orientation": "auto",
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "percentChangeColorMode": "standard",
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    },
    "gauge": {
        "reduceOptions": LAST,
        "orientation": "auto",
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
        "sizing": "auto",
        "minVizHeight": 75,
        "minVizWidth": 75,
    },
    "bargauge": {
        "reduceOptions": LAST,
        "orientation": "horizontal",
        "displayMode": "gradient",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "maxVizHeight": 300,
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Spectral",
            "reverse": True,
            "fill": "dark-orange",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
    },
    "barchart": {
        "orientation": "horizontal",
        "stacking": "normal",
        "showValue": "never",
        "barWidth": 0.8,
        "groupWidth": 0.7,
        "fullHighlight": False,
        "xTickLabelRotation": 0,
        "xTickLabelMaxLength": 30,
        "xTickLabelSpacing": 0,
        "legend": {"calcs": [], "displayMode": "list", "placement": "right", "showLegend": True},
        "tooltip": TOOLTIP,
    },
    "table": {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
    },
}
