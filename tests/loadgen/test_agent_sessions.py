"""Sessions of agents: trees of turns, each after the real answers that it waits for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from talking import Book, bench, served

from vllmperf.errors import UsageError


@pytest.fixture
def book() -> Iterator[Book]:
    with served() as found:
        yield found


AGENT = {
    "system": "you are an agent",
    "turns": [
        {"text": "do it", "output_tokens": 5},
        {"text": "sub one", "output_tokens": 6, "after": 0, "fresh": True},
        {"text": "sub two", "output_tokens": 7, "after": 0, "wait_s": 0.05},
        {"text": "both are done", "output_tokens": 8, "after": [2, 1]},
        {"text": "thanks", "output_tokens": 9, "wait_s": 0.02},
    ],
}


def agents(path: Path, *rows: Any) -> dict[str, Any]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset": "agentic", "dataset_path": str(path)}


def test_turns_of_an_agent_continue_the_answer_that_they_follow_and_wait_for_all_of_them(book, tmp_path):
    run = bench(book, **agents(tmp_path / "a.jsonl", AGENT), num_prompts=1)
    said = {got.body["max_tokens"]: got for got in book.got}
    first, one, two, joined, last = (said[tokens] for tokens in (5, 6, 7, 8, 9))
    assert first.body["prompt"] == "you are an agent\ndo it"
    assert one.body["prompt"] == "you are an agent\nsub one"
    assert two.body["prompt"] == first.body["prompt"] + first.said + "\nsub two"
    assert joined.body["prompt"] == two.body["prompt"] + two.said + "\nboth are done"
    assert last.body["prompt"] == joined.body["prompt"] + joined.said + "\nthanks"
    rows = {int(row["turn"]): row for row in run.requests}
    assert rows[1]["sent_ns"] >= rows[0]["end_ns"]
    assert rows[2]["sent_ns"] - rows[0]["end_ns"] >= 0.05e9
    assert rows[3]["sent_ns"] >= max(rows[1]["end_ns"], rows[2]["end_ns"])
    assert rows[4]["sent_ns"] - rows[3]["end_ns"] >= 0.02e9
    assert run.summary["sessions"]["finished"] == 1


@pytest.mark.parametrize("backend", ["openai", "openai-chat"])
def test_a_turn_quotes_what_a_subagent_really_answered_where_it_names_it(book, tmp_path, backend):
    turns = [{**turn, "answers_of": [1]} if turn.get("after") == [2, 1] else turn for turn in AGENT["turns"]]
    row = {**AGENT, "turns": turns}
    bench(
        book,
        **agents(tmp_path / "a.jsonl", row),
        num_prompts=1,
        backend=backend,
        string_content=backend != "openai",
    )
    bodies = sorted(
        (got.body.get("max_tokens") or got.body["max_completion_tokens"], got) for got in book.got
    )
    said = dict(bodies)
    if backend == "openai":
        assert said[8].body["prompt"].endswith(f"\n{said[6].said}\nboth are done")
    else:
        assert said[8].body["messages"][-1]["content"] == f"{said[6].said}\nboth are done"


def test_subagents_run_beside_each_other(book, tmp_path):
    """Each of the two waits until both have come."""
    both = threading.Barrier(2, timeout=30)
    book.before = lambda body: both.wait() and None if body["max_tokens"] == 6 else None
    turns = [{"text": "go", "output_tokens": 5}, *[{"text": "x", "output_tokens": 6, "after": 0}] * 2]
    run = bench(book, **agents(tmp_path / "a.jsonl", {"turns": turns}), num_prompts=1, max_concurrency=1)
    assert run.summary["requests"]["completed"] == 3


def test_a_session_in_which_an_answer_failed_sends_nothing_more(book, tmp_path):
    book.fails = lambda _number, body: body["max_tokens"] == 6
    slow = {
        **AGENT,
        "turns": [{**turn, "wait_s": 0 if number < 2 else 60} for number, turn in enumerate(AGENT["turns"])],
    }
    run = bench(book, **agents(tmp_path / "a.jsonl", slow), num_prompts=3)
    assert run.summary["sessions"]["failed"] == 3
    assert {got.body["max_tokens"] for got in book.got} == {5, 6}


def test_messages_of_an_agent_in_a_chat_are_those_of_its_own_branch(book, tmp_path):
    bench(
        book, **agents(tmp_path / "a.jsonl", AGENT), num_prompts=1, backend="openai-chat", string_content=True
    )
    said = {got.body["max_completion_tokens"]: got for got in book.got}
    assert [message["content"] for message in said[8].body["messages"]] == [
        *("you are an agent", "do it", said[5].said, "sub two", said[7].said, "both are done"),
    ]


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ({"text": "x", "output_tokens": 1, "after": 1}, '"after" must be the number of an earlier turn'),
        ({"text": "x", "output_tokens": 1, "after": []}, '"after" must be the number of an earlier turn'),
        ({"text": "x"}, '"output_tokens" must be a whole number'),
        ({"text": "x", "output_tokens": 1, "wait_s": -1}, '"wait_s" must be a number of seconds'),
        ({"text": "x", "output_tokens": 1, "fresh": 1}, '"fresh" must be true or false'),
        ({"text": "x", "output_tokens": 1, "after": 0, "answers_of": 1}, '"answers_of" must be the number'),
        ({"text": "x", "output_tokens": 1, "answers_of": 0}, '"answers_of" must be the number'),
        ({"text": "x", "output_tokens": 1, "wait": 1}, "turn 1 has no setting 'wait'"),
        ({"output_tokens": 1}, "turn 1 has no text"),
    ],
)
def test_a_bad_session_of_an_agent_is_refused_before_the_run(book, tmp_path, turn, words):
    row = {"turns": [{"text": "x", "output_tokens": 1}, turn]}
    with pytest.raises(UsageError) as error:
        bench(book, **agents(tmp_path / "a.jsonl", row))
    assert words in str(error.value)
    assert "line 1" in str(error.value)
    assert not book.got
