"""Real logs and real starts, when they lie beside the checkout (or in VLLMPERF_SHARED): every field as expected."""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from parse_envelopes import ENVELOPES

from vllmperf.starts.log.parse import LogParser, parse
from vllmperf.starts.result import NS_PER_S, REPORTED, ParsedFile, StartupLog

SHARED = Path(os.environ.get("VLLMPERF_SHARED") or Path(__file__).parents[3] / "shared")
LOGS, STARTS = SHARED / "vllm_logs", SHARED / "vllm_cpu" / "recorded"
EXPECTED = LOGS / "expected.jsonl"
FACTS = (
    *("mode", "platform", "vllm_version", "engine", "ranks", "tp", "pp", "dp", "enforce_eager"),
    *("first_log_ts", "ready_ts", "reached_ready"),
)

# The phases of failures have other names there than ours, and finer or coarser ones.
PHASES = {
    "sampler_warmup": {"kernel_warmup"},
    "warmup": {"kernel_warmup"},
    "model_load": {"weights_load"},
    "engine_init": {"engine_process"},
    "compile/warmup": {"compile"},
    "worker_init": {"worker_init"},
}
EXPLAINED = {
    # The log ends in its workers' start, before any line on loading; the failure came while it already answered.
    ("0.8.1_cuda_ray_pp_15199.log", "failure_phase"): "engine_process",
}

pytestmark = pytest.mark.skipif(not EXPECTED.is_file(), reason=f"no real logs in {LOGS}")


def expected() -> list[dict[str, Any]]:
    if not EXPECTED.is_file():
        return []
    return [json.loads(line) for line in EXPECTED.read_text(encoding="utf-8").splitlines()]


def rows_of(log: StartupLog) -> dict[str, Any]:
    failure = log.failure
    found: dict[str, Any] = {name: getattr(log, name) for name in FACTS} | dict(log.reported)
    found["failure"] = failure.text if failure else None
    found["failure_line"] = failure.line if failure else None
    return found


def ranks_of(log: StartupLog) -> dict[str, Any]:
    return {n: {"n": len(v), "min": _least(v), "max": _most(v)} for n, v in log.per_rank.items()}


def _least(values: Mapping[str, Any]) -> float:
    return float(min(values.values()))


def _most(values: Mapping[str, Any]) -> float:
    return float(max(values.values()))


@pytest.mark.parametrize("row", expected(), ids=lambda row: row["file"])
def test_every_field_of_a_real_log_is_as_expected(row: dict[str, Any]) -> None:
    log = parse(LOGS / row["file"]).main
    found = rows_of(log)
    assert {name: found[name] for name in found} == {name: row.get(name) for name in found}
    ranks = ranks_of(log)
    for name, value in (row.get("per_rank") or {}).items():
        assert ranks[name] == value, name
    assert dict(log.drafter) == row.get("drafter", {})
    phase = log.failure.phase if log.failure else None
    wanted = EXPLAINED.get((row["file"], "failure_phase"))
    assert phase in ({wanted} if wanted else PHASES.get(row.get("failure_phase", ""), {None}))


@pytest.mark.parametrize("row", [row for row in expected() if "sleep" in row], ids=lambda row: row["file"])
def test_sleep_and_wake_of_a_real_log_are_as_expected(row: dict[str, Any]) -> None:
    cycles = parse(LOGS / row["file"]).main.sleep
    assert [c.duration_s for c in cycles if c.kind == "sleep"] == row["sleep"]["sleep_s"]
    assert [c.freed_gib for c in cycles if c.kind == "sleep"] == row["sleep"]["freed_gib"]
    assert [c.duration_s for c in cycles if c.kind == "wake"] == row["sleep"]["wake_s"]


def values(parsed: ParsedFile) -> dict[str, Any]:
    log = parsed.main
    found = rows_of(log) | {"per_rank": log.per_rank, "drafter": dict(log.drafter), "model": log.model}
    found |= {"attempts": len(parsed.attempts), "phase": log.failure.phase if log.failure else None}
    found["sleep"] = [(c.kind, c.duration_s, c.freed_gib) for c in log.sleep]
    del found["failure"]  # holds the envelope too
    return found


@functools.cache
def bare_values(path: Path) -> dict[str, Any]:
    return values(parse(path))


TURNED = ("logcli backward", "Cloud Logging array")  # lines are counted from the other end
PARTED = ("CRI", "CRI in a docker file", "mixed")  # one line is several


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_around_a_real_log_changes_nothing(name: str) -> None:
    for path in sorted(LOGS.glob("*.log")):
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        bare, found = dict(bare_values(path)), values(parse(io.BytesIO(ENVELOPES[name](lines))))
        if name in TURNED and bare["failure_line"]:
            bare["failure_line"] = len(lines) + 1 - bare["failure_line"]
        if name in PARTED and bare["failure_line"]:
            bare["failure_line"] = found["failure_line"]
        assert found == bare, path.name


def test_all_reported_names_are_compared() -> None:
    assert set(REPORTED) <= set(expected()[0])


# --- starts with times measured from outside


def recorded() -> list[Path]:
    return sorted(STARTS.glob("*/start/*")) if STARTS.is_dir() else []


def live(folder: Path) -> StartupLog:
    """The log as it came, each line with the instant at which it left the pipe."""
    parser = LogParser()
    stamps = (folder / "startup.lines.tsv").read_text(encoding="utf-8").split()
    for line, stamp in zip((folder / "startup.log").read_bytes().split(b"\n"), stamps, strict=False):
        parser.feed(line, int(float(stamp) * NS_PER_S))
    return parser.result().main


@pytest.mark.parametrize("folder", recorded(), ids=lambda path: f"{path.parents[1].name} {path.name}")
def test_a_recorded_start_ends_as_it_did_and_when_it_did(folder: Path) -> None:
    truth = json.loads((folder / "startup.truth.json").read_text(encoding="utf-8"))
    log, printed = live(folder), parse(folder / "startup.log", year=2026, tz="UTC").main
    assert log.reached_ready == (truth["outcome"] == "ready")
    assert (log.failure is not None) == (truth["outcome"] == "failed")
    if log.reached_ready:
        assert log.ready_ns is not None
        assert printed.ready_ns is not None
        assert -0.01 <= truth["first_health_200"] - log.ready_ns / NS_PER_S < 0.2
        assert 0 <= truth["first_health_200"] - printed.ready_ns / NS_PER_S < 3.5
    assert log.clock is not None
    assert (log.clock.zone, log.clock.utc, log.clock.resolution_s) == ("UTC", True, 0.001)
    critical = [p for p in log.phases if p.critical and p.duration_s is not None]
    assert log.first_log_ns is not None
    end = log.ready_ns if log.ready_ns is not None else log.last_log_ns
    assert end is not None
    assert sum(p.duration_s or 0 for p in critical) == pytest.approx((end - log.first_log_ns) / NS_PER_S)
