"""Run files of one plan become one: requests, times, histograms, counters."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import MS, START_REAL_NS, Request, histogram, steady, write_run

import vllmperf
from vllmperf import sim
from vllmperf.errors import UsageError
from vllmperf.record import merge
from vllmperf.record.reader import read
from vllmperf.run import Run


def shard(path: Path, numbers: list[int], late_ms: int = 0, **more: object) -> Path:
    """Requests of these numbers, sent in turn, on a machine that starts late."""
    requests = [Request(n, sent=80.0 * i, stamps=[(50 * MS, 51 * MS)]) for i, n in enumerate(numbers)]
    counters = {"start_real_ns": START_REAL_NS + late_ms * MS, "cpu_s": 1.0, "connections_opened": 2}
    return write_run(path, requests, counters=counters, **more)  # type: ignore[arg-type]


def test_requests_of_shards_keep_their_numbers_and_move_to_the_earliest_start(tmp_path: Path) -> None:
    parts = [shard(tmp_path / "a.run", [0, 2]), shard(tmp_path / "b.run", [1, 3], late_ms=7)]
    found = read(merge(parts, tmp_path / "all.run"))
    assert found.requests["index"].tolist() == [0, 1, 2, 3]
    assert (found.requests["sent_ns"] / MS).tolist() == [0, 7, 80, 87]
    assert (found.requests["slot_wait_ns"] == 0).all(), "a duration is not moved"
    assert (found.stamps / MS).tolist() == [[50, 51], [57, 58], [50, 51], [57, 58]]
    assert found.plan["num_prompts"] == 4
    assert [part["shift_ns"] for part in found.meta["parts"]] == [0, 7 * MS]


def test_histograms_and_counters_are_added_up(tmp_path: Path) -> None:
    of_one = {"loop": histogram(1.0, 2.0), "loop.0": histogram(1.0), "loop.1": histogram(2.0)}
    a = shard(tmp_path / "a.run", [0], histograms=of_one)
    b = shard(tmp_path / "b.run", [1], histograms={"loop": histogram(4.0), "client_lag": histogram(3.0)})
    found = read(merge([a, b], tmp_path / "all.run"))
    assert (found.histograms["loop"].count, found.histograms["loop"].max) == (3, 4 * MS)
    assert found.histograms["client_lag"].count == 1
    assert "loop.0" not in found.histograms  # the threads of two clients have nothing in common
    assert (found.counters["cpu_s"], found.counters["connections_opened"]) == (2.0, 4)


def test_whole_runs_of_one_plan_are_counted_on(tmp_path: Path) -> None:
    parts = [write_run(tmp_path / name, steady(4)) for name in ("a.run", "b.run", "c.run")]
    found = Run(merge(parts, tmp_path / "all.run"))
    assert found.requests["index"].tolist() == list(range(12))
    assert found.summary["requests"]["asked"] == found.summary["requests"]["completed"] == 12


def test_a_merged_run_is_as_finished_as_its_least_finished_part(tmp_path: Path) -> None:
    a = shard(tmp_path / "a.run", [0])
    b = shard(tmp_path / "b.run", [1], state="interrupted")
    assert read(merge([a, b], tmp_path / "all.run")).state == "interrupted"


def test_runs_of_different_plans_are_refused_in_one_line(tmp_path: Path) -> None:
    a = shard(tmp_path / "a.run", [0])
    b = shard(tmp_path / "b.run", [1], plan={"request_rate": 20})
    with pytest.raises(
        UsageError, match=r"different plans: request_rate is 'inf' and 20; merge takes"
    ) as error:
        merge([a, b], tmp_path / "all.run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "all.run").exists()


def test_one_file_or_an_output_that_exists_is_refused(tmp_path: Path) -> None:
    a, b = shard(tmp_path / "a.run", [0]), shard(tmp_path / "b.run", [1])
    with pytest.raises(UsageError, match="at least two"):
        merge([a], tmp_path / "all.run")
    with pytest.raises(UsageError, match="exists already"):
        merge([a, b], a)
    assert len(read(a).requests) == 1


def test_two_real_runs_become_one(tmp_path: Path) -> None:
    with sim.Server(ttft_ms=4, itl_ms=1) as server:
        runs = [
            vllmperf.bench(
                server.url, num_prompts=30, concurrency=3, input_len=4, output_len=5, record=tmp_path / name
            )
            for name in ("a.run", "b.run")
        ]
    found = Run(merge([run.path for run in runs], tmp_path / "all.run"), trim=False)
    assert runs[0].plan == runs[1].plan
    assert isinstance(found.plan, vllmperf.Plan)
    summary = found.summary
    assert summary["requests"]["completed"] == 60
    assert summary["tokens"]["output"] == 300
    assert all(check["broken"] == 0 for check in summary["identities"].values()), "sums hold across the parts"
    assert sorted(found.ttft.samples) == sorted(np.concatenate([run.ttft.samples for run in runs]))
    assert sorted(found.gaps) == sorted(np.concatenate([run.gaps for run in runs]))
    starts = [run.recording.counters["start_real_ns"] for run in runs]
    later = runs[1].recording.requests["sent_ns"] + (starts[1] - starts[0])
    assert found.recording.requests["sent_ns"][30:].tolist() == later.tolist()
    assert summary["in_flight"]["max"] == 3, "one after the other"
