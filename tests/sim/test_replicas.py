"""Several engines behind one endpoint: who answers, what each cache holds, what each says of itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from batching import at_once, read
from prometheus_client.parser import text_string_to_metric_families
from wire import Reply, Wire, ask, complete, request

from vllmperf.errors import UsageError
from vllmperf.sim import Server

RECORDED = Path(__file__).parent / "recorded"
FAST = {"alpha_ms": 1, "beta_ms": 0, "delta_ms": 0, "block_size": 4, "num_gpu_blocks": 2000}


def words(name: str, n: int = 16) -> str:
    """A text of n tokens for the simulator, of which no other name's text has any."""
    return " ".join(f"{name}{i}" for i in range(n))


def one_by_one(server: Server, prompts: list[str], sessions: list[str] | None = None) -> list[Reply]:
    headers: list[dict[str, str]] = [{"x-session-id": name} for name in sessions or []] or [{}] * len(prompts)
    return [
        complete(server.port, prompt=prompt, max_tokens=2, headers=header)
        for prompt, header in zip(prompts, headers, strict=True)
    ]


def served(
    path: Path, prompts: list[str], sessions: list[str] | None = None, **settings: Any
) -> list[dict[str, Any]]:
    """Truth of the requests, which come one after the other."""
    with Server(**{**FAST, "truth": path, **settings}) as server:
        one_by_one(server, prompts, sessions)
    return read(path).requests


def wait_until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.001)


def held(path: Path, prompts: list[str], **settings: Any) -> list[int]:
    """The replicas, of two, that get requests of which none ends."""
    with (
        Server(**{**FAST, "alpha_ms": 1e6}, truth=path, replicas=2, **settings) as server,
        ExitStack() as wires,
    ):
        for number, prompt in enumerate(prompts, start=1):
            wire = wires.enter_context(Wire(server.port))
            wire.send(request("POST", "/v1/completions", {"prompt": prompt}))
            wait_until(lambda number=number: server.stats["requests"] == number)
        server.stop()
    return [row["replica"] for row in read(path).requests]


