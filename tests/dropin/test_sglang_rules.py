"""Which events of an answer SGLang's client counts, by hand; and the prompts that it and the guide's copy make."""

import argparse
import json
import pickle
import random

import numpy as np
import pytest

import vllmperf._engine as _engine
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving.answers import FLAG
from vllmperf.dropin.benchmark_serving.engine import Reply
from vllmperf.dropin.sglang import conversations, flags, results, shared_prefix
from vllmperf.dropin.sglang.answers import Rule
from vllmperf.dropin.sglang.backends import BACKENDS
from vllmperf.errors import UsageError

MS = 1_000_000
TEXT, DONE, NOTHING = FLAG["text"] | FLAG["choices"], FLAG["done"], 0
SAMPLE = Sample("p", 3, 9)


def reply(at_ms, flags=None, text="", kind="stream", **fields):
    events = np.zeros(len(at_ms), dtype=np.dtype(_engine.EVENT_DTYPE))
    events["flags"] = [NOTHING] * len(at_ms) if flags is None else flags
    events["arrived_ns"] = [100 * MS + at * MS for at in at_ms]
    record = {name: _engine.NONE for name, _ in _engine.RECORD_DTYPE}
    record |= {"status": 200, "outcome": 0, "sent_ns": 100 * MS, "clean_end": 1, "last_token_ns": 107 * MS}
    record |= {"body_kind": _engine.BODY_KINDS.index(kind), **fields}
    return Reply(record, events, text, "")


def lines(*objects):
    return "\n".join([*map(json.dumps, objects), "[DONE]"])


def generated(text, tokens):
    return {"text": text, "meta_info": {"completion_tokens": tokens}}


def test_a_request_ends_at_done_and_only_events_with_text_are_tokens():
    answer = Rule(BACKENDS["vllm"], streams=True).read(
        SAMPLE, reply([5, 6, 8, 20], [FLAG["choices"], TEXT, TEXT, DONE], "ab")
    )
    assert answer.success
    assert answer.ttft_s == pytest.approx(0.006)
    assert answer.itl_s == pytest.approx([0.002])
    assert answer.latency_s == pytest.approx(0.020)
    assert answer.output_tokens == 9  # what was asked for, as the server said nothing


def test_usage_that_the_server_sends_counts():
    answer = Rule(BACKENDS["vllm"], streams=True).read(SAMPLE, reply([5], [TEXT], "a", usage_tokens=4))
    assert answer.output_tokens == 4


def test_an_answer_without_a_token_is_a_success_as_there():
    answer = Rule(BACKENDS["vllm"], streams=True).read(
        SAMPLE, reply([4], [DONE], outcome=_engine.OUTCOMES.index("no_tokens"))
    )
    assert (answer.success, answer.ttft_s, answer.latency_s) == (True, 0.0, pytest.approx(0.004))


def test_gaps_of_sglangs_own_stream_are_spread_over_their_tokens():
    given = lines(generated("a", 1), generated("abc", 3), generated("abc", 3), generated("abcd", 4))
    answer = Rule(BACKENDS["sglang"], streams=True).read(SAMPLE, reply([5, 9, 10, 12, 13], text=given))
    assert answer.ttft_s == pytest.approx(0.005)
    assert answer.itl_s == pytest.approx(
        [0.002, 0.002, 0.003]
    )  # the event without a new token is no end of a gap
    assert (answer.text, answer.output_tokens) == ("abcd", 4)
    assert answer.latency_s == pytest.approx(0.013)


def test_an_answer_in_one_piece_has_its_end_alone():
    whole = json.dumps({"choices": [{"text": "a b"}], "usage": {"completion_tokens": 2}})
    answer = Rule(BACKENDS["vllm"], streams=False).read(SAMPLE, reply([], text=whole, kind="json"))
    assert answer.ttft_s == answer.latency_s == pytest.approx(0.007)
    assert (answer.text, answer.output_tokens, len(answer.itl_s)) == ("a b", 2, 0)


def test_a_server_that_was_asked_for_a_stream_may_answer_in_one_piece():
    rule = Rule(BACKENDS["vllm"], streams=True)
    answer = rule.read(SAMPLE, reply([], text="a b", kind="json", usage_tokens=2))
    assert (answer.success, answer.text, answer.output_tokens) == (True, "a b", 2)
    assert answer.ttft_s == answer.latency_s == pytest.approx(0.007)
    cut = rule.read(SAMPLE, reply([], kind="json", outcome=_engine.OUTCOMES.index("truncated")))
    assert (cut.success, cut.error) == (False, "the answer is no completion")


def test_tensorrts_events_are_tokens_each():
    given = lines({"text_output": "a"}, {"text_output": "b"}).removesuffix("\n[DONE]")
    answer = Rule(BACKENDS["trt"], streams=True).read(SAMPLE, reply([5, 7], text=given))
    assert (answer.text, answer.output_tokens, answer.latency_s) == ("ab", 9, pytest.approx(0.007))


