"""The console against what guidellm 0.3.1 printed, line for line."""

import importlib.util
import io
import json
import re
import time
from pathlib import Path

import pytest

from vllmperf.dropin.guidellm.console import Console
from vllmperf.dropin.guidellm.html import page
from vllmperf.dropin.guidellm.profiles import Profile, Strategy
from vllmperf.dropin.guidellm.progress import Box, Figures
from vllmperf.dropin.guidellm.tables import info, plain, stats

RUNS = ("small", "synchronous", "sweep", "concurrent", "stdev", "async", "poisson", "warmup", "throughput")
WIDE = ("wide_synchronous", "wide_throughput")


def _golden():
    path = Path(__file__).parents[1] / "formats" / "guidellm_golden.py"
    spec = importlib.util.spec_from_file_location("guidellm_golden", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = _golden()


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The recordings were made in UTC; their tables show local times."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("COLUMNS", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def width(name):
    return 200 if name in WIDE else 80


def printed(name):
    """Our tables of a recorded report."""
    file = io.StringIO()
    Console(file, width(name)).report(golden.report(f"{name}.json")["benchmarks"])
    return file.getvalue()


def from_to(text, first, last):
    return text[text.index(first) : text.index(last) if last in text else len(text)].rstrip().splitlines()


@pytest.mark.parametrize("name", RUNS + WIDE)
def test_metadata_and_tables_are_printed_as_guidellm_printed_them(name):
    recorded = golden.golden(f"{name}.console.txt").read_text()
    ours, theirs = (
        from_to(text, "Benchmarks Metadata:", "Saving benchmarks") for text in (printed(name), recorded)
    )
    assert ours == theirs


def box_of(name, with_scheduler=False):
    """Our box of a recorded report, when all has ended."""
    benchmarks = golden.report(f"{name}.json")["benchmarks"]
    shown = [one["args"]["strategy"] for one in benchmarks]
    strategies = [
        Strategy(type=one["type_"], streams=one.get("streams", 1), rate=one.get("rate")) for one in shown
    ]
    file = io.StringIO()
    console = Console(file, width(name))
    with Box(console, with_scheduler) as box:
        box.begin(Profile("async", strategies))
        for number, (one, strategy) in enumerate(zip(benchmarks, strategies, strict=True)):
            box.show(number, strategy, one["start_time"], Figures.of(one), 1.0, ended=True)
        box.end()
    console.line("\nSaving benchmarks report...")
    return file.getvalue()


def masked(text):
    """Without spinners and the time that the program took."""
    lines = text[text.index("╭") : text.index("Generating")].splitlines()
    bar = next(line for line in text.splitlines() if line.startswith("Generating"))
    return [*[re.sub("[⠀-⣿]", "*", line) for line in lines], re.sub(r"\d:\d\d:\d\d", "T", bar).rstrip()]


@pytest.mark.parametrize("name", ["small", "throughput", "sweep", "concurrent", "wide_throughput"])
def test_the_box_is_drawn_as_guidellm_drew_it(name):
    recorded = golden.golden(f"{name}.console.txt").read_text()
    ours, theirs = masked(box_of(name)), masked(recorded)
    if (
        name in WIDE
    ):  # there the clock of the start stands in the box, and guidellm's is that of another moment
        ours, theirs = ([re.sub(r"\d\d:\d\d:\d\d", "T", line) for line in lines] for lines in (ours, theirs))
    assert ours == theirs


def test_scheduler_stats_add_a_third_line():
    lines = masked(box_of("sampling", with_scheduler=True))
    recorded = masked(golden.golden("sampling.console.txt").read_text())
    assert len(lines) == len(recorded)
    assert lines[3].split()[1] == recorded[3].split()[1] == "Sys:"
    assert [len(line) for line in lines] == [len(line) for line in recorded]


def test_elsewhere_than_in_a_terminal_no_row_of_a_table_is_broken(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    file = io.StringIO()
    benchmarks = golden.report("sweep.json")["benchmarks"]
    Console(file).report(benchmarks)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    for table in (info(benchmarks), stats(benchmarks)):
        assert all(plain(line).rstrip() in lines for line in table.lines())


def test_a_wide_column_is_as_wide_as_its_longest_cell():
    benchmarks = golden.report("small.json")["benchmarks"]
    benchmarks[0]["metrics"]["prompt_token_count"]["successful"]["total_sum"] = 1e15
    table = info(benchmarks)
    assert "1000000000000000" in table.rows[0]
    assert len({len(plain(line)) for line in [table.lines()[0], *table.lines()[2:]]}) == 1


def test_html_is_one_page_without_addresses_and_holds_the_figures():
    report = golden.report("wide_synchronous.json")
    report["benchmarks"][0]["extras"] = {"note": "</script><b>"}
    made = page(report)
    assert "://" not in made.replace("http://127.0.0.1:8000", "")
    assert made.count("</script>") == 1
    found = json.loads(re.search(r'id="benchmarks">(.*?)</script>', made, re.DOTALL).group(1))
    assert found["benchmarks"][0]["metrics"] == report["benchmarks"][0]["metrics"]
    assert "Benchmarks Stats" in made
    assert made.count("<svg") == 2
