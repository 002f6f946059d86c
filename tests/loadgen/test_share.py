"""Shares of a plan on several machines: together they send its traffic, and their run files become that of the whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vllmperf
from vllmperf import sim
from vllmperf.errors import UsageError
from vllmperf.loadgen.schedule import Schedule
from vllmperf.loadgen.share import Share
from vllmperf.record import merge
from vllmperf.run import Run

LOAD = {"num_prompts": 31, "request_rate": 400, "input_len": 20, "output_len": 3, "seed": 5}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[sim.Server]]:
    with (
        sim.Server(ttft_ms=1, itl_ms=1) as a,
        sim.Server(ttft_ms=1, itl_ms=1) as b,
        sim.Server(ttft_ms=1) as c,
    ):
        yield [a, b, c]


def sent(path: Path) -> dict[int, tuple[int | None, int]]:
    """When each request was due, and the bytes of its body, by its number."""
    with sqlite3.connect(path) as db:
        return {
            n: (due, size)
            for n, due, size in db.execute('SELECT "index", scheduled_ns, bytes_sent FROM requests')
        }


def runs(servers: list[sim.Server], folder: Path, **more: object) -> list[Path]:
    paths = [folder / f"{i}.vllmperf" for i in range(len(servers))]
    for i, (server, path) in enumerate(zip(servers, paths, strict=True)):
        vllmperf.bench(server, record=path, **{**LOAD, **more}, share=f"{i}/{len(servers)}")
    return paths


def test_shares_together_send_what_the_whole_plan_sends_at_its_times(
    servers: list[sim.Server], tmp_path: Path
) -> None:
    whole = tmp_path / "whole.vllmperf"
    vllmperf.bench(servers[0], record=whole, **LOAD)
    merged = merge(runs(servers, tmp_path), tmp_path / "merged.vllmperf")
    assert sent(merged).keys() == sent(whole).keys() == set(range(31))
    starts = {part["file"]: part["shift_ns"] for part in Run(merged).recording.meta["parts"]}
    for i in range(3):
        shift = starts[f"{i}.vllmperf"]
        mine = {n: (due - shift, size) for n, (due, size) in sent(merged).items() if n % 3 == i}
        assert mine == {n: one for n, one in sent(whole).items() if n % 3 == i}


def test_the_merged_run_counts_all_parts_and_shows_each_server(
    servers: list[sim.Server], tmp_path: Path
) -> None:
    parts = runs(servers, tmp_path)
    found = Run(merge(parts, tmp_path / "merged.vllmperf"))
    each = [Run(path).summary for path in parts]
    assert [one["requests"]["asked"] for one in each] == [11, 10, 10]
    assert found.summary["requests"]["asked"] == found.summary["requests"]["completed"] == 31
    assert found.summary["tokens"]["output"] == sum(one["tokens"]["output"] for one in each)
    targets = found.summary["targets"]
    assert targets is not None
    assert [one["base_url"] for one in targets] == [server.url for server in servers]
    assert [one["completed"] for one in targets] == [11, 10, 10]


def test_a_closed_loop_is_split_by_its_slots(servers: list[sim.Server], tmp_path: Path) -> None:
    parts = runs(servers, tmp_path, request_rate="inf", max_concurrency=5)
    most = [Run(path).summary["in_flight"]["max"] for path in parts]
    assert all(one <= slots for one, slots in zip(most, (2, 2, 1), strict=True))
    found = Run(merge(parts, tmp_path / "merged.vllmperf"))
    assert found.summary["in_flight"]["asked"] == 5


def test_times_are_those_of_the_plan_over_pieces_of_any_length() -> None:
    whole = np.arange(40, dtype=np.int64)
    for lengths in ([40], [1] * 40, [7, 1, 2, 30], [0, 13, 27]):
        for index in range(3):
            pieces = np.split(whole, np.cumsum(lengths)[:-1])
            found = Share(index, 3).schedule(Schedule(40, iter(pieces)))
            assert found.times is not None
            assert np.concatenate(list(found.times)).tolist() == list(range(index, 40, 3))
            assert found.n == len(range(index, 40, 3))


def test_shares_of_one_server_merge_too(servers: list[sim.Server], tmp_path: Path) -> None:
    found = Run(merge(runs([servers[0]] * 2, tmp_path), tmp_path / "merged.vllmperf"))
    assert found.summary["requests"]["completed"] == 31
    assert found.summary["targets"] is None


def test_a_share_that_is_there_twice_is_refused(servers: list[sim.Server], tmp_path: Path) -> None:
    first, second, _ = runs(servers, tmp_path)
    again = tmp_path / "again.vllmperf"
    again.write_bytes(first.read_bytes())
    with pytest.raises(UsageError, match="are both share 0/3: give each share once"):
        merge([first, second, again], tmp_path / "merged.vllmperf")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": "3/3"}, "share must be I/N with I from 0 to N - 1, like 0/3"),
        ({"share": "x"}, "share must be I/N"),
        ({"share": 1}, "share must be I/N"),
        ({"share": "7/8", "num_prompts": 7}, "share 7/8: the plan has 7 requests, fewer than shares"),
        (
            {"share": "0/3", "max_concurrency": 2},
            "max_concurrency must be at least 1 for each of the 3 shares",
        ),
        (
            {"share": "0/2", "dataset_name": "multi_turn", "max_concurrency": 2},
            "share: conversations are not split",
        ),
        ({"share": "0/2", "on_server_loss": "wait"}, "share: one machine does not wait for the others"),
        ({"share": "0/2", "until": "ttft_p50±5%", "duration": 9}, "share: a machine that sees a part"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    settings: dict[str, object], said: str, servers: list[sim.Server]
) -> None:
    load = {"num_prompts": 31, "input_len": 20, "output_len": 3, **settings}
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        vllmperf.bench(servers[0], **load)


def test_a_run_begins_at_its_time_and_never_before_it(servers: list[sim.Server]) -> None:
    at = time.time() + 1.5
    found = vllmperf.bench(servers[0], **{**LOAD, "num_prompts": 3}, start_at=at)
    assert found.recording.counters["start_real_ns"] / 1e9 > at - 0.001
