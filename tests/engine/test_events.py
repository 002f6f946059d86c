"""Events kept with what they say, bodies of other formats, requests without ids."""

import contextlib
import json

import numpy as np
import pytest
from runs import config, drain, feed

from vllmperf import _engine
from vllmperf.sim import Server

FLAG = {name: 1 << bit for bit, name in enumerate(_engine.EVENT_FLAGS)}
EVENT = np.dtype(_engine.EVENT_DTYPE)
RECORD = np.dtype(_engine.RECORD_DTYPE)


BODY = json.dumps(
    {
        "model": "sim",
        "prompt": "a b",
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
).encode()


def engine_config_for(server, **changes):
    changes = {"headers": ["Content-Type: application/json"], **changes}
    return config(server.url, **changes, url=server.url + "/v1/completions")


def batches(settings, n):
    with contextlib.closing(_engine.Engine(settings)) as engine:
        feed(engine, n, BODY)
        engine.feed_end()
        engine.start()
        return drain(engine)


def test_each_event_says_what_it_carries_and_the_text_ends_in_the_usage_event():
    with Server(ttft_ms=1, itl_ms=1) as server:
        found = batches(engine_config_for(server, keep_text=True, keep_events=True), 2)
    records = np.concatenate([np.frombuffer(batch["records"], RECORD) for batch in found])
    events = np.concatenate([np.frombuffer(batch["events"], EVENT) for batch in found])
    assert records["events"].tolist() == [5, 5]
    assert len(events) == 10
    flags = events["flags"][:5]
    assert all(flags[:3] & FLAG["choices"])
    assert all(flags[:3] & FLAG["text"])
    assert flags[2] & FLAG["finish"]
    assert flags[3] == FLAG["usage"]
    assert flags[4] == FLAG["done"]
    assert (np.diff(events["arrived_ns"][:5]) >= 0).all()
    text = found[0]["bytes"][: records["text_len"][0]].decode()
    answer, _, last = text.partition("\0")
    assert sum(events["text_bytes"][:5]) >= len(answer) > 0
    assert json.loads(last)["usage"]["completion_tokens"] == 3


def test_nothing_is_kept_unless_it_is_asked_for():
    with Server(ttft_ms=1, itl_ms=1) as server:
        found = batches(engine_config_for(server), 3)
    assert all(batch["events"] == b"" for batch in found)


def test_an_error_and_a_broken_event_are_marked():
    for fault, flag in (("stream_error:after=1", "error"), ("malformed:after=1", "malformed")):
        with Server(ttft_ms=1, itl_ms=1, faults=[fault]) as server:
            found = batches(engine_config_for(server, keep_events=True), 1)
        events = np.frombuffer(found[0]["events"], EVENT)
        assert any(events["flags"] & FLAG[flag]), fault


def test_raw_bodies_are_kept_whole_with_a_stamp_an_event_and_count_as_done():
    with Server(ttft_ms=1, itl_ms=1, faults=["no_done", "no_finish"]) as server:
        config = engine_config_for(server, keep_text=True, keep_events=True, raw_bodies=True)
        found = batches(config, 1)
    (record,) = np.frombuffer(found[0]["records"], RECORD)
    lines = found[0]["bytes"][: record["text_len"]].decode().splitlines()
    assert record["outcome"] == _engine.OUTCOMES.index("completed")
    assert len(lines) == record["events"] == len(np.frombuffer(found[0]["events"], EVENT))
    assert all("choices" in json.loads(line) for line in lines)


@pytest.mark.parametrize("without", [False, True])
def test_request_ids_can_be_left_out(without, tmp_path):
    truth = tmp_path / "truth.jsonl"
    with Server(ttft_ms=1, itl_ms=1, truth=str(truth)) as server:
        batches(engine_config_for(server, request_id_prefix="mine-", no_request_ids=without), 1)
    assert ("mine-0" in truth.read_text()) is not without
