"""deploy/grafana and deploy/prometheus: written from their tables, of Grafana's types, and of series that exist."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import itertools
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import parts
import pytest
import yaml

from vllmperf.service.series import SUBJECTS

ROOT = Path(__file__).parents[2]
PANEL_TYPES = {
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg",
    "stat": "stat/panelcfg/x/StatPanelCfg",
    "bargauge": "bargauge/panelcfg/x/BarGaugePanelCfg",
    "heatmap": "heatmap/panelcfg/x/HeatmapPanelCfg",
    "barchart": "barchart/panelcfg/x/BarChartPanelCfg",
    "table": "table/panelcfg/x/TablePanelCfg",
}


def load_script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("dashboards_script", str(ROOT / "scripts" / "dashboards"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("dashboards_script", loader))
    loader.exec_module(module)
    return module


SCRIPT = load_script()
DASHBOARDS = {one.name: json.loads(SCRIPT.dumped(one)) for one in SCRIPT.DASHBOARDS}


def panels(dashboard):
    """Without rows; those of rows that are closed included."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


ALL_PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in panels(dashboard)]


def test_the_files_are_those_that_the_tables_give():
    """If one is stale: scripts/dashboards"""
    assert [path.name for path in SCRIPT.stale()] == []


def test_panels_fill_the_24_columns_and_none_covers_another():
    for dashboard in DASHBOARDS.values():
        taken = set()
        for panel in dashboard["panels"]:
            grid = panel["gridPos"]
            cells = set(
                itertools.product(
                    range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
                )
            )
            assert not cells & taken, panel["title"]
            assert grid["x"] + grid["w"] <= 24
            taken |= cells
        last_of_line = {y: max(x for x, at in taken if at == y) for _, y in taken}
        assert set(last_of_line.values()) == {23}, dashboard["title"]


def test_every_panel_says_what_it_answers_and_ids_are_unique():
    for name in DASHBOARDS:
        ids = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
        assert len(set(ids)) == len(ids)
    for _, panel in ALL_PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]


def expressions():
    for name, panel in ALL_PANELS:
        yield from ((f"{name}: {panel['title']}", target["expr"]) for target in panel["targets"])
    for name, dashboard in DASHBOARDS.items():
        marks = (mark for mark in dashboard["annotations"]["list"] if "expr" in mark.get("target", {}))
        yield from ((f"{name}: {mark['name']}", mark["target"]["expr"]) for mark in marks)
    for group in yaml.safe_load(SCRIPT.rule_file())["groups"]:
        yield from ((rule.get("alert", rule.get("record")), rule["expr"]) for rule in group["rules"])


def test_every_series_of_ours_in_a_query_is_one_that_the_service_has():
    known = set()
    for _, table, _ in SUBJECTS:
        for series in table:
            ends = ("_bucket", "_sum", "_count") if series.kind == "histogram" else ("",)
            known |= {series.full_name + end for end in ends}
    for where, expr in expressions():
        assert set(re.findall(r"(?<![:\w])vllmperf_\w+", expr)) <= known, where


def test_no_query_takes_a_mean_over_the_life_of_a_process():
    """Sums and counts are in it as rates or increases only. (Of a run of ours the whole is asked for: how much is done.)"""
    for where, expr in expressions():
        for before in re.findall(r"(\w*\(?)(?<![\w:$}])[\w:${}]+_(?:sum|count|bucket)\{", expr):
            assert before.endswith(("rate(", "increase(")), where


@pytest.fixture(scope="module")
def type_errors(tmp_path_factory):
    """What the compiler says of each dashboard, and of one that is broken in two places."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "node_modules").symlink_to(parts.folder("grafana/node_modules"))
    broken = json.loads(json.dumps(DASHBOARDS["vllmperf-gpu"]))
    next(panels(broken))["options"]["wideLayout"] = "yes"
    broken["schemaVersion"] = "39"
    for name, dashboard in {**DASHBOARDS, "broken": broken}.items():
        (folder / f"{name}.ts").write_text("".join(typescript(dashboard)), encoding="utf-8")
    flags = [
        "--noEmit",
        "--skipLibCheck",
        "--strict",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
    ]
    files = sorted(path.name for path in folder.glob("*.ts"))
    checked = subprocess.run(
        [folder / "node_modules" / ".bin" / "tsc", *flags, *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode in (0, 2), checked
    return checked.stdout


def test_every_dashboard_is_of_grafanas_own_types(type_errors):
    assert [
        line for line in type_errors.splitlines() if re.match(r"[\w-]+\.ts", line) and "broken" not in line
    ] == []


def test_the_type_check_finds_a_text_where_a_number_belongs(type_errors):
    assert len(re.findall(r"^broken\.ts.*TS2322", type_errors, re.M)) == 2


def typescript(dashboard):
    """A program whose types are right when those of the dashboard are. JSON has texts where the types have enums."""
    yield "import type { Dashboard, AnnotationQuery } from '@grafana/schema';\n"
    for kind, module in PANEL_TYPES.items():
        path = f"@grafana/schema/dist/esm/raw/composable/{module}_types.gen"
        yield f"import type * as {kind} from '{path}';\n"
    yield """
type Plain<T> = T extends string ? `${T}` : T extends number ? T : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type OfPrometheus = { titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean;
  target?: { refId: string; expr?: string; interval?: string } };
type Mark = Plain<Omit<AnnotationQuery, 'target'>> & OfPrometheus;
type Whole = Omit<Plain<Dashboard>, 'annotations'> & { annotations: { list: Mark[] } };
"""
    yield f"const dashboard: Whole = {json.dumps(dashboard)};\n"
    for panel in panels(dashboard):
        kind, number = panel["type"], panel["id"]
        yield f"const options_{number}: Plain<{kind}.Options> = {json.dumps(panel['options'])};\n"
        if custom := panel["fieldConfig"]["defaults"].get("custom"):
            yield f"const custom_{number}: Plain<{kind}.FieldConfig> = {json.dumps(custom)};\n"
