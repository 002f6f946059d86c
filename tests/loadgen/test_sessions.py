"""Conversations: a turn follows the real answer, sessions do not wait for each other, and nothing of a session is made up."""

from __future__ import annotations

import itertools
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talking import HEADER, SHORT, Book, bench, by_session, page, served

import vllmperf
from vllmperf.errors import UsageError
from vllmperf.metrics.view import COMPLETED
from vllmperf.numbers import percent
from vllmperf.plan import Plan
from vllmperf.record.merging import merge
from vllmperf.sim import Server


@pytest.fixture
def book() -> Iterator[Book]:
    with served() as found:
        yield found


# ---- what is sent ----


def test_a_turn_of_a_completion_is_all_that_was_said_and_really_answered(book):
    run = bench(book)
    assert run.summary["requests"]["completed"] == 12
    talks = book.of_sessions()
    assert [len(talk) for talk in talks] == [3] * 4
    for talk in talks:
        for before, after in itertools.pairwise(talk):
            begin = before.body["prompt"] + before.said + "\n"
            assert after.body["prompt"].startswith(begin)
            assert len(after.body["prompt"][len(begin) :].split()) == SHORT["input_len"]
            assert before.answered_ns < after.came_ns


@pytest.mark.parametrize("string_content", [False, True])
def test_a_turn_of_a_chat_has_the_real_answers_as_messages(book, string_content):
    bench(book, backend="openai-chat", string_content=string_content)
    for talk in book.of_sessions():
        roles = [message["role"] for message in talk[-1].body["messages"]]
        assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
        for before, after in itertools.pairwise(talk):
            begin = [*before.body["messages"], {"role": "assistant", "content": before.said}]
            assert after.body["messages"][:-1] == begin
        content = talk[0].body["messages"][1]["content"]
        assert isinstance(content, str) == string_content


def test_all_share_the_system_prompt_and_no_two_say_the_same(book):
    bench(book, num_prompts=6)
    firsts = [talk[0].body["prompt"].split("\n") for talk in book.of_sessions()]
    assert len({system for system, _ in firsts}) == 1
    assert len({said for _, said in firsts}) == 6
    assert len(firsts[0][0].split()) == SHORT["prefix_len"]


def test_the_salt_stands_before_everything_and_keeps_what_is_shared(book):
    bench(book, prompt_salt="k7")
    systems = {talk[0].body["prompt"].split("\n")[0] for talk in book.of_sessions()}
    assert len(systems) == 1
    assert systems.pop().startswith("[k7] ")


def test_the_same_seed_says_the_same(book):
    bench(book, max_concurrency=1, seed=3)
    one = [talk[0].body["prompt"] for talk in book.of_sessions()]
    book.got.clear()
    bench(book, max_concurrency=1, seed=3)
    assert [talk[0].body["prompt"] for talk in book.of_sessions()] == one


def test_ids_of_sessions_are_those_of_this_run(book):
    prefix = bench(book).recording.plan["request_id_prefix"]
    assert {got.session for got in book.got} == {f"{prefix}{number}" for number in range(4)}


# ---- who waits for whom ----


def test_a_session_waits_for_its_own_answer_and_others_go_on(book):
    """The first turn of one session gets no answer before all other sessions are through."""
    others = threading.Event()
    held: list[str] = []

    def hold(body: dict[str, Any]) -> None:
        if not held:
            held.append(body["prompt"])
            others.wait(30)
        elif len(book.got) >= 8:
            others.set()

    book.before = hold
    run = bench(book, num_prompts=4, max_concurrency=2)
    assert run.summary["requests"]["completed"] == 12
    assert run.summary["sessions"]["finished"] == 4
    assert max(run.requests["session"]) == 3


def test_no_more_sessions_at_once_than_asked_for(book):
    run = bench(book, num_prompts=7, max_concurrency=3)
    rows = run.requests
    begin = {n: rows["sent_ns"][rows["session"] == n].min() for n in range(7)}
    end = {n: rows["end_ns"][rows["session"] == n].max() for n in range(7)}
    assert max(sum(begin[n] <= at < end[n] for n in range(7)) for at in begin.values()) <= 3


def test_a_think_time_lies_between_an_answer_and_the_next_turn(book):
    run = bench(book, think_time="30ms")
    for talk in by_session(run):
        for before, after in itertools.pairwise(talk):
            assert after["sent_ns"] - before["end_ns"] >= 30e6
    assert run.summary["sessions"]["turnaround_ms"]["min"] >= 0


