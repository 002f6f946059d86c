"""The batching mode over HTTP: what its truth file says agrees with the law, the answers, and itself.

No test looks at a clock: plans are exact whatever the machine does.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from argparse import Namespace
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from batching import LAW, MS, Truth, law_ns, read, serve
from wire import Wire, chat, complete, request

from vllmperf.cli.sim import greeting, startup_of
from vllmperf.errors import UsageError
from vllmperf.sim import Server, parse_settings


def prompt(n: int, first: int = 0) -> list[int]:
    return list(range(first, first + n))


def mixed(n: int) -> list[dict[str, Any]]:
    """Requests of many lengths that share no beginning."""
    return [
        {"prompt": prompt(5 + 37 * i % 90, 1000 * i), "max_tokens": 1 + 13 * i % 30, "stream": i % 4 != 3}
        for i in range(n)
    ]


def times_of(row: dict[str, Any], choice: int) -> list[int]:
    """When a choice's chunks are due."""
    return [at for at, of in zip(row["planned_mono_ns"], row["choice"], strict=True) if of == choice]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """24 requests at once to 8 places."""
    truth, _ = serve(tmp_path_factory.mktemp("busy") / "truth", mixed(24), max_num_seqs=8)
    return truth


def test_each_step_takes_what_the_law_says(busy: Truth) -> None:
    for step in busy.steps:
        assert step["duration_ns"] == pytest.approx(law_ns(step), abs=1)
        assert step["end_mono_ns"] - step["start_mono_ns"] == step["duration_ns"]


def test_steps_follow_each_other_without_a_gap_while_there_is_work(busy: Truth) -> None:
    assert [step["step"] for step in busy.steps] == list(range(1, len(busy.steps) + 1))
    for before, after in itertools.pairwise(busy.steps):
        assert after["start_mono_ns"] >= before["end_mono_ns"]
        if before["waiting"]:
            assert after["start_mono_ns"] == before["end_mono_ns"]


def test_tokens_are_due_at_the_ends_of_steps(busy: Truth) -> None:
    ends = busy.by_end
    tokens = Counter(at for row in busy.requests for at in row["planned_mono_ns"] if row["stream"])
    assert tokens.keys() <= ends.keys()
    for at, count in tokens.items():
        assert count <= ends[at]["decodes"] + ends[at]["prefills"]


def test_the_gap_between_tokens_at_batch_b_is_alpha_plus_beta_b(tmp_path: Path) -> None:
    law = {"gamma_ms": 0.0, "delta_ms": 0.0, "kv_ms": 0.0, "attention_ms": 0.0}
    body = {"prompt": prompt(4), "n": 8, "max_tokens": 30}
    truth, _ = serve(tmp_path / "truth", [body], **law, alpha_ms=3.0, beta_ms=0.5, eos_mean=10, seed=3)
    ends, batches = truth.by_end, set()
    for choice in range(8):
        for before, after in itertools.pairwise(times_of(truth.requests[0], choice)):
            batch = ends[after]["decodes"]
            batches.add(batch)
            assert after - before == pytest.approx((3.0 + 0.5 * batch) * MS, abs=1)
    assert len(batches) > 3


def test_no_step_has_more_sequences_or_tokens_than_allowed(tmp_path: Path) -> None:
    body = {"prompt": prompt(30), "n": 20, "max_tokens": 20}
    truth, _ = serve(tmp_path / "truth", [body], max_num_seqs=6, max_num_batched_tokens=24)
    assert max(step["running"] for step in truth.steps) == 6
    assert max(step["decodes"] + step["prefill_tokens"] for step in truth.steps) == 24


def test_prompt_tokens_are_computed_once_and_output_tokens_are_decodes(busy: Truth) -> None:
    assert sum(step["prefill_tokens"] for step in busy.steps) == sum(
        r["prompt_tokens"] for r in busy.requests
    )
    output = sum(row["completion_tokens"] for row in busy.requests)
    assert sum(step["decodes"] for step in busy.steps) == output - len(busy.requests)
    assert sum(step["admitted"] for step in busy.steps) == len(busy.requests)


def test_who_came_first_is_served_first(busy: Truth) -> None:
    queued = sorted(busy.requests, key=lambda row: (row["queued_mono_ns"], row["number"]))
    assert [row["scheduled_mono_ns"] for row in queued] == sorted(row["scheduled_mono_ns"] for row in queued)
    assert all(row["scheduled_mono_ns"] >= row["queued_mono_ns"] >= row["read_mono_ns"] for row in queued)


