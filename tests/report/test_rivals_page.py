"""docs/rivals.md: the floor of the machine stands in its tables, and says which goal cannot be met."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

from rival_page import ERRORS, HEADS, OURS, page, readme_table
from rival_tools import FLOOR, TOOLS, read_floor

MACHINE = {"date": "2026-12-01", "cpu": "a", "cores": 2, "kernel": "6", "load_before": 0.1}


def figures(cpu_us: float) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {
        name: [0.001] for name in (*ERRORS, *HEADS, "failed", "untrusted")
    }
    return found | {"late p50": [None], "run": [cpu_us], "CPU": [cpu_us], "failed": [0.0], "untrusted": [0.0]}


def result(**cpu_us: float) -> dict[str, Any]:
    names = {"floor": FLOOR, "ours": OURS, "python": "locust"}
    cell = {
        "load": "1,000 streams",
        "server": "the simulator",
        "figures": {names[name]: figures(value) for name, value in cpu_us.items()},
        "failures": {},
    }
    tools = {name: {"version": "1", "settings": "defaults", "missing": None} for name in names.values()}
    return {"tools": tools, "cells": [cell], "faults": {}, "machine": MACHINE}


def test_the_floor_is_a_row_of_the_page_and_no_rival() -> None:
    text = page(result(floor=2.0, ours=9.0, python=30.0))
    assert f"| {FLOOR} |" in text
    assert text.endswith("In no figure of these tables.\n")
    assert FLOOR not in readme_table(result(floor=2.0, ours=9.0, python=30.0))


@pytest.mark.parametrize(
    ("floor_us", "says"),
    [
        (7.0, "nothing can be 5 times better here, and this goal cannot be met"),
        (3.0, "a client may take 6.00 µs"),
    ],
)
def test_a_goal_below_the_floor_is_told_to_be_out_of_reach(floor_us: float, says: str) -> None:
    text = page(result(floor=floor_us, ours=9.0, python=30.0))
    assert "| the simulator | CPU in the run, µs/event | 3.3 (below the goal: 5) |" in text
    assert f"takes {floor_us:.2f} µs an event (CPU in the run)" in text
    assert says in text


def test_a_page_without_the_floor_says_nothing_of_it() -> None:
    assert "the floor, which only reads" not in page(result(ours=9.0, python=30.0))


def test_the_stamps_of_the_floor_are_read_and_what_did_not_come_has_failed(tmp_path: Path) -> None:
    stamps = np.array([[1, 51, 71, 91], [2, 52, 72, 92], [3, 53, 0, 0]], dtype=np.int64) * 1_000_000
    stamps.tofile(tmp_path / "stamps")
    (tmp_path / "tokens").write_text("3")
    found = read_floor(tmp_path)
    assert (found.completed, found.failed) == (2, 1)
    assert (found.ttft.mean, found.itl.p50) == (50.0, 20.0)


def test_the_floor_is_measured_before_the_clients() -> None:
    assert TOOLS[0].name == FLOOR