def test_a_failed_answer_ends_its_session_and_is_said(book):
    failed: list[str] = []

    def fails(_number: int, body: dict[str, Any]) -> bool:
        is_second_turn = body["prompt"].count("\n") > 1
        if is_second_turn and not failed:
            failed.append(body["prompt"])
            return True
        return False

    book.fails = fails
    run = bench(book)
    found = run.summary["sessions"]
    assert [found[name] for name in ("begun", "finished", "failed", "unfinished")] == [4, 3, 1, 0]
    assert sorted(len(talk) for talk in book.of_sessions()) == [2, 3, 3, 3]
    assert "ended by a failed answer" in str(page(run))


def test_sessions_that_the_end_of_a_timed_run_cut_are_said(book):
    run = bench(book, num_prompts=None, duration="300ms", think_time="50ms", multi_turn_turns=500)
    found = run.summary["sessions"]
    assert (found["finished"], found["failed"], found["unfinished"]) == (0, 0, 2)
    assert found["turns"] == len(run.requests) >= 2
    assert "2 unfinished at the end of the run" in page(run)


# ---- the truth of the simulator ----


def test_a_router_by_session_keeps_a_session_on_a_replica_whose_cache_has_its_earlier_turns(tmp_path):
    truth = tmp_path / "truth"
    simulator = {
        "replicas": 3,
        "router": "session",
        "alpha_ms": 1,
        "beta_ms": 0,
        "delta_ms": 0,
        "block_size": 4,
        "enable_prompt_tokens_details": True,
    }
    with Server(**simulator, truth=str(truth)) as server:
        given = {"input_len": 16, "output_len": 8, "prefix_len": 8, "ignore_eos": True, "max_concurrency": 4}
        run = vllmperf.bench(
            server, dataset="multi_turn", num_prompts=12, session_header=HEADER, multi_turn_turns=3, **given
        )
    told = {
        row["request_id"]: row
        for row in map(json.loads, truth.read_text().splitlines())
        if "request_id" in row
    }
    prefix = run.recording.plan["request_id_prefix"]
    replicas = set()
    for talk in by_session(run):
        rows = [told[f"{prefix}{int(turn['index']):012x}"] for turn in talk]
        assert len({row["replica"] for row in rows}) == 1
        replicas.add(rows[0]["replica"])
        for before, after in itertools.pairwise(rows):
            assert (
                after["prompt_tokens"] == before["prompt_tokens"] + 8 + 16
            )  # the answer, and what is said next
            assert after["cached_tokens"] >= before["prompt_tokens"] // 4 * 4
        ends = [(one["end_ns"], two["sent_ns"]) for one, two in itertools.pairwise(talk)]
        assert all(end <= sent for end, sent in ends)
    assert len(replicas) > 1
    found = run.summary["sessions"]
    assert (found["first"]["requests"], found["later"]["requests"]) == (12, 24)
    later = [told[f"{prefix}{int(row['index']):012x}"] for row in run.requests if row["turn"] > 0]
    cached, tokens = (sum(row[name] for row in later) for name in ("cached_tokens", "prompt_tokens"))
    assert found["later"]["cached_share"] == pytest.approx(cached / tokens)
    held = sum(row["cached_tokens"] for row in told.values()) / sum(
        row["prompt_tokens"] for row in told.values()
    )
    assert f"held {percent(held)} of the prompt tokens of all turns" in page(run)
    assert not [one for one in run.summary["verdict"]["findings"] if one["name"] == "cached"]


# ---- the run file and the report ----


def test_a_run_keeps_session_and_turn_and_texts_only_when_asked(book):
    run = bench(book)
    rows = run.requests
    assert sorted(zip(rows["session"], rows["turn"], strict=True)) == [
        (s, t) for s in range(4) for t in range(3)
    ]
    assert set(rows["session_turns"]) == {3}
    assert set(run.recording.texts) == {None}
    kept = bench(book, keep_text=True).recording
    said = {got.said for got in book.got}
    assert set(kept.texts) <= said
    assert len(set(kept.texts)) == 12


def test_errors_are_kept_without_the_texts(book):
    book.fails = lambda number, _body: number % 3 == 0
    run = bench(book, num_prompts=6)
    failed = run.recording.requests["outcome"] != COMPLETED
    assert failed.any()
    assert all((run.recording.errors[i] or "").startswith("data: ") for i in np.flatnonzero(failed))


