"""A hit rate of the server's prefix cache: asked for, allowed by theory, seen, and held against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vllmperf as vp
from vllmperf.datasets import Prompt
from vllmperf.datasets.reuse import common_beginnings, reuse, tokens_of
from vllmperf.errors import UsageError
from vllmperf.loadgen.bodies import bodies
from vllmperf.plan import Plan
from vllmperf.report.content import _prefix_cache_words
from vllmperf.scrape.block_size import block_size
from vllmperf.sim import Server

ENGINE: dict[str, Any] = {"mode": "batching", "alpha_ms": 0.5, "beta_ms": 0, "delta_ms": 0}
LOAD: dict[str, Any] = {"num_prompts": 30, "max_concurrency": 4, "output_len": 3}


def hit_rate(server: Server, **settings: Any) -> tuple[dict[str, Any], vp.Run]:
    run = vp.bench(server, **{**LOAD, **settings})
    found = run.summary["prefix_cache"]
    assert found is not None
    return dict(found), run


def reasons(run: vp.Run) -> list[str]:
    return [
        found["reason"] for found in run.summary["verdict"]["findings"] if found["name"] == "prefix_hit_rate"
    ]


# ---- theory ----


def test_whole_blocks_are_found_again_but_never_the_last_token() -> None:
    a, b = list(range(40)), [*range(20), *range(100, 120)]
    assert reuse([a, b], 16) == (16, 80)
    assert reuse([a, a], 16) == (32, 80)
    assert reuse([a[:32], a[:32]], 16) == (16, 64)
    assert reuse([b], 16, before=[a[:15]]) == (0, 40)
    assert reuse([], 16).rate is None


@pytest.mark.parametrize("block", [4, 16])
def test_the_rate_in_theory_is_what_an_engine_finds(tmp_path: Path, block: int) -> None:
    settings: dict[str, Any] = {
        "dataset_name": "prefix_repetition",
        "prefix_repetition_zipf": 1.2,
        "prefix_len": 50,
    }
    path = tmp_path / "truth"
    with Server(**ENGINE, block_size=block, num_gpu_blocks=9000, truth=path) as server:
        vp.bench(server, **LOAD | {"max_concurrency": 1}, **settings)
        plan = Plan.of(base_url=server.url, **LOAD, **settings)
    prompts = [json.loads(body.data)["prompt"] for body in bodies(plan, "sim")]
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if "step" not in row]
    told = (sum(row["cached_tokens"] for row in rows), sum(row["prompt_tokens"] for row in rows))
    assert reuse(prompts, block) == told


def test_common_beginnings_are_those_of_prompts_that_share_a_block() -> None:
    texts = ["a b c d X y", "a b c d Z", "e f g h i", "e f", "a b c d X q"]
    prompts = [Prompt.of(text, 5, None) for text in texts]
    found = common_beginnings(prompts, [tokens_of(prompt, None) for prompt in prompts], 2)
    assert [json.loads(prompt.json) for prompt in found] == ["a b c d ", "e f"]
    assert {prompt.output_len for prompt in found} == {1}


def test_the_size_of_a_block_is_what_the_page_says() -> None:
    with Server(**ENGINE, block_size=32) as server:
        from vllmperf.target import Client

        page = Client(server.url).get("/metrics").decode()
    assert block_size(page) == 32
    assert block_size("vllm:num_requests_running 3\n") is None


# ---- a run ----


@pytest.mark.parametrize("dataset", ["random", "prefix_repetition"])
@pytest.mark.parametrize("asked", [0, 0.3, 0.6, 0.9])
def test_the_server_finds_what_was_asked_for(dataset: str, asked: float) -> None:
    with Server(**ENGINE) as server:
        found, run = hit_rate(server, dataset_name=dataset, prefix_hit_rate=asked)
    assert found["asked"] == asked
    assert abs(found["allowed"] - asked) < 0.02
    assert (found["seen"], found["seen_by"]) == (found["allowed"], "counters")
    assert not reasons(run)
    assert run.summary["tokens"]["prompt"] == 30 * (1024 if dataset == "random" else 512)


def test_chats_have_a_hit_rate_too() -> None:
    with Server(**ENGINE) as server:
        found, run = hit_rate(server, backend="openai-chat", prefix_hit_rate=0.6)
    assert abs(found["seen"] - 0.6) < 0.03
    assert not reasons(run)


def test_what_was_in_the_cache_before_does_not_count() -> None:
    with Server(**ENGINE) as server:
        first = hit_rate(server, prefix_hit_rate=0.3)[0]
        again = hit_rate(server, prefix_hit_rate=0.3)[0]
    assert first["seen"] == again["seen"] == again["allowed"]
    assert again["was_reset"]


def test_explain_is_not_surprised_by_hits_that_were_asked_for() -> None:
    with Server(**ENGINE) as server:
        found, run = hit_rate(server, prefix_hit_rate=0.6)
    assert found["seen"] > 0.5
    assert "prefix_cache_hits" not in {one.name for one in run.explain()}


def test_replicas_that_do_not_share_their_caches_are_seen() -> None:
    settings = {"dataset_name": "prefix_repetition", "prefix_hit_rate": 0.6}
    with Server(**ENGINE, replicas=4) as server:
        found, run = hit_rate(server, **settings)
    assert found["seen"] < 0.5
    (reason,) = reasons(run)
    assert "another replica" in reason


def test_a_cache_that_is_off_is_seen() -> None:
    with Server(**ENGINE, enable_prefix_caching=False) as server:
        found, run = hit_rate(server, prefix_hit_rate=0.6)
    assert found["seen"] == 0
    assert "the cache is off" in reasons(run)[0]


def test_a_rate_that_prompts_do_not_allow_is_said() -> None:
    with Server(**ENGINE, block_size=256, num_gpu_blocks=600) as server:
        found, run = hit_rate(server, dataset_name="prefix_repetition", prefix_hit_rate=0.9)
    assert (found["block_size"], found["allowed"]) == (256, 0.5)
    assert "blocks are whole" in reasons(run)[0]


def test_the_prompts_are_as_long_as_without() -> None:
    plain = Plan.of(base_url="http://x", input_len=200)
    shaped = plain.replace(prefix_hit_rate=0.5)
    assert plain.workload.lengths[::2] == (200, 0)
    assert shaped.workload.lengths[::2] == (104, 96)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefix_hit_rate": 1.0}, "below 1"),
        ({"prefix_hit_rate": -0.1}, "at least 0"),
        ({"prefix_hit_rate": 0.5, "prefix_len": 10}, "leave prefix_len out"),
        (
            {"prefix_hit_rate": 0.5, "dataset_name": "custom", "dataset_path": "x"},
            "random, prefix_repetition",
        ),
    ],
)
def test_a_rate_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.of(base_url="http://x", **settings)


# ---- traces ----


def trace(path: Path, block: int, lengths: list[tuple[int, list[int]]]) -> dict[str, Any]:
    rows = [
        {"timestamp": 5 * number, "input_length": length, "output_length": 2, "hash_ids": ids}
        for number, (length, ids) in enumerate(lengths)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"dataset_name": "timed_trace", "dataset_path": str(path), "num_prompts": len(rows)}
    return {**given, "timed_trace_chunk_hash_size": block, "max_concurrency": 1}


def test_a_trace_allows_what_its_hashes_say_and_an_engine_finds_that(tmp_path: Path) -> None:
    rows = [(70, [1, 2, 3]), (90, [1, 2, 4]), (64, [1, 2]), (96, [1, 5, 3]), (40, [9, 2]), (96, [1, 2, 4])]
    with Server(**ENGINE, block_size=32) as server:
        run = vp.bench(server, **trace(tmp_path / "trace.jsonl", 32, rows))
    found = run.summary["prefix_cache"]
    assert found is not None
    assert found["asked"] is None
    assert found["allowed"] == (64 + 32 + 32 + 64) / (70 + 90 + 64 + 96 + 40 + 96)
    assert (found["seen"], found["seen_by"]) == (found["allowed"], "counters")
    assert not reasons(run)


# ---- what is said ----


def test_the_report_has_the_three_rates_side_by_side() -> None:
    found = {"asked": 0.6, "allowed": 0.59375, "seen": 0.252, "seen_by": "usage"}
    assert (
        _prefix_cache_words(found)
        == "60 % asked, the prompts allow 59.4 %, seen 25.2 % (by the usage of its answers)"
    )
    assert _prefix_cache_words({**found, "seen": None, "seen_by": None}).endswith("59.4 %, not seen")
    assert _prefix_cache_words({**found, "asked": None}).startswith("the prompts allow 59.4 %, seen")
    assert _prefix_cache_words(None) == ""


def test_without_a_page_the_usage_of_the_answers_counts() -> None:
    with Server(**ENGINE, enable_prompt_tokens_details=True) as server:
        run = vp.bench(server, **LOAD, prefix_hit_rate=0.6, server_metrics=False)
    found = run.summary["prefix_cache"]
    assert found is not None
    assert (found["seen"], found["seen_by"]) == (found["allowed"], "usage")
