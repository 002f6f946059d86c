"""What the selftest finds, keeps and later quotes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import vllmperf as vp
from vllmperf import own_error
from vllmperf.loadgen import known_error
from vllmperf.loadgen.environment import environment
from vllmperf.metrics.summary import summarize
from vllmperf.own_error import Added, Point, Truth

HONEST = Point(1, 100.0, 100.0, 10.0, Added(0.01, 0.05), Added(0.0, 0.02), None, 0.0)
LYING = replace(HONEST, itl_ms=Added(0.5, 30.0))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vllmperf" / "selftest.json"


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(own_error, "STREAMS", (1, 4))
    monkeypatch.setattr(own_error, "EVENTS_PER_S", (500,))
    monkeypatch.setattr(own_error, "REQUESTS_PER_S", (50,))


def test_a_selftest_is_kept_and_a_later_run_quotes_the_next_number_of_streams(few, cache):
    found = vp.selftest(point_s=0.3)
    assert [point.streams for point in found.streams] == [1, 4]
    assert json.loads(cache.read_text())["streams"] == json.loads(json.dumps(found.to_dict()["streams"]))
    run = vp.bench(sim=True, max_concurrency=3, num_prompts=6, output_len=4)
    adds = run.summary["client"]["machine_adds"]
    assert adds["at"] == found.at
    assert adds["streams"] == 4
    assert adds["ttft_ms"] == found.streams[1].ttft_ms._asdict()


def test_the_picture_in_words_names_every_point_and_both_limits(few):
    words = repr(vp.selftest(point_s=0.2))
    for title in (
        "streams: added, ms",
        "events/s: added, ms",
        "requests/s: added, ms",
        "timer: 100 requests/s",
    ):
        assert title in words


def test_what_is_added_is_the_difference_to_the_truth_of_the_same_request(tmp_path):
    rows = [
        _row(1, arrived=5_000_000, written=[55_000_000, 65_000_000]),
        _row(0, arrived=1_000_000, written=[52_000_000, 63_000_000]),
    ]
    file = tmp_path / "truth"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    truth = Truth(file)
    assert truth.numbers.tolist() == [1, 0]
    assert truth.ttft_ms.tolist() == [50.0, 51.0]
    assert [gaps.tolist() for gaps in truth.itl_ms] == [[10.0], [11.0]]


def _row(number, arrived, written):
    offset = 7_000_000_000
    return {
        "path": "/v1/completions",
        "request_id": f"selftest-{number}",
        "arrived_real_ns": arrived + offset,
        "real_minus_mono_ns": offset,
        "written_mono_ns": written,
    }


def test_a_ladder_ends_where_the_client_lies_twice_in_a_row():
    came = {100: [HONEST], 200: [LYING, HONEST], 400: [LYING, LYING], 800: [HONEST]}
    points = list(_climb(came))
    assert [point.is_honest for point in points] == [True, True, False]


def _climb(came):
    def at(rate):
        return replace(came[rate].pop(0), asked_per_s=rate, events_per_s=rate)

    return own_error._ladder(lambda _: None, tuple(came), at, lambda point: point.events_per_s)


def test_a_limit_says_whether_the_client_or_the_simulator_ended_it():
    slow = replace(HONEST, asked_per_s=400.0, events_per_s=200.0)
    assert own_error._limit((HONEST, LYING), lambda point: point.events_per_s) == (100.0, "client")
    assert own_error._limit((HONEST, slow), lambda point: point.events_per_s) == (200.0, "simulator")
    assert own_error._limit((HONEST,), lambda point: point.events_per_s) == (100.0, None)
    assert own_error._limit((LYING,), lambda point: point.events_per_s) == (None, "client")


def test_the_finding_of_another_machine_or_version_is_not_quoted(cache):
    here = environment()
    known_error.keep({"at": "2026-11-30T10:00:00Z", "streams": [], "environment": here})
    assert known_error.known(here) == {"at": "2026-11-30T10:00:00Z", "streams": []}
    assert known_error.known({**here, "kernel": "another"}) is None
    cache.write_text(json.dumps({**json.loads(cache.read_text()), "version": 99}))
    assert known_error.known(here) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "environment": null}'])
def test_a_damaged_finding_is_as_none(cache, text):
    cache.parent.mkdir()
    cache.write_text(text)
    assert environment()["selftest"] is None


def test_where_nothing_can_be_written_the_selftest_is_not_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert known_error.keep({"at": "now"}) is None


def test_a_run_of_more_streams_than_were_tested_quotes_nothing(few):
    run = vp.bench(sim=True, max_concurrency=6, num_prompts=12, output_len=4)
    known = {"at": "2026-11-30T10:00:00Z", "streams": [{"streams": 1, "ttft_ms": {}, "itl_ms": {}}]}
    recording = replace(run.recording, environment={**run.recording.environment, "selftest": known})
    assert summarize(recording)["client"]["machine_adds"] is None