def test_other_runs_have_no_sessions():
    run = vllmperf.bench(sim={"ttft_ms": 1, "itl_ms": 1}, num_prompts=3, output_len=2)
    assert run.summary["sessions"] is None
    assert np.isnan(run.requests["session"]).all()


def test_the_report_says_that_the_load_is_closed_by_session_and_ttft_by_turn(book):
    run = bench(book)
    text = page(run)
    assert "closed by session" in text
    assert "2 sessions at once" in text
    assert "4 begun: 4 finished; 12 turns" in text
    assert "first turn" in text
    assert "later turns" in text
    assert [one["turn"] for one in run.summary["sessions"]["by_turn"]] == [1, 2, 3]
    assert [one["requests"] for one in run.summary["sessions"]["by_turn"]] == [4, 4, 4]


def test_merged_runs_keep_their_sessions_apart(book, tmp_path):
    paths = [tmp_path / "a.vllmperf", tmp_path / "b.vllmperf"]
    for path in paths:
        bench(book, record=path)
    out = tmp_path / "both.vllmperf"
    merge(paths, out)
    found = vllmperf.open_run(out).summary["sessions"]
    assert (found["begun"], found["finished"], found["turns"]) == (8, 8, 24)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"request_rate": 3}, "closed by session"),
        ({"n": 2}, "follows one answer"),
        ({"session_header": "no name"}, "the name of a header"),
        (
            {"dataset": "random", "session_header": HEADER},
            "session_header needs a data set of conversations: agentic, conv",
        ),
        ({"dataset": "random", "think_time": 1}, "think_time needs a data set of conversations"),
        ({"base_url": ["http://a", "http://b"]}, "goes to one base_url"),
    ],
)
def test_what_conversations_cannot_do_is_refused_in_one_line(given, words):
    with pytest.raises(UsageError) as error:
        Plan.of(**{"base_url": "http://a", "dataset": "multi_turn", **given})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_of_conversations_is_not_resumed(book, tmp_path):
    path = tmp_path / "run.vllmperf"
    bench(book, record=path, num_prompts=None, duration="200ms", think_time="50ms", multi_turn_turns=500)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '\"interrupted\"' WHERE key = 'state'")
    db.close()
    with pytest.raises(UsageError, match="conversations cannot be resumed"):
        vllmperf.bench(resume=path)


# ---- recorded conversations ----


def said(role: str, text: str) -> dict[str, str]:
    return {"from": role, "value": text}


def write(path: Path, *rows: Any) -> str:
    path.write_text(json.dumps([*rows]))
    return str(path)


def test_a_file_of_conversations_is_said_turn_by_turn_with_answers_as_long_as_recorded(book, tmp_path):
    talk = [
        said("human", "one"),
        said("gpt", "x" * 40),
        said("human", "two"),
        said("human", "more"),
        said("gpt", "y" * 8),
    ]
    path = write(tmp_path / "c.json", {"conversations": [*talk, said("human", "no answer")]})
    bench(book, dataset="conversations", dataset_path=path, num_prompts=1)
    bodies = [got.body for got in book.got]
    assert [body["max_tokens"] for body in bodies] == [10, 2]
    assert bodies[0]["prompt"] == "one"
    assert bodies[1]["prompt"] == "one" + book.got[0].said + "\ntwo\nmore"


def test_messages_of_openai_are_conversations_too(book, tmp_path):
    path = tmp_path / "c.jsonl"
    roles = (("system", "be brief"), ("user", "hi"), ("assistant", "hello"))
    path.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in roles]}))
    bench(book, dataset="conversations", dataset_path=str(path), num_prompts=1, output_len=3)
    assert [(got.body["prompt"], got.body["max_tokens"]) for got in book.got] == [("be brief\nhi", 3)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x"}, 'has no list "conversations"'),
        ({"messages": [{"role": "user", "content": 3}]}, "has no text"),
        ({"conversations": [{"value": "x"}]}, 'has no "from" or "role"'),
        ({"conversations": [said("human", "x")]}, "holds no conversation with an answer"),
        (
            {"conversations": [said("human", "x"), said("tool", "y"), said("gpt", "z")]},
            "holds no conversation",
        ),
    ],
)
def test_a_bad_file_of_conversations_is_refused_before_the_run(book, tmp_path, row, words):
    path = write(tmp_path / "c.json", row)
    with pytest.raises(UsageError) as error:
        bench(book, dataset="conversations", dataset_path=path)
    assert words in str(error.value)
    assert not book.got
