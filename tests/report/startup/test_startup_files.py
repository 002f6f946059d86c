"""HTML, CSV, JSON, DataFrame and plots of starts: complete, escaped, adding up."""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_starts import SLEEP, command, failed, log, phase, pod, ranked

from vllmperf.report.startup import Starts, csv, html, svg
from vllmperf.report.startup.json import to_json, utc
from vllmperf.report.startup.spans import tree
from vllmperf.report.startup.table import text
from vllmperf.starts.result import REPORTED, Clock, Failure, Start

EVIL = '<script>alert("x")</script>&\x1b[2J'
SETS = [command("c1", 30.0, "cold"), command("c2", 33.0, "cold"), command("w1", 20.0, "warm")]


def evil() -> Start:
    return pod(
        EVIL,
        group=EVIL,
        log=log(
            model=EVIL, vllm_version=EVIL, notes=(EVIL,), per_rank={"weights_load_s": {EVIL: 1.0, "b": 2.0}}
        ),
        facts={EVIL: EVIL},
        notes=(EVIL,),
        evidence=(EVIL,),
        failure=Failure("weights_load", 1, EVIL, EVIL),
        phases=(
            phase("config", 0, 1, detail=EVIL, source=EVIL),
            phase(EVIL, 1, 2, rank=EVIL, critical=False),
        ),
    )


# ---- HTML ----


