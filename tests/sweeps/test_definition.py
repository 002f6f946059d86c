"""Sweep files: axes, set-ups, order, and what is wrong with them."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import yaml

from vllmperf.errors import UsageError
from vllmperf.sweeps.definition import defined, definition_of
from vllmperf.sweeps.points import points

SIM = {"name": "a", "simulator": {"ttft_ms": 1}}


def order(**given: object) -> list[tuple[str, str, int]]:
    found = definition_of({"setups": [SIM], **given})
    return [(point.setup.name, point.load_label, point.repeat) for point in points(found)]


def servers(*names: str) -> list[dict[str, object]]:
    return [{"name": name, "simulator": {}} for name in names]


def test_axes_make_a_grid_or_go_together():
    axes = {"request_rate": [1, 2], "output_len": [8, 16]}
    assert len(order(axes=axes)) == 4
    zipped = order(axes=axes, combine="zip", order="written")
    assert [load for _, load, _ in zipped] == ["request_rate=1 output_len=8", "request_rate=2 output_len=16"]


def test_points_are_loads_as_they_were_written():
    listed = order(points=[{"rate": 3}, {"concurrency": 2, "output_len": 4}], order="written")
    assert [load for _, load, _ in listed] == ["request_rate=3", "max_concurrency=2 output_len=4"]


def test_a_set_up_with_axes_is_several():
    given = {"name": "b", "command": "serve --port {port} -tp {tp}", "axes": {"tp": [1, 2]}}
    found = definition_of({"setups": [given]}).setups
    assert [(one.name, one.how.to_dict()["command"]) for one in found] == [
        ("b tp=1", "serve --port {port} -tp 1"),
        ("b tp=2", "serve --port {port} -tp 2"),
    ]
    simulated = {"name": "s", "simulator": {"itl_ms": 1}, "axes": {"ttft_ms": [5, 9]}}
    both = definition_of({"setups": [simulated]}).setups
    assert [one.how.to_dict()["simulator"] for one in both] == [
        {"itl_ms": 1, "ttft_ms": 5},
        {"itl_ms": 1, "ttft_ms": 9},
    ]


def test_each_repeat_measures_everything_once_in_an_order_of_its_own():
    blocks = [
        [
            (setup, load)
            for setup, load, repeat in order(setups=servers(*"abcd"), repeat=6, axes=AXES)
            if repeat == k
        ]
        for k in range(1, 7)
    ]
    assert all(len(block) == 12 and set(block) == set(blocks[0]) for block in blocks)
    assert len({tuple(block) for block in blocks}) == 6


AXES = {"max_concurrency": [1, 2, 3]}


def test_a_set_up_is_started_once_in_a_repeat_unless_each_point_restarts_it():
    def starts(**given: object) -> int:
        rows = order(setups=servers("a", "b"), axes=AXES, repeat=20, **given)
        return sum(one[0] != two[0] or one[2] != two[2] for one, two in itertools.pairwise(rows)) + 1

    assert starts() == 40
    assert starts(reset="restart") > 60


def test_more_repeats_leave_the_earlier_ones_as_they_are():
    few, many = (order(setups=servers("a", "b", "c"), axes=AXES, repeat=k) for k in (2, 5))
    assert many[: len(few)] == few


def test_repeats_have_the_same_seeds_at_every_set_up():
    found = points(definition_of({"setups": servers("a", "b"), "repeat": 2, "seed": 7}))
    assert sorted((point.seed, point.setup.name) for point in found) == [
        (7, "a"),
        (7, "b"),
        (8, "a"),
        (8, "b"),
    ]


def test_a_file_in_yaml_or_json_is_the_same_as_the_dictionary(tmp_path):
    given = {"setups": [SIM], "axes": {"request_rate": [math.inf, 2]}, "plan": {"num_prompts": 5}}
    for name, write in (("s.yaml", yaml.safe_dump), ("s.json", json.dumps)):
        (tmp_path / name).write_text(write(given))
        assert definition_of(tmp_path / name) == definition_of(given)


def test_what_is_written_out_reads_as_the_same_sweep():
    given = {
        "setups": [SIM, {"url": "http://127.0.0.1:9", "name": "u", "ready_timeout": "5m", "metrics": []}],
        "axes": {"request_rate": ["inf", 2]},
        "repeat": 3,
    }
    found = definition_of(given)
    assert defined(json.loads(json.dumps(found.to_dict()))) == found


def test_secrets_are_not_written_out():
    given = {
        "setups": [{"command": "serve {port}", "env": {"HF_TOKEN": "hush", "OMP_NUM_THREADS": 2}}],
        "plan": {"api_key": "hush", "tokenizer": "folder", "headers": {"x-api-key": "hush", "x-id": "seen"}},
    }
    written = json.dumps(definition_of(given).to_dict())
    assert "hush" not in written
    assert '"folder"' in written
    assert '"seen"' in written
    assert '"OMP_NUM_THREADS": "2"' in written


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "a sweep needs setups"),
        ({"setups": []}, "setups must be a list of set-ups"),
        (
            {"setups": [{"name": "x"}]},
            "set-up x: it must have one of command, ray_serve, kubernetes, helm, simulator, url",
        ),
        ({"setups": [{**SIM, "url": "http://a"}]}, "set-up a: it must have one of"),
        ({"setups": [SIM, SIM]}, "two set-ups are called a"),
        (
            {"setups": [{**SIM, "name": "a b"}, {**SIM, "name": "a_b"}]},
            "a b and a_b would have the same files",
        ),
        ({"setups": [{"command": "a", "base_url": "127.0.0.1:{port}"}]}, "base_url must be http://HOST:PORT"),
        ({"setups": [{"command": "a", "base_url": "http://127.0.0.1:99999"}]}, "base_url"),
        ({"setups": [{**SIM, "name": " "}]}, "name must be a text"),
        ({"setups": [{**SIM, "url": "http://a"}]}, "and it has simulator and url"),
        ({"setups": [{**SIM, "axes": {"ttft_ms": [5, 5]}}]}, "set-up a: axes give the same set-up twice"),
        ({"setups": [{**SIM, "axes": {"ttft": [5, 6]}}]}, "set-up a: the simulator has no setting"),
        ({"setups": [{**SIM, "redy_timeout": 3}]}, "did you mean ready_timeout?"),
        ({"setups": [{"command": "vllm serve M"}]}, "write {port} for a free port, or give base_url"),
        ({"setups": [{"command": "x {port}", "axes": {"tp": [1]}}]}, "write {tp} where its value goes"),
        ({"setups": [{"simulator": {"ttft": 3}}]}, "the simulator has no setting 'ttft'"),
        ({"setups": [SIM], "axes": {"request_rte": [1]}}, "did you mean request_rate?"),
        ({"setups": [SIM], "axes": {"request_rate": 1}}, "axes request_rate must be a list of values"),
        ({"setups": [SIM], "axes": {"request_rate": [0]}}, "request_rate must be above 0"),
        ({"setups": [SIM], "axes": {"request_rate": [1, 1]}}, "the same load twice"),
        ({"setups": [SIM], "axes": {"seed": [1, 2]}}, "cannot have seed: the sweep decides it"),
        ({"setups": [SIM], "axes": {"a": [1]}, "points": [{}]}, "leave one out"),
        (
            {"setups": [SIM], "combine": "zip", "axes": {"output_len": [1], "input_len": [1, 2]}},
            "of one length",
        ),
        ({"setups": [{**SIM, "plan": {"model": "m"}}], "axes": {"model": ["n"]}}, "set-up a decides model"),
        ({"setups": [SIM], "repeats": 3}, "did you mean repeat?"),
        ({"setups": [SIM], "reset": "caches"}, "reset must be one of none, cache, restart, salt"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given, words):
    with pytest.raises(UsageError, match=r".") as error:
        definition_of(given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


ROUTERS = [{"name": name, "simulator": {"replicas": 2, "router": name}} for name in ("pow2", "prefix_aware")]


def test_a_router_that_reads_texts_gets_texts_and_so_do_the_set_ups_beside_it():
    found = definition_of({"setups": ROUTERS, "axes": {"max_concurrency": [1, 2]}})
    assert found.plan["text_prompts"] is True
    assert "text_prompts" not in definition_of({"setups": ROUTERS[:1]}).plan
    assert definition_of({"setups": ROUTERS, "plan": {"text_prompts": False}}).plan["text_prompts"] is False


def test_an_error_of_a_file_names_the_file(tmp_path):
    (tmp_path / "s.yaml").write_text("setups: [{simulator: {}, nam: x}]")
    with pytest.raises(UsageError, match=r"s\.yaml: set-up 1: "):
        definition_of(tmp_path / "s.yaml")
    (tmp_path / "t.yaml").write_text("just words")
    with pytest.raises(UsageError, match="is no sweep"):
        definition_of(tmp_path / "t.yaml")