def metrics(server: Server) -> dict[tuple[str, str], float]:
    """Samples without further labels, by name and replica."""
    text = ask(server.port, "GET", "/metrics").body.decode()
    return {
        (sample.name, sample.labels.get("ReplicaId", sample.labels.get("engine", ""))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not {"le", "finished_reason", "source", "reason", "sleep_state"} & sample.labels.keys()
    }


def test_several_replicas_are_engines_that_batch() -> None:
    assert Server().settings["mode"] == "fixed"
    assert Server(replicas=2).settings["mode"] == "batching"
    assert Server(replicas=2, mode="fixed").settings["mode"] == "fixed"


@pytest.mark.parametrize("mode", ["fixed", "batching"])
def test_round_robin_gives_each_replica_its_turn(tmp_path: Path, mode: str) -> None:
    rows = served(tmp_path / "truth", [words("a")] * 6, replicas=3, mode=mode, ttft_ms=1, itl_ms=0)
    assert [row["replica"] for row in rows] == [0, 1, 2, 0, 1, 2]


def test_each_replica_has_a_cache_of_its_own(tmp_path: Path) -> None:
    rows = served(tmp_path / "truth", [words("a")] * 5, replicas=2)
    assert [row["cached_tokens"] for row in rows] == [0, 0, 12, 12, 12]


def test_prefix_aware_keeps_a_prefix_on_one_replica(tmp_path: Path) -> None:
    names = "abcd"
    prompts = [f"{words(name)} {i}" for i in range(4) for name in names]
    rows = served(tmp_path / "truth", prompts, replicas=4, router="prefix_aware")
    homes = [{row["replica"] for row in rows[i::4]} for i in range(4)]
    assert sorted(map(tuple, homes)) == [(0,), (1,), (2,), (3,)]
    assert all(row["cached_tokens"] == (16 if i >= 4 else 0) for i, row in enumerate(rows))


def test_prefix_aware_finds_more_in_the_caches_than_pow2(tmp_path: Path) -> None:
    prompts = [f"{words(f'g{i * 7 % 12}', 40)} {i}" for i in range(48)]
    cached = {
        router: sum(
            row["cached_tokens"] for row in served(tmp_path / router, prompts, replicas=4, router=router)
        )
        for router in ("prefix_aware", "pow2")
    }
    assert cached["prefix_aware"] == (48 - 12) * 40 > cached["pow2"] > 0


def test_prefix_aware_balances_when_one_replica_has_too_many(tmp_path: Path) -> None:
    chosen = held(tmp_path / "truth", [words("a")] * 8, router="prefix_aware", imbalanced_threshold=2)
    assert chosen == [0, 0, 0, 1, 1, 1, 0, 1]


def test_token_ids_have_no_text_for_a_router(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    with Server(**FAST, replicas=4, router="prefix_aware", truth=path) as server:
        for _ in range(12):
            complete(server.port, prompt=list(range(16)), max_tokens=1)
    assert len({row["replica"] for row in read(path).requests}) > 1


def test_a_session_stays_on_its_replica(tmp_path: Path) -> None:
    sessions = [f"user-{i % 8}" for i in range(24)]
    rows = served(tmp_path / "truth", [words("a")] * 24, sessions, replicas=4, router="session")
    homes = {name: {row["replica"] for row in rows[i::8]} for i, name in enumerate(sessions[:8])}
    assert all(len(home) == 1 for home in homes.values())
    assert len(set().union(*homes.values())) > 1


@pytest.mark.parametrize("router", ["pow2", "least_loaded"])
def test_load_is_spread_by_ongoing_requests(tmp_path: Path, router: str) -> None:
    chosen = held(tmp_path / "truth", [words("a")] * 10, router=router)
    assert all(sorted(chosen[i : i + 2]) == [0, 1] for i in range(0, 10, 2))


def test_the_same_seed_routes_the_same(tmp_path: Path) -> None:
    def chosen(name: str, seed: int) -> list[int]:
        rows = served(tmp_path / name, ["a"] * 30, replicas=4, router="pow2", seed=seed)
        return [row["replica"] for row in rows]

    assert chosen("one", 1) == chosen("again", 1) != chosen("other", 2)


def test_replicas_step_on_their_own(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    with Server(**{**FAST, "beta_ms": 5, "alpha_ms": 5}, replicas=2, truth=path) as server:
        at_once([lambda i=i: complete(server.port, prompt=f"{i}", max_tokens=20) for i in range(4)])
    truth = read(path)
    assert {step["replica"] for step in truth.steps} == {0, 1}
    assert max(step["decodes"] for step in truth.steps) <= 2
    for row in truth.requests:
        ends = {step["end_mono_ns"] for step in truth.steps if step["replica"] == row["replica"]}
        assert set(row["planned_mono_ns"]) <= ends


def test_counters_are_those_of_each_replica(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    with Server(**FAST, replicas=2, router="prefix_aware", truth=path) as server:
        one_by_one(server, [words("a"), words("b"), words("a"), words("a", 30)])
        seen = metrics(server)
        steps = server.stats["steps"]
    rows = read(path).requests
    for number in (0, 1):
        mine = [row for row in rows if row["replica"] == number]
        assert seen["vllm:prefix_cache_queries_total", str(number)] == sum(
            row["prompt_tokens"] for row in mine
        )
        assert seen["vllm:prefix_cache_hits_total", str(number)] == sum(row["cached_tokens"] for row in mine)
        assert seen["vllm:generation_tokens_total", str(number)] == 2 * len(mine)
        assert seen["vllm:time_to_first_token_seconds_count", str(number)] == len(mine)
    assert steps == len(read(path).steps)


def test_a_request_that_was_refused_has_no_replica(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    with Server(**FAST, replicas=2, truth=path) as server:
        complete(server.port, max_tokens=0)
        complete(server.port, max_tokens=1)
    assert [row["replica"] for row in read(path).requests] == [None, 0]


# ---- the form of Ray ----


def test_metrics_of_ray_name_the_replica_as_rays_do() -> None:
    with Server(**FAST, replicas=2, metrics="ray") as server:
        one_by_one(server, [words("a"), words("b")])
        text = ask(server.port, "GET", "/metrics").body.decode()
    line = next(line for line in text.splitlines() if line.startswith("ray_vllm_prompt_tokens_total"))
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
    assert labels["ReplicaId"] == "sim00000"
    assert re.fullmatch("[0-9a-f]{56}", labels["WorkerId"])
    assert (labels["engine"], labels["model_name"]) == ("0", "sim")
    assert "vllm:" not in text
    assert "_created" not in text


def families(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and names of labels of each family."""
    return {
        family.name: (
            family.type,
            frozenset(name for one in family.samples for name in one.labels if name != "le"),
        )
        for family in text_string_to_metric_families(text)
    }


def test_metrics_of_ray_have_the_names_and_labels_of_a_recorded_page() -> None:
    recorded = families((RECORDED / "ray_2.60_metrics.txt").read_text())
    with Server(**FAST, replicas=2, metrics="ray") as server:
        one_by_one(server, [words("a"), words("b")])
        ours = families(ask(server.port, "GET", "/metrics").body.decode())
    ours.pop("ray_vllm_num_preemptions")  # the recorded engines had none, and so no counter of them
    assert ours == {name: recorded[name] for name in ours}


def test_rays_sums_are_those_of_the_middles_of_buckets() -> None:
    with Server(**FAST, metrics="ray", mode="batching") as server:
        complete(server.port, prompt=[1] * 5, max_tokens=4)
        complete(server.port, prompt=[1] * 5000, max_tokens=4)
        seen = metrics(server)
    assert seen["ray_vllm_request_prompt_tokens_sum", "sim00000"] == 3.5 + 2 * 2000
    assert seen["ray_vllm_prompt_tokens_total", "sim00000"] == 5005


def test_rays_series_are_absent_before_the_first_request_and_gauges_when_idle() -> None:
    with Server(**FAST, replicas=2, metrics="ray") as server:
        assert not metrics(server)
        complete(server.port, prompt=[1] * 5, max_tokens=4)
        seen = metrics(server)
    assert ("ray_vllm_prompt_tokens_total", "sim00000") in seen
    assert ("ray_vllm_prompt_tokens_total", "sim00001") not in seen
    assert not any(name == "ray_vllm_num_requests_running" for name, _ in seen)


# ---- the cache ----


def test_a_reset_cache_knows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    with Server(**FAST, replicas=2, truth=path) as server:
        one_by_one(server, [words("a")] * 4)
        reply = ask(server.port, "POST", "/reset_prefix_cache")
        one_by_one(server, [words("a")] * 2)
        hits = metrics(server)["vllm:prefix_cache_hits_total", "0"]
    assert (reply.status, reply.body) == (200, b"")
    assert [row["cached_tokens"] for row in read(path).requests] == [0, 0, 12, 12, 0, 0]
    assert hits == 12


def test_an_engine_in_use_keeps_its_cache(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    with Server(**FAST, mode="batching", truth=path) as server:
        with Wire(server.port) as wire:
            wire.send(request("POST", "/v1/completions", {"prompt": words("a"), "max_tokens": 7000}))
            wait_until(lambda: server.stats["steps"] >= 2)
            assert ask(server.port, "POST", "/reset_prefix_cache").status == 200
        complete(server.port, prompt=words("a"), max_tokens=1)
    assert read(path).requests[1]["cached_tokens"] == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 0}, "between 1 and 64"),
        ({"router": "random"}, "one of round_robin, pow2, prefix_aware, least_loaded, session"),
        ({"metrics": "v0"}, "one of vllm, ray"),
        ({"imbalanced_threshold": "much"}, "a number, or inf"),
    ],
)
def test_settings_of_replicas_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Server(**settings)