class Tags(HTMLParser):
    """Counts what opens and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.seen.add(tag)
        if tag not in ("meta", "rect", "line", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


@pytest.mark.parametrize("starts", [[pod()], [failed(), ranked(8)], SETS, [evil()], [evil(), evil()]])
def test_every_tag_of_the_page_is_closed_in_order(starts: list[Start]) -> None:
    tags = Tags()
    tags.feed(html.page(starts))
    assert tags.open == []
    assert "svg" in tags.seen


def test_nothing_of_a_log_becomes_markup_or_a_control_character() -> None:
    page = html.page([evil(), evil()])
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = html.page([pod(log=log(sleep=SLEEP)), failed()])
    for word in ("http://", "https://", "<script", "@import", "url("):
        assert word not in page


def test_a_waterfall_is_well_formed_and_each_bar_has_its_tooltip() -> None:
    start = pod()
    root = ElementTree.fromstring(svg.waterfall(start))
    tips = [title.text or "" for title in root.iter("title")]
    assert len(tips) == len(start.phases)
    tip = next(tip for tip in tips if tip.startswith("torch.compile"))
    assert tip == (
        "torch.compile: 25 s; from 55 to 80 s; 22.5 % of the whole; the log says 25.26 s; source: log ±1 s"
    )


def test_ranks_are_strips_below_the_bar_with_tooltips_of_their_own() -> None:
    root = ElementTree.fromstring(svg.waterfall(ranked(8)))
    tips = [title.text or "" for title in root.iter("title")]
    assert len(tips) == 2 + 8
    assert tips[2].startswith("weights load · Worker_TP7: 17 s")
    heights = [float(rect.attrib["height"]) for rect in root.iter("rect")]
    assert heights.count(svg.STRIP - 1) == 8
    assert float(root.attrib["height"]) == svg.TOP + 2 * svg.ROW + 8 * svg.STRIP + svg.BOTTOM


def test_a_phase_that_only_ranks_show_is_not_lost() -> None:
    spans = tuple(phase("dynamo", 0, 1 + i, rank=f"r{i}", critical=False) for i in range(3))
    start = command(phases=spans)
    assert [(head.rank, [p.rank for p in ranks]) for head, ranks in tree(start)] == [("r2", ["r1", "r0"])]
    assert "r2" in text([start])
    assert "Dynamo · r2" in svg.waterfall(start)


def test_the_bars_of_a_stack_are_as_long_together_as_the_total() -> None:
    root = ElementTree.fromstring(svg.stacked([pod()]))
    widths = [float(rect.attrib["width"]) for rect in root.iter("rect")]
    assert sum(widths) == pytest.approx(svg.WIDTH - svg.LEFT - svg.RIGHT, abs=0.2)


def test_the_page_compares_sets_and_names_the_failed() -> None:
    page = html.page([*SETS, failed()])
    assert "cold → warm" in page
    assert "4 starts, 1 not ready" in page
    assert "CUDA out of memory" in page


def test_a_page_of_a_start_of_which_nothing_is_known_says_why() -> None:
    empty = Start(
        "x", "created", "ready", None, None, (), reached=False, failure=Failure(None, None, "no image")
    )
    assert "no image" in html.page([empty])


@pytest.mark.parametrize(
    ("total", "last"), [(0.0123, 0.012), (1.0, 1.0), (7.9, 7.0), (111.0, 100.0), (972.0, 800.0)]
)
def test_ticks_are_round_and_few(total: float, last: float) -> None:
    ticks = svg.round_ticks(total)
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(last)
    assert 4 <= len(ticks) <= 9


# ---- CSV ----


def table(starts: list[Start]) -> list[dict[str, str]]:
    file = io.StringIO()
    csv.write(starts, file)
    return list(csv_module.DictReader(io.StringIO(file.getvalue())))


def test_the_csv_has_a_row_for_every_phase_of_every_start() -> None:
    rows = table([pod("a"), command("b", group="cold")])
    assert {row["start"] for row in rows} == {"a", "b"}
    assert len(rows) == len(pod().phases) + len(command().phases)
    assert all(list(row) == list(csv.COLUMNS) for row in rows)


def test_the_critical_rows_of_a_csv_add_up_to_the_total() -> None:
    for start in (pod(), command(), ranked(4)):
        rows = [row for row in table([start]) if row["critical"] == "true"]
        assert sum(float(row["duration_s"]) for row in rows) == pytest.approx(float(rows[0]["total_s"]))
        assert sum(float(row["share"]) for row in rows) == pytest.approx(1)


def test_what_is_not_known_is_an_empty_cell() -> None:
    (row,) = table([command(phases=(phase("weights_download", None, None),), reached=False)])
    assert [row[name] for name in ("total_s", "start_s", "end_s", "duration_s", "share", "rank")] == [""] * 6


def test_commas_and_quotes_of_a_log_stay_in_their_cell() -> None:
    detail = 'a, "b"\nc'
    (row,) = table([command(phases=(phase("config", 0, 1, detail=detail),))])
    assert row["detail"] == detail


# ---- JSON ----


def test_the_json_says_its_version_first_and_has_no_nan() -> None:
    found = to_json([pod(), failed(), *SETS])
    assert next(iter(found)) == "schema"
    assert found["schema"] == 1
    again = json_module.loads(json_module.dumps(found, allow_nan=False))
    assert [start["name"] for start in again["starts"]] == ["vllm-0", "vllm-bad", "c1", "c2", "w1"]


def test_the_phases_of_the_json_add_up_to_its_total() -> None:
    (start,) = to_json([pod()])["starts"]
    assert (
        sum(each["duration_s"] for each in start["phases"] if each["critical"]) == start["total_s"] == 111.0
    )


def test_every_reported_number_has_its_key_and_null_stands_for_missing() -> None:
    (start,) = to_json([pod()])["starts"]
    assert list(start["log"]["reported"]) == list(REPORTED)
    assert start["log"]["reported"]["num_gpu_blocks"] is None
    assert start["log"]["reported"]["weights_gib"] == 6.1501


def test_a_failed_start_has_no_total_but_what_was_seen() -> None:
    (start,) = to_json([failed()])["starts"]
    assert start["total_s"] is None
    assert start["seen_s"] == 10.0
    assert start["failure"]["reason"] == "OOMKilled"


def test_instants_of_an_assumed_zone_are_not_given_as_utc() -> None:
    known, assumed = to_json([pod(), pod(log=log(clock=Clock("log", 1.0, False, 2025, "assumed", "UTC")))])[
        "starts"
    ]
    assert known["log"]["ready_utc"] == "2025-11-24T16:01:45.000000Z"
    assert assumed["log"]["ready_utc"] is None


def test_instants_keep_their_microseconds() -> None:
    assert utc(1_764_000_000_123_456_789) == "2025-11-24T16:00:00.123456Z"
    assert utc(None) is None


def test_sleep_cycles_stand_in_the_json_with_their_instant() -> None:
    (start,) = to_json([pod(log=log(sleep=SLEEP))])["starts"]
    sleep, wake = start["log"]["sleep"]
    assert (sleep["kind"], sleep["duration_s"], sleep["at_utc"]) == (
        "sleep",
        1.234567,
        "2025-11-24T16:03:20.000000Z",
    )
    assert (wake["tags"], wake["freed_gib"]) == (("weights", "kv_cache"), None)


def test_sets_have_their_distribution_and_changes() -> None:
    found = to_json(SETS)
    assert [each["group"] for each in found["distribution"]] == ["cold", "warm"]
    (change,) = found["changes"]
    assert (change["from"], change["to"]) == ("cold", "warm")
    total = change["phases"][-1]
    assert total["phase"] == "total"
    assert total["change_s"] == pytest.approx(20 - 31.5)
    assert total["interval_s"] is None


# ---- DataFrame and plots ----


def test_the_frame_has_the_rows_of_the_csv_in_the_order_of_phases() -> None:
    pytest.importorskip("pandas")
    from vllmperf.report.startup.dataframe import phases

    frame = phases([pod("a"), pod("b", scale=2.0), failed()])
    assert list(frame.columns) == list(csv.COLUMNS)
    assert frame["duration_s"].dtype == "float64"
    means = frame[frame["critical"]].groupby("phase", observed=True)["duration_s"].mean()
    assert list(means.index)[:3] == ["scheduling", "volumes", "image_pull"]
    assert means["compile"] == 37.5
    assert frame.loc[frame["start"] == "vllm-bad", "total_s"].isna().all()


def test_the_plotted_bars_are_the_phases() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from vllmperf.report.startup import plot

    ax = plot.waterfall(pod())
    assert [tick.get_text() for tick in ax.get_yticklabels()][-1] == "first token"
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(111.0)
    many = plot.stacked(SETS)
    assert [tick.get_text() for tick in many.get_yticklabels()] == ["c1 (cold)", "c2 (cold)", "w1 (warm)"]
    assert sum(bar.get_width() for bar in many.patches) == pytest.approx(83.0)
    plt.close("all")


def test_a_plot_of_nothing_is_an_error_in_words() -> None:
    pytest.importorskip("matplotlib")
    from vllmperf.errors import UsageError
    from vllmperf.report.startup import plot

    empty = Start("x", "created", "ready", None, None, (), reached=False)
    with pytest.raises(UsageError, match="nothing to draw"):
        plot.waterfall(empty)
    with pytest.raises(UsageError, match="nothing to draw"):
        plot.stacked([empty])


# ---- in a notebook ----


def test_starts_show_themselves_as_table_page_and_plot(tmp_path: Path) -> None:
    one, many = Starts([pod()]), Starts(SETS)
    assert str(one) == text([pod()])
    assert many._repr_html_() == html.fragment(SETS)
    assert many.to_dict() == to_json(SETS)
    assert many.save_html(tmp_path / "a.html").read_text(encoding="utf-8") == html.page(SETS)


def test_starts_plot_a_waterfall_of_one_and_bars_of_more() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    assert len(Starts([pod()]).plot().get_yticklabels()) == len(pod().phases)
    assert len(Starts(SETS).plot().get_yticklabels()) == len(SETS)
    assert list(Starts(SETS).phases["start"].unique()) == ["c1", "c2", "w1"]
    plt.close("all")


# ---- the page about them ----


def test_the_page_names_every_column_of_the_csv_and_every_key_of_the_json() -> None:
    page = (Path(__file__).parents[3] / "docs" / "startup.md").read_text(encoding="utf-8")
    found = to_json([pod(failure=Failure("config", 1, "x")), *SETS])
    start = found["starts"][0]
    keys = {*found, *start, *start["log"], *start["phases"][0], *start["failure"]}
    keys |= {*found["distribution"][0]["phases"][0], *found["changes"][0], *found["changes"][0]["phases"][0]}
    for name in (*csv.COLUMNS, *keys):
        assert f"`{name}`" in page or f"`{name}[]`" in page or f"`starts[].{name}" in page, name
