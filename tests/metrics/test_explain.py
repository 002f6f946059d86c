"""`vllmperf explain`: each detector speaks of its pattern and of no other, and an ordinary run explains nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import Request, histogram, steady, write_run

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.metrics.advice import OF_RULES
from vllmperf.metrics.patterns import PATTERNS
from vllmperf.metrics.verdict import RULES
from vllmperf.place import place_of
from vllmperf.report.explain import NOTHING, lines
from vllmperf.run import Run

PLAN = {"base_url": "http://127.0.0.1:8000", "max_concurrency": 2, "num_prompts": 400, "output_len": 20}


def run_of(tmp_path: Path, requests: Sequence[Request], **more: Any) -> Run:
    return Run(write_run(tmp_path / "a.vllmperf", requests, plan=PLAN | more.pop("plan", {}), **more))


def patterns(run: Run) -> list[str]:
    return [one.name for one in run.explain() if one.kind == "pattern"]


def only(run: Run, name: str) -> Any:
    assert patterns(run) == [name]
    return next(one for one in run.explain() if one.name == name)


# ---- runs ----


def played(
    count: int = 300,
    slots: int = 8,
    ttft_ms: Callable[[int], float] = lambda i: 50.0 + i % 7,
    gap_ms: Callable[[int, float], float] = lambda streams, at_ms: 10.0,  # noqa: ARG005
    tokens: Callable[[int], int] = lambda i: 20 + i % 11,
    in_flight: int | None = None,
) -> list[Request]:
    """A server step by step: each stream gets a token a step, and a step takes as long as the number of streams and the moment
    say. A closed loop of in_flight requests, of which `slots` get tokens at once."""
    in_flight = in_flight or slots
    at, sent, first, stamps, done = 0.0, {}, {}, {}, set[int]()
    waiting, running, following = [], {}, 0
    while len(done) < count:
        while len(waiting) + len(running) < in_flight and following < count:
            sent[following] = at + 0.3 * (following % 5)
            waiting.append(following)
            following += 1
        for i in [i for i in waiting if len(running) < slots][: slots - len(running)]:
            waiting.remove(i)
            running[i] = max(at, sent[i]) + ttft_ms(i)
        at += gap_ms(sum(ready <= at for ready in running.values()), at)
        for i in [i for i, ready in running.items() if ready <= at]:
            first.setdefault(i, at)
            stamps.setdefault(i, []).append(at)
            if len(stamps[i]) == tokens(i):
                done.add(i)
                del running[i]
    return [
        Request(i, sent=sent[i], ttft=first[i] - sent[i], gaps=tuple(np.diff(stamps[i]).tolist()))
        for i in range(count)
    ]


def random_stalls() -> Callable[[int, float], float]:
    """One step in 400 takes 150 ms."""
    rng = np.random.default_rng(3)
    return lambda _streams, _at: 150.0 if rng.random() < 1 / 400 else 10.0


ORDINARY: dict[str, Callable[[], list[Request]]] = {
    "steady": lambda: steady(200),
    "played": played,
    "lengths of all sizes": lambda: played(tokens=lambda i: 2 + (i * 37) % 90),
    "itl that rises with the batch": lambda: played(
        slots=16, gap_ms=lambda n, _: 7.0 + 0.3 * n, tokens=lambda i: 5 + (i * 7) % 60
    ),
    "ttft spread evenly": lambda: played(ttft_ms=lambda i: 20.0 + (i * 37) % 180),
    "ttft with a tail": lambda: played(ttft_ms=lambda i: float(np.random.default_rng(i).lognormal(4, 0.5))),
    "random stalls": lambda: played(count=600, gap_ms=random_stalls()),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_run_explains_nothing(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path, ORDINARY[name]())
    assert patterns(run) == []
    if name == "steady":
        assert list(lines(run.explain())) == [NOTHING]


# ---- patterns ----


def test_two_levels_of_ttft_are_seen_with_what_parts_them(tmp_path: Path) -> None:
    requests = played(ttft_ms=lambda i: (30.0 if i % 3 else 400.0) + i % 5)
    for one in requests:
        one.fields = {"prompt_tokens": 128 if one.index % 3 else 4096}
    found = only(run_of(tmp_path, requests), "bimodal_ttft")
    assert found.figures["slow_share"] == pytest.approx(1 / 3, abs=0.02)
    assert "longer prompts" in found.causes[0]


def test_fast_requests_from_the_cache_are_told_as_the_first_cause(tmp_path: Path) -> None:
    requests = played(ttft_ms=lambda i: (30.0 if i % 2 else 300.0) + i % 5)
    for one in requests:
        one.fields = {"cached_tokens": 16 if one.index % 2 else 0}
    run = run_of(tmp_path, requests)
    assert patterns(run) == ["bimodal_ttft", "prefix_cache_hits"]
    assert run.explain()[-2].causes[0].startswith("the prefix cache")


def test_stalls_at_a_period_are_told_with_period_and_length(tmp_path: Path) -> None:
    stall = {"next": 1000.0}

    def gap(_: int, at_ms: float) -> float:
        if at_ms < stall["next"]:
            return 10.0
        stall["next"] += 1000.0
        return 210.0

    run = run_of(tmp_path, played(count=600, gap_ms=gap))
    found = next(one for one in run.explain() if one.name == "periodic_stalls")
    assert found.figures["period_s"] == pytest.approx(1.0, rel=0.05)
    assert found.figures["length_ms"] == pytest.approx(210, rel=0.05)
    assert "all streams stop together" in found.causes[0]


def test_single_streams_that_stop_are_told_apart_from_the_server(tmp_path: Path) -> None:
    requests = [
        Request(
            i,
            sent=(i // 8) * 2000.0 + i % 8,
            gaps=[400.0 if i % 8 == 3 and g == 40 + i % 37 else 10.0 for g in range(100)],
        )
        for i in range(160)
    ]
    pages = {"request_success_total": 0.0, "num_preemptions_total": 0.0}
    server = {"before": pages, "after": {"request_success_total": 160.0, "num_preemptions_total": 20.0}}
    run = run_of(tmp_path, requests, counters={"server": server})
    assert patterns(run) == ["lone_stalls", "preemptions"]
    assert "20 preemptions" in next(one for one in run.explain() if one.name == "lone_stalls").causes[0]


def test_itl_that_jumps_at_a_batch_size_is_told_with_the_size(tmp_path: Path) -> None:
    requests = played(
        slots=12,
        count=400,
        gap_ms=lambda n, _: (8.0 if n <= 8 else 13.0) + 0.02 * n,
        tokens=lambda i: 5 + (i * 7) % 60,
    )
    found = only(run_of(tmp_path, requests), "itl_steps")
    assert (found.figures["up_to"], found.figures["from"]) == (8, 9)
    assert any("--max-concurrency 8 " in command for command in found.next)


def test_a_limit_of_sequences_is_seen_by_whoever_waits_for_a_place(tmp_path: Path) -> None:
    requests = played(slots=8, in_flight=16, count=300, ttft_ms=lambda i: 10.0 + i % 3)
    found = only(run_of(tmp_path, requests, plan={"max_concurrency": 16}), "first_token_plateau")
    assert found.figures["streams"] == 8
    assert found.figures["in_flight"] == pytest.approx(16, abs=1)


def test_a_starved_client_is_told_with_who_had_its_cores(tmp_path: Path) -> None:
    late = {"client_lag": histogram(*[30.0] * 100), "loop": histogram(0.1), "schedule_lag": histogram(0.1)}
    machine = {
        "throttled_periods_share": 0.7,
        "throttled_s": 5.0,
        "seconds": 8.0,
        "quota_cores": 0.2,
        "others_cores": 0.1,
    }
    run = run_of(tmp_path, steady(200), histograms=late, counters={"machine": machine})
    found = only(run, "client_bound")
    assert "control group stopped it in 70 %" in found.causes[0]
    assert {one.name for one in run.explain() if one.kind == "doubt"} >= {"client_lag", "throttled"}


def test_a_burst_that_a_late_client_made_blames_the_client_first(tmp_path: Path) -> None:
    late = {"client_lag": histogram(*[30.0] * 100), "loop": histogram(0.1), "schedule_lag": histogram(0.1)}
    requests = steady(200)
    for one in requests:
        one.shared = (1, 1, 1)
    for histograms, first in (
        (late, "this client read late (its lag is 300 %"),
        (None, "the server gathers"),
    ):
        run = run_of(tmp_path, requests, histograms=histograms)
        found = next(one for one in run.explain() if one.name == "coalesced")
        assert found.causes[0].startswith(first)
        run.path.unlink()


def test_a_front_end_where_requests_spend_long_is_the_first_cause_of_a_burst(tmp_path: Path) -> None:
    def page(n: int) -> dict[str, float]:
        times = {"time_to_first_token": 0.1, "request_queue_time": 0.0, "request_prefill_time": 0.01}
        sums = {f"{name}_seconds_sum": n * value for name, value in times.items()}
        return sums | {f"{name}_seconds_count": float(n) for name in times}

    requests = steady(200, first_read_chunks=3, reads=2)
    run = run_of(tmp_path, requests, counters={"server": {"before": page(0), "after": page(200)}})
    found = next(one for one in run.explain() if one.name == "held_back")
    assert found.causes[0].endswith("(a request spends 90 ms there, by its /metrics)")


def test_hits_of_the_prefix_cache_are_read_from_the_servers_counters(tmp_path: Path) -> None:
    before = {"request_success_total": 0.0, "prefix_cache_queries_total": 0.0, "prefix_cache_hits_total": 0.0}
    after = {
        "request_success_total": 200.0,
        "prefix_cache_queries_total": 3200.0,
        "prefix_cache_hits_total": 1600.0,
    }
    run = run_of(tmp_path, steady(200), counters={"server": {"before": before, "after": after}})
    assert only(run, "prefix_cache_hits").figures == {"share": 0.5}


# ---- tables and outputs ----


def test_every_rule_of_the_verdict_has_its_advice() -> None:
    assert OF_RULES.keys() == {rule.name for rule in RULES}
    assert all(advice.causes and advice.next for advice in OF_RULES.values())


ADVICE = (*OF_RULES.values(), *(one.advice for one in PATTERNS))
TARGETS: dict[str, dict[str, Any]] = {
    "simulator": {
        "base_url": None,
        "simulator": {"ttft_ms": "40", "faults": ["stall@p=0.1", "reset@at=3"], "graph_sizes": [1, 2]},
    },
    "loopback": {"base_url": "http://localhost:8000/v1", "api_key": "k"},
    "cluster": {"base_url": "http://vllm.prod.svc.cluster.local:8000"},
    "network": {
        "base_url": "https://llm.example.org/team/v1",
        "insecure": True,
        "headers": {"x-team": "a b"},
        "backend": "openai-chat",
        "chat_max_tokens": True,
    },
}
LOADS: tuple[dict[str, Any], ...] = (
    {"request_rate": 12, "duration": "30s", "burstiness": 0.5, "max_concurrency": 50},
    {"request_rate": 3, "arrival": "constant", "num_prompts": 40, "until": "e2el_mean±5%"},
    {"max_concurrency": 1, "num_prompts": 400, "num_warmups": 4, "fresh_connections": True},
    {"max_concurrency": 64, "num_prompts": 9, "dataset_name": "prefix_repetition", "prefix_hit_rate": 0.5},
    {"extra_body": {"stream_options": None, "a": "b c"}, "temperature": 0.5, "first_token_timeout": "5s"},
)


def described(target: dict[str, Any], load: dict[str, Any]) -> dict[str, Any]:
    from vllmperf.loadgen.task import Task

    return Task.of(target | load).described()


Commands = Callable[[Any], tuple[str, ...]]


def commands_of(tmp_path: Path, plan: dict[str, Any], state: str = "finished") -> Commands:
    """The commands of an advice, for a run of this plan."""
    from vllmperf.metrics.commands import commands

    run = run_of(tmp_path, steady(200), plan={"base_url": None, "max_concurrency": None} | plan)
    summary = {**run.summary, "state": state, "server": {"requests": 9}}
    run.path.unlink()
    figures = {"up_to": 8.0, "from": 9.0, "streams": 64.0}
    return lambda advice: commands(advice.next, summary, "a b.vllmperf", figures)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("place", TARGETS)
def test_every_command_of_every_advice_is_one_that_the_command_line_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, load: dict[str, Any]
) -> None:
    from vllmperf.cli import parser

    plan = described(TARGETS[place], load)
    of = commands_of(tmp_path, plan)
    for advice in ADVICE:
        found = of(advice)
        assert found
        for command in found:
            words = shlex.split(command)
            assert "{" not in command.replace('{"stream_options', "")
            assert words[0] != "vllmperf" or len([w for w in words if w == "--num-prompts"]) <= 1, command
            if words[:2] == ["vllmperf", "bench"]:
                assert main([*words[1:], "--print-plan"]) == 0, command
            elif words[0] == "vllmperf":
                assert parser(words[1]).parse_known_args(words[1:])[1] == [], command
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("place", TARGETS)
def test_the_same_again_is_the_same_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, load: dict[str, Any]
) -> None:
    from vllmperf.loadgen.task import Task
    from vllmperf.metrics.advice import SAME, Advice

    task = Task.of(TARGETS[place] | load)
    (command,) = commands_of(tmp_path, task.described())(Advice((), (), (SAME,)))
    assert main([*shlex.split(command)[1:], "--print-plan"]) == 0
    again = json.loads(capsys.readouterr().out)
    plan = task.plan.to_dict()
    lengths = {name: value for name, value in task.facts().items() if name in ("input_len", "output_len")}
    plan["workload"] |= lengths  # those of the data set are told as well
    plan["workload"]["prefix_len"] = again["workload"]["prefix_len"]
    assert again == plan


LIGHTER = (
    (LOADS[0], "--request-rate 6 "),
    (LOADS[1], "--request-rate 1.5 "),
    ({"max_concurrency": 64}, "--max-concurrency 32 "),
)


@pytest.mark.parametrize(("load", "flags"), LIGHTER)
def test_half_of_the_load_is_half_of_what_was_asked(tmp_path: Path, load: dict[str, Any], flags: str) -> None:
    from vllmperf.metrics.advice import LESS_LOAD, Advice

    (command,) = commands_of(tmp_path, described(TARGETS["loopback"], load))(Advice((), (), (LESS_LOAD,)))
    assert flags in command


def test_a_longer_run_is_longer(tmp_path: Path) -> None:
    plan = described(TARGETS["loopback"], {"request_rate": 4, "duration": "20s", "num_prompts": 50})
    (command,) = commands_of(tmp_path, plan)(OF_RULES["few_samples"])
    assert command.endswith("--request-rate 4 --duration 80 --num-prompts 200")


NO_KUBERNETES = ("kubectl", "SERVER", "POD")
FITS = {
    "simulator": ((), (*NO_KUBERNETES, "curl", "proxy", "gateway", "ss -", "HOST")),
    "loopback": (
        ("ss -ltnp 'sport = :8000'", "end of a tunnel"),
        ("kubectl -n", "SERVER:", "POD_IP", "gateway"),
    ),
    "cluster": (
        ("kubectl -n prod get endpointslices -l kubernetes.io/service-name=vllm", "http://POD_IP:8000"),
        ("ss -", "SERVER"),
    ),
    "network": (("http://SERVER:8000/team/v1", "on its machine"), ("kubectl", "ss -", "POD_IP")),
}


@pytest.mark.parametrize("place", TARGETS)
def test_advice_fits_where_the_server_stands(tmp_path: Path, place: str) -> None:
    requests = steady(200, first_read_chunks=3, reads=2)
    run = run_of(tmp_path, requests, plan=described(TARGETS[place], {"max_concurrency": 2}))
    found = next(one for one in run.explain() if one.name == "held_back")
    text = "\n".join((found.seen, *found.causes, *found.tell_apart, *found.next))
    has, has_not = FITS[place]
    assert [words for words in has if words not in text] == []
    assert [words for words in has_not if words in text] == []


@pytest.mark.parametrize("place", TARGETS)
def test_no_advice_forwards_a_port_or_changes_a_job(tmp_path: Path, place: str) -> None:
    plan = described(TARGETS[place], {"max_concurrency": 2})
    every = "\n".join(command for found in map(commands_of(tmp_path, plan), ADVICE) for command in found)
    assert "kubectl port-forward" not in every
    assert "set resources" not in every
    assert ("/metrics" in every) == (place != "simulator")
    assert "/v1/metrics" not in every


def test_a_run_that_was_stopped_is_resumed(tmp_path: Path) -> None:
    plan = described(TARGETS["loopback"], {"max_concurrency": 2})
    for state, first in (
        ("killed", "vllmperf bench --resume 'a b.vllmperf'"),
        ("finished", "vllmperf bench --base"),
    ):
        assert commands_of(tmp_path, plan, state)(OF_RULES["killed"])[0].startswith(first)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.0.0.1:8000", "loopback"),
        ("http://[::1]:8000", "loopback"),
        ("https://localhost", "loopback"),
        ("http://vllm.localhost:80", "loopback"),
        ("http://vllm.prod.svc:8000", "cluster"),
        ("http://vllm-0.vllm.prod.svc.cluster.local.:8000", "cluster"),
        ("http://svc.example.org", "network"),
        ("http://vllm:8000", "network"),
        ("http://10.1.2.3:8000", "network"),
        ("https://llm.example.org", "network"),
    ],
)
def test_the_place_of_a_server_is_told_by_its_address(url: str, place: str) -> None:
    assert place_of({"base_url": url}) == place
    assert place_of({"base_url": url, "simulator": {}}) == "simulator"


def test_a_doubt_comes_with_causes_and_the_runs_own_command(tmp_path: Path) -> None:
    run = run_of(tmp_path, steady(50))
    (found,) = run.explain()
    assert (found.kind, found.name, found.level) == ("doubt", "few_samples", "caution")
    assert found.next[0].startswith("vllmperf bench --base-url http://127.0.0.1:8000")


def test_the_command_prints_text_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, steady(50))
    assert main(["explain", str(run.path)]) == 0
    assert "causes      1. the run was short" in capsys.readouterr().out
    assert main(["explain", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "few_samples"


def test_a_result_of_figures_alone_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text('{"duration": 1.0, "completed": 10}')
    assert main(["explain", str(tmp_path / "a.json")]) == 2
    assert "holds no single requests" in capsys.readouterr().err


# ---- the simulated server ----


def test_a_simulated_limit_of_sequences_is_found() -> None:
    sim = {"mode": "batching", "max_num_seqs": 4, "alpha_ms": 10, "delta_ms": 0.01}
    for _ in range(4):  # a busy machine may blur the plateau of one run
        run = vp.bench(sim=sim, num_prompts=80, max_concurrency=12, input_len=32, output_len=20)
        found = [one for one in run.explain() if one.name == "first_token_plateau"]
        if found:
            break
    assert [one.figures["streams"] for one in found] == [4]


def test_simulated_preemptions_are_found() -> None:
    sim = {"mode": "batching", "num_gpu_blocks": 60, "alpha_ms": 2, "max_model_len": 512}
    run = vp.bench(sim=sim, num_prompts=40, max_concurrency=8, input_len=64, output_len=100)
    assert "preemptions" in patterns(run)


def test_a_simulated_prefix_cache_is_found() -> None:
    sim = {"mode": "batching", "alpha_ms": 2, "enable_prompt_tokens_details": True}
    with vp.sim.Server(**sim) as server:
        for _ in range(2):
            run = vp.bench(server, num_prompts=20, max_concurrency=2, input_len=256, output_len=4)
    assert "prefix_cache_hits" in patterns(run)
