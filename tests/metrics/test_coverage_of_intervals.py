"""scripts/bench/coverage in small: intervals hold the truth about as often as they say, and are withheld where they could not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench" / "coverage"


@pytest.fixture(scope="module")
def tables():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--jobs", "1"], capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout.split("###")[1:]


def rows(table):
    """Cells of a Markdown table by their first two columns."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]
    return {(law, n): cells for law, n, *cells in lines[2:]}


def percent(cell):
    """The first percentage of a cell, None where no interval was shown or in few runs only."""
    match = re.match(r"([\d.]+)%", cell)
    return None if match is None else float(match[1])


@pytest.mark.slow
def test_no_cell_of_the_quick_table_is_far_from_95_percent(tables):
    assert tables[0] == 0, tables[1][0]


@pytest.mark.slow
def test_most_cells_show_an_interval_and_a_short_run_of_a_busy_server_shows_none(tables):
    ours = rows(tables[1][0])
    assert all(percent(cell) is not None for cell in ours["exponential", "1,000"])
    assert percent(ours["AR(1), φ = 0.9", "1,000"][0]) is not None
    for metric in ("TTFT", "TPOT"):
        assert all(percent(cell) is None for cell in ours[f"server at 0.9, {metric}", "1,000"])


@pytest.mark.slow
def test_intervals_for_independent_values_fail_where_values_are_not(tables):
    free = rows(tables[1][1])
    assert percent(free["exponential", "1,000"][0]) > 88
    assert percent(free["AR(1), φ = 0.9", "1,000"][0]) < 60
    assert percent(free["server at 0.9, TTFT", "1,000"][0]) < 30
    assert (
        percent(free["server at 0.9, TTFT", "1,000"][5]) > 30
    )  # MLCommons' bound of p99, which promises 1 %