def test_nothing_is_written_before_its_step_is_over(busy: Truth) -> None:
    for row in busy.requests:
        assert all(
            was >= due for was, due in zip(row["written_mono_ns"], row["planned_mono_ns"], strict=True)
        )


def test_a_body_is_due_with_its_last_token(tmp_path: Path) -> None:
    truth, replies = serve(tmp_path / "truth", [{"prompt": prompt(8), "max_tokens": 5, "stream": False}])
    (row,) = truth.requests
    assert row["planned_mono_ns"] == [truth.steps[-1]["end_mono_ns"]]
    assert len(truth.steps) == 5
    assert replies[0].json["usage"]["completion_tokens"] == 5


def test_without_chunks_a_prompt_is_computed_in_one_step(tmp_path: Path) -> None:
    bodies = [{"prompt": prompt(60, 100 * i), "max_tokens": 4} for i in range(5)]
    settings = {"enable_chunked_prefill": False, "max_model_len": 100, "max_num_batched_tokens": 300}
    truth, _ = serve(tmp_path / "truth", bodies, **settings)
    assert all(step["prefill_tokens"] == 60 * step["prefills"] for step in truth.steps)
    truth, _ = serve(tmp_path / "chunked", bodies, max_num_batched_tokens=32, max_num_seqs=32)
    assert max(step["prefill_tokens"] for step in truth.steps) <= 32


def test_graph_sizes_make_steps_of_decodes_longer_not_mixed_ones(tmp_path: Path) -> None:
    body = {"prompt": prompt(4), "n": 7, "max_tokens": 30}
    truth, _ = serve(tmp_path / "truth", [body], graph_sizes="1,4,6", eos_mean=10, seed=3)
    wanted = {1: 1, 2: 4, 3: 4, 4: 4, 5: 6, 6: 6, 7: 7}
    for step in truth.steps:
        assert step["padded"] == (step["decodes"] if step["prefill_tokens"] else wanted[step["decodes"]])
        assert step["duration_ns"] == pytest.approx(law_ns(step), abs=1)
    assert any(step["padded"] > step["decodes"] for step in truth.steps)


def test_noise_has_the_deviation_asked_for_and_mean_1(tmp_path: Path) -> None:
    settings = {"step_noise": 0.1, "seed": 4, "time_scale": 20}
    truth, _ = serve(tmp_path / "truth", [{"prompt": prompt(4), "max_tokens": 2000}], **settings)
    factors = [step["duration_ns"] / law_ns(step) for step in truth.steps]
    assert statistics.mean(factors) == pytest.approx(1, abs=0.01)
    assert statistics.stdev(factors) == pytest.approx(0.1, rel=0.1)


def test_a_time_scale_divides_the_time_on_the_clock_not_that_of_the_law(tmp_path: Path) -> None:
    truth, _ = serve(tmp_path / "truth", mixed(6), time_scale=8, front_ms=4)
    for step in truth.steps:
        assert step["duration_ns"] == pytest.approx(law_ns(step), abs=1)
        assert step["end_mono_ns"] - step["start_mono_ns"] == pytest.approx(step["duration_ns"] / 8, abs=1)
    for row in truth.requests:
        assert row["queued_mono_ns"] - row["read_mono_ns"] == 4 * MS / 8


def test_a_time_scale_speeds_up_fixed_times_too(tmp_path: Path) -> None:
    with Server(ttft_ms=40, itl_ms=8, time_scale=4, truth=tmp_path / "truth") as server:
        complete(server.port)
    (row,) = read(tmp_path / "truth").requests
    assert [at - row["read_mono_ns"] for at in row["planned_mono_ns"]] == [
        (10 + 2 * k) * MS for k in range(6)
    ]


def test_preempted_sequences_begin_anew_and_still_say_all(tmp_path: Path) -> None:
    cache = {"block_size": 8, "num_gpu_blocks": 24, "max_model_len": 100, "enable_prefix_caching": False}
    body = {"prompt": prompt(30), "n": 6, "max_tokens": 40}
    truth, (reply,) = serve(tmp_path / "truth", [body], **cache)
    (row,) = truth.requests
    assert sum(step["preempted"] for step in truth.steps) == row["preemptions"] > 0
    assert max(step["used_blocks"] for step in truth.steps) <= 24
    assert sum(step["prefill_tokens"] for step in truth.steps) > 6 * 30
    assert all(len(times_of(row, choice)) == 40 for choice in range(6))
    assert Counter(event["choices"][0]["index"] for event in reply.tokens) == dict.fromkeys(range(6), 40)