def test_a_run_in_which_all_failed_has_null_for_latency(tokens):
    answer = Rule(BACKENDS["vllm"], streams=True).read(SAMPLE, reply([], status=503))
    args = flags.parse(["--backend", "vllm"])
    found = results.result(args, results.calculate([answer], 1.0, tokens, [""], 5.0, None))
    assert (found["completed"], found["mean_e2e_latency_ms"], found["mean_ttft_ms"]) == (0, None, 0.0)


# ---- conversations cut into prefixes ----


def asked(path, **more):
    args = flags.parse(["--dataset-link", str(path)])
    return argparse.Namespace(**{**vars(args), "min_prompt_len": 1, **more})


@pytest.fixture
def long_ones(tmp_path):
    """Three conversations of six messages, and one that is too short."""
    path = tmp_path / "long.json"
    rows = [{"conversations": [{"value": f"c{i} m{j}"} for j in range(6)]} for i in range(3)]
    path.write_text(json.dumps([*rows, {"conversations": [{"value": "short"}] * 4}]))
    return path


def test_every_number_of_first_messages_is_a_prompt(long_ones, tokens):
    found = conversations.samples(asked(long_ones, num_prompts=18), tokens, random.Random(1))
    prompts = sorted(sample.prompt for sample in found)
    assert len(set(prompts)) == 18
    assert prompts[:3] == [
        "User: c0 m0\n",
        "User: c0 m0\nAssistant: c0 m1\n",
        "User: c0 m0\nAssistant: c0 m1\nUser: c0 m2\n",
    ]
    assert [sample.prompt_len for sample in found] == tokens.counts([sample.prompt for sample in found])


def test_max_conversations_limits_the_prompts_and_few_are_taken_again(long_ones, tokens, capsys):
    found = conversations.samples(
        asked(long_ones, num_prompts=20, max_conversations=8), tokens, random.Random(1)
    )
    assert len(found) == 20
    assert len({sample.prompt for sample in found}) == 8
    assert "num_conversations: 18\n" in capsys.readouterr().out


def test_output_lengths_are_drawn_evenly_between_their_bounds(long_ones, tokens):
    more = {"min_output_len": 10, "max_output_len": 13, "num_prompts": 400}
    found = conversations.samples(asked(long_ones, **more), tokens, random.Random(1))
    counts = [sum(sample.output_len == length for sample in found) for length in range(10, 14)]
    assert sum(counts) == 400
    assert min(counts) > 60


def test_draws_are_those_of_pythons_generator_in_the_guides_order(long_ones, tokens):
    more = {"min_output_len": 10, "max_output_len": 200, "num_prompts": 5}
    found = conversations.samples(asked(long_ones, **more), tokens, random.Random(1))
    generator, numbers = random.Random(1), list(range(18))
    generator.shuffle(numbers)
    assert [sample.output_len for sample in found] == [generator.randint(10, 200) for _ in range(5)]
    messages = [number % 6 + 1 for number in numbers[:5]]
    assert [sample.prompt.count("\n") for sample in found] == messages


def test_short_prompts_are_taken_where_none_has_the_guides_length(long_ones, tokens, capsys):
    args = asked(long_ones, num_prompts=3, min_prompt_len=None)
    assert len(conversations.samples(args, tokens, random.Random(1))) == 3
    assert "no prompt has 1500 to 8192 tokens" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no prompt has 5000 to 8192 tokens"):
        conversations.samples(asked(long_ones, min_prompt_len=5000), tokens, random.Random(1))


def test_a_link_may_have_the_guides_comma_behind_it(long_ones, tokens):
    assert conversations.samples(asked(f"{long_ones},", num_prompts=2), tokens, random.Random(1))


def test_a_link_that_cannot_be_fetched_is_one_line(port, tokens):
    with pytest.raises(UsageError, match=r"--dataset-link http://.* cannot be fetched .*: give a file"):
        conversations.samples(asked(f"http://127.0.0.1:{port}/a.json"), tokens, random.Random(1))


# ---- the cache of drawn prompts ----


def test_drawn_prompts_are_kept_and_taken_again(tokens, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    groups = shared_prefix.Groups(2, 3, 5, 4, 8)
    first = shared_prefix.samples(groups, tokens, random.Random(1))
    assert len({sample.prompt.split("\n\n")[0] for sample in first}) == 2
    assert shared_prefix.samples(groups, tokens, random.Random(2)) == first


def test_a_cache_that_wants_to_run_something_is_refused(tokens, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    groups = shared_prefix.Groups(2, 3, 5, 4, 8)
    shared_prefix.samples(groups, tokens, random.Random(1))
    (path,) = tmp_path.rglob("*.pkl")
    path.write_bytes(pickle.dumps(json.loads))
    with pytest.raises(UsageError, match=r"no such cache \(it holds json.loads\): remove it"):
        shared_prefix.samples(groups, tokens, random.Random(1))