def test_equal_beginnings_are_found_in_whole_blocks(tmp_path: Path) -> None:
    with Server(mode="batching", block_size=8, truth=tmp_path / "truth") as server:
        complete(server.port, prompt=prompt(40), max_tokens=2)
        complete(server.port, prompt=prompt(40), max_tokens=2)
        complete(server.port, prompt=[*prompt(20), *prompt(20, 500)], max_tokens=2)
        complete(server.port, prompt=prompt(40, 1), max_tokens=2)
    truth = read(tmp_path / "truth")
    assert [row["cached_tokens"] for row in truth.requests] == [0, 32, 16, 0]
    assert sum(step["prefill_tokens"] for step in truth.steps) == 160 - 48


def test_what_was_said_is_found_when_it_comes_back_as_a_prompt(tmp_path: Path) -> None:
    with Server(mode="batching", block_size=4, truth=tmp_path / "truth") as server:
        said = complete(server.port, prompt="a b c d", max_tokens=9, stream=False).json["choices"][0]["text"]
        complete(server.port, prompt=f"a b c d{said} and more", max_tokens=1)
    assert [row["cached_tokens"] for row in read(tmp_path / "truth").requests] == [0, 12]


def test_chats_share_their_system_prompt(tmp_path: Path) -> None:
    system = {"role": "system", "content": " ".join("abcdefghijklmnopqrst")}
    with Server(mode="batching", block_size=8, truth=tmp_path / "truth") as server:
        for text in ("what is it", "who are you"):
            chat(server.port, messages=[system, {"role": "user", "content": text}])
    assert [row["cached_tokens"] for row in read(tmp_path / "truth").requests] == [0, 24]


def test_lower_priorities_are_served_first(tmp_path: Path) -> None:
    settings = {"scheduling_policy": "priority", "max_num_seqs": 1, "time_scale": 10}
    body = {"prompt": "a", "stream": True}
    with Server(mode="batching", truth=tmp_path / "truth", **settings) as server, ExitStack() as wires:
        with Wire(server.port) as first:
            first.send(request("POST", "/v1/completions", {**body, "max_tokens": 100_000}))
            first.line()
            waiting = []
            for priority in (0, -1, 2, -1):
                waiting.append(wires.enter_context(Wire(server.port)))
                waiting[-1].send(request("POST", "/v1/completions", {**body, "priority": priority}))
                while server.stats["running"] <= len(waiting):
                    time.sleep(0.001)
        replies = [wire.reply() for wire in waiting]
    assert [reply.status for reply in replies] == [200] * 4
    rows = read(tmp_path / "truth").requests[1:]
    order = sorted(rows, key=lambda row: row["scheduled_mono_ns"])
    assert [row["number"] for row in order] == [3, 5, 2, 4]


def test_choices_run_as_sequences_of_their_own(tmp_path: Path) -> None:
    truth, replies = serve(tmp_path / "truth", [{"prompt": prompt(8), "n": 3, "max_tokens": 4}])
    assert truth.steps[0]["prefills"] == 3
    assert truth.requests[0]["choice"] == [0, 1, 2] * 4
    texts = Counter(event["choices"][0]["index"] for event in replies[0].tokens)
    assert texts == {0: 4, 1: 4, 2: 4}


def test_several_tokens_a_chunk_are_due_with_the_last_of_them(tmp_path: Path) -> None:
    truth, _ = serve(tmp_path / "truth", [{"prompt": prompt(8), "max_tokens": 10}], tokens_per_chunk=4)
    ends = [step["end_mono_ns"] for step in truth.steps]
    (row,) = truth.requests
    assert row["tokens"] == [4, 4, 2]
    assert row["planned_mono_ns"] == [ends[3], ends[7], ends[9]]


def test_who_hangs_up_leaves_the_batch(tmp_path: Path) -> None:
    body = {"prompt": "a", "stream": True, "max_tokens": 100_000}
    with Server(mode="batching", max_num_seqs=1, time_scale=10, truth=tmp_path / "truth") as server:
        with Wire(server.port) as wire:
            wire.send(request("POST", "/v1/completions", body))
            wire.line()
        assert complete(server.port, max_tokens=3).ended == "whole"
    truth = read(tmp_path / "truth")
    assert [row["outcome"] for row in truth.requests] == ["client_gone", "finished"]


@pytest.mark.parametrize(
    ("fault", "outcome", "written"),
    [
        ("reset:after=2", "reset", 2),
        ("close:after=2", "close", 2),
        ("stream_error:after=2", "stream_error", 2),
        ("stall:after=2:ms=30", "finished", 6),
        ("silent:ms=30", "finished", 6),
        ("split:gap_us=100", "finished", 6),
        ("merge:events=3", "finished", 6),
        ("crlf", "finished", 6),
    ],
)
def test_faults_work_as_with_fixed_times(tmp_path: Path, fault: str, outcome: str, written: int) -> None:
    with Server(mode="batching", truth=tmp_path / "truth") as server:
        try:
            complete(server.port, {"x-sim-fault": fault})
        except OSError:
            assert outcome == "reset"
        complete(server.port)
    first, second = read(tmp_path / "truth").requests
    assert (first["outcome"], len(first["written_mono_ns"])) == (outcome, written)
    assert (second["outcome"], len(second["written_mono_ns"])) == ("finished", 6)


def test_a_stall_holds_up_what_is_written_not_the_engine(tmp_path: Path) -> None:
    with Server(**LAW, mode="batching", faults=["stall:after=2:ms=60"], truth=tmp_path / "truth") as server:
        complete(server.port, max_tokens=8)
    truth = read(tmp_path / "truth")
    (row,) = truth.requests
    assert row["planned_mono_ns"] == [step["end_mono_ns"] for step in truth.steps]
    assert row["written_mono_ns"][2] - row["written_mono_ns"][1] >= 58 * MS


def test_it_answers_while_requests_come_and_go_without_losing_any(tmp_path: Path) -> None:
    settings = {"max_num_seqs": 16, "time_scale": 50, "block_size": 8, "num_gpu_blocks": 60}
    with Server(mode="batching", max_model_len=200, truth=tmp_path / "truth", **settings) as server:

        def client(first: int) -> None:
            for i in range(10):
                reply = complete(server.port, prompt=prompt(10 + i, first * i), max_tokens=1 + 5 * i)
                assert len(reply.tokens) == 1 + 5 * i

        threads = [threading.Thread(target=client, args=(1000 * k,)) for k in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stats = server.stats  # once it has stopped: an answer is counted after its last byte is sent
    truth = read(tmp_path / "truth")
    assert (stats["finished"], stats["tokens"]) == (120, 12 * sum(1 + 5 * i for i in range(10)))
    assert stats["steps"] == len(truth.steps)
    assert stats["preemptions"] == sum(step["preempted"] for step in truth.steps)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "batch"}, "one of auto, fixed, batching"),
        ({"mode": "batching", "num_gpu_blocks": 10, "max_model_len": 200}, "holds 160 tokens"),
        ({"mode": "batching", "max_num_batched_tokens": 10}, "less than max_num_seqs 256"),
        (
            {"mode": "batching", "enable_chunked_prefill": False, "max_num_batched_tokens": 1000},
            "let prompts be chunked",
        ),
        ({"graph_sizes": "1,x"}, "batch sizes such as"),
        ({"time_scale": 0}, "above 0"),
        ({"scheduling_policy": "random"}, "one of fcfs, priority"),
        ({"max_num_seq": 4}, "did you mean max_num_seqs"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        Server(**settings)
    assert "\n" not in str(raised.value)


def test_limits_that_follow_from_others_are_filled_in() -> None:
    assert Server(mode="batching").settings["max_num_batched_tokens"] == 8192
    whole = Server(mode="batching", enable_chunked_prefill=False, max_model_len=20_000)
    assert whole.settings["max_num_batched_tokens"] == 20_000
    assert Server(mode="batching", num_gpu_blocks=100).settings["max_model_len"] == 1600
    assert Server(graph_sizes="vllm").settings["graph_sizes"][:5] == [1, 2, 4, 8, 16]


def test_an_engine_fits_into_one_text() -> None:
    settings = parse_settings(
        "mode=batching,alpha-ms=7,graph-sizes=1,2,4,max_num_seqs=8,enable_prefix_caching=0"
    )
    assert settings == {
        "mode": "batching",
        "alpha_ms": 7.0,
        "graph_sizes": [1, 2, 4],
        "max_num_seqs": 8,
        "enable_prefix_caching": False,
    }


def test_the_command_says_what_it_runs() -> None:
    line = greeting("http://x", Server(mode="batching", alpha_ms=7, beta_ms=0.25, max_num_seqs=8).settings)
    assert line == "listening on http://x (model sim, batching, ITL 7 + 0.25·batch ms, at most 8 sequences)"


def test_a_start_of_a_batching_server_logs_its_own_cache() -> None:
    settings = Server(mode="batching", block_size=32, num_gpu_blocks=1000, max_model_len=4096).settings
    script = startup_of(Namespace(startup_log="-", startup_version=None, startup=None), dict(settings))
    assert script is not None
    assert (script.num_gpu_blocks, script.kv_cache_tokens, script.max_model_len) == (1000, 32_000, 4096)
