"""Prompts and bodies: lengths, distinctness, seeds, and the fields that vLLM's client sends."""

import itertools
import json

import numpy as np
import pytest

from vllmperf import datasets
from vllmperf.datasets.made_up import WORDS, WordCircle
from vllmperf.errors import UsageError
from vllmperf.loadgen.bodies import bodies, spec_of
from vllmperf.loadgen.merge_patch import merged
from vllmperf.plan import Plan

URL = "http://127.0.0.1:8000"


def plan(**settings):
    return Plan.of(base_url=URL, **settings)


def prompts(plan):
    return datasets.prompts(spec_of(plan))


def objects(first=None, **settings):
    """The bodies, or the first so many of them."""
    return [json.loads(body.data) for body in itertools.islice(bodies(plan(**settings), "m"), first)]


def chat_text(body):
    (message,) = body["messages"]
    (part,) = message["content"]
    assert (message["role"], part["type"]) == ("user", "text")
    return part["text"]


# ---- random ----


@pytest.mark.parametrize("length", [1, 3, 5, 6, 1024, 9000])
@pytest.mark.parametrize("prefix", [0, 3])
def test_random_prompts_without_a_tokenizer_have_exactly_the_asked_length(length, prefix):
    first = objects(1, input_len=length, prefix_len=prefix)[0]
    assert len(first["prompt"]) == length + prefix
    chat = objects(1, backend="openai-chat", input_len=length, prefix_len=prefix)[0]
    assert len(chat_text(chat).split(" ")) == length + prefix


@pytest.mark.parametrize("backend", ["openai", "openai-chat"])
def test_no_two_random_prompts_begin_alike_so_that_no_prefix_cache_answers_them(backend):
    found = objects(backend=backend, num_prompts=20_000, input_len=16)
    starts = {json.dumps(body.get("prompt", body.get("messages"))) for body in found}
    assert len(starts) == 20_000


def test_ids_stay_where_every_vocabulary_has_plain_tokens():
    ids = {token for body in objects(20) for token in body["prompt"]}
    assert min(ids) >= 256
    assert max(ids) < 4000


def test_a_common_prefix_is_the_same_in_all_prompts():
    found = objects(num_prompts=10, input_len=8, prefix_len=5)
    assert len({tuple(body["prompt"][:5]) for body in found}) == 1


def test_the_same_seed_gives_the_same_bodies_and_another_one_others():
    assert objects(50, seed=3) == objects(50, seed=3)
    assert objects(1, seed=3) != objects(1, seed=4)


def test_lengths_are_drawn_in_the_order_of_vllm():
    generator = np.random.default_rng(5)
    inputs = generator.integers(50, 151, size=40)
    outputs = generator.integers(5, 16, size=40)
    found = objects(num_prompts=40, seed=5, input_len=100, output_len=10, random_range_ratio=0.5)
    assert [len(body["prompt"]) for body in found] == inputs.tolist()
    assert [body["max_tokens"] for body in found] == outputs.tolist()


def test_prompts_go_on_without_end_when_only_time_ends_the_run():
    endless = plan(num_prompts=None, duration=1, request_rate=1)
    assert len(list(itertools.islice(prompts(endless), 2500))) == 2500


def test_a_run_of_a_circle_goes_around_as_often_as_is_needed():
    circle = WordCircle(["a", "bb", "c"], "-")
    assert circle.run(1, 8) == "bb-c-a-bb-c-a-bb-c"
    assert circle.run(5, 1) == "c"


def test_words_are_short_plain_and_different():
    assert len(set(WORDS)) == len(WORDS)
    assert all(word.isascii() and word.isalpha() for word in WORDS)


# ---- fields ----


def test_the_openai_backend_sends_only_fields_that_every_such_server_knows():
    body = objects(1, ignore_eos=False)[0]
    assert set(body) == {"prompt", "model", "max_tokens", "stream", "stream_options"}


def test_the_fields_of_a_vllm_completion_are_those_of_vllm():
    body = objects(1, backend="vllm", ignore_eos=True)[0]
    del body["prompt"]
    assert body == {
        "model": "m",
        "max_tokens": 128,
        "repetition_penalty": 1.0,
        "logprobs": None,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }


def test_the_fields_of_a_chat_are_those_of_vllm():
    body = objects(1, backend="openai-chat", logprobs=2, ignore_eos=False)[0]
    assert chat_text(body)
    del body["messages"]
    assert body == {
        "model": "m",
        "max_completion_tokens": 128,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "top_logprobs": 2,
    }


def test_without_a_stream_there_are_no_stream_options():
    body = objects(1, stream=False)[0]
    assert body["stream"] is False
    assert "stream_options" not in body


def test_extra_fields_win_over_sampling_and_over_everything_else():
    extra = {"temperature": 1, "prompt": "hi", "max_tokens": 5, "model": "other", "x": [None, "ü"]}
    body = objects(1, temperature=0.5, top_k=3, n=2, extra_body=extra)[0]
    assert {name: body[name] for name in extra} == extra
    assert (body["top_k"], body["n"]) == (3, 2)


def test_null_leaves_a_field_out_whichever_it_is():
    usual = {"stream": True, "ignore_eos": True, "temperature": 0, "backend": "openai-chat"}
    full = objects(1, **usual)[0]
    for name in full:
        body = objects(1, **usual, extra_body={name: None})[0]
        assert set(body) == set(full) - {name}
    assert objects(1, **usual, extra_body=dict.fromkeys(full)) == [{}]


@pytest.mark.parametrize(
    ("patch", "options"),
    [
        (
            {"stream_options": {"continuous_usage_stats": True}},
            {"include_usage": True, "continuous_usage_stats": True},
        ),
        ({"stream_options": {"include_usage": None}}, {}),
        ({"stream_options": {"include_usage": None, "x": {"y": 1, "z": None}}}, {"x": {"y": 1}}),
        ({"stream_options": "none"}, "none"),
    ],
)
def test_objects_are_merged_field_by_field(patch, options):
    assert objects(1, extra_body=patch)[0]["stream_options"] == options


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_examples_of_rfc_7396_say(target, patch, result):
    assert merged(target, patch) == result


def test_chat_content_is_a_plain_string_where_that_is_asked_for():
    (message,) = objects(1, backend="openai-chat", string_content=True, input_len=6)[0]["messages"]
    assert message["role"] == "user"
    assert len(message["content"].split(" ")) == 6


def test_the_limit_of_a_chat_is_max_tokens_where_that_is_asked_for():
    body = objects(1, backend="openai-chat", chat_max_tokens=True, output_len=7)[0]
    assert body["max_tokens"] == 7
    assert "max_completion_tokens" not in body


def test_text_prompts_are_words_that_begin_differently():
    found = objects(num_prompts=5000, text_prompts=True, input_len=9, prefix_len=2)
    assert {len(body["prompt"].split(" ")) for body in found} == {11}
    assert len({body["prompt"] for body in found}) == 5000


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"string_content": True}, "string_content is of chats"),
        ({"chat_max_tokens": True}, "chat_max_tokens is of chats"),
        ({"text_prompts": True, "tokenizer": "x"}, "text_prompts"),
        ({"text_prompts": True, "dataset_name": "sonnet", "dataset_path": "x"}, "text_prompts"),
    ],
)
def test_a_flag_that_would_change_nothing_is_refused(settings, says):
    with pytest.raises(UsageError, match=says):
        plan(**settings)


def asked(**settings):
    return [body[1:] for body in itertools.islice(bodies(plan(**settings), "m"), 2)]


def test_each_body_knows_what_it_asks_for(tmp_path):
    assert asked(input_len=9, output_len=3, prefix_len=2) == [(11, 3)] * 2
    assert asked(input_len=9, output_len=3, backend="openai-chat") == [(9, 3)] * 2
    spread = asked(input_len=100, output_len=100, random_range_ratio=0.5)
    assert spread[0] != spread[1]
    path = write(tmp_path, {"prompt": "x" * 10, "output_tokens": 3}, {"prompt": [7, 8]})
    assert asked(dataset_name="custom", dataset_path=path) == [(3, 3), (2, 256)]


def test_what_extra_fields_change_is_what_is_asked_for():
    settings = {"input_len": 9, "output_len": 3}
    assert asked(**settings, extra_body={"max_tokens": 5}) == [(9, 5)] * 2
    assert asked(**settings, extra_body={"max_tokens": None}) == [(9, None)] * 2
    assert asked(**settings, extra_body={"prompt": "hi"}) == [(None, 3)] * 2


def test_bodies_are_compact_ascii():
    body = next(bodies(plan(extra_body={"a": {"b": "ü"}}), "m")).data
    assert b" " not in body
    assert body.isascii()


# ---- files ----


def write(tmp_path, *rows):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def talk(question, answer):
    return {"conversations": [{"value": question}, {"value": answer}]}


def test_custom_rows_keep_their_order_and_their_lengths(tmp_path):
    path = write(tmp_path, {"prompt": 'a"b', "output_tokens": 3}, {"prompt": [7, 8]})
    found = objects(dataset_name="custom", dataset_path=path, num_prompts=2)
    assert [(body["prompt"], body["max_tokens"]) for body in found] == [('a"b', 3), ([7, 8], 256)]
    asked = objects(dataset_name="custom", dataset_path=path, num_prompts=2, output_len=9)
    assert [body["max_tokens"] for body in asked] == [9, 9]


def test_rows_are_drawn_again_when_more_prompts_are_asked_for(tmp_path):
    path = write(tmp_path, {"prompt": "a"}, {"prompt": "b"})
    found = [body["prompt"] for body in objects(dataset_name="custom", dataset_path=path, num_prompts=50)]
    assert found[:2] == ["a", "b"]
    assert set(found) == {"a", "b"}
    assert len(found) == 50


def test_a_bad_row_beyond_those_that_are_needed_does_no_harm(tmp_path):
    path = write(tmp_path, {"prompt": "a"}, {"no": 1})
    assert len(objects(dataset_name="custom", dataset_path=path, num_prompts=1)) == 1
    with pytest.raises(UsageError, match="row 2"):
        next(prompts(plan(dataset_name="custom", dataset_path=path, num_prompts=2)))


@pytest.mark.parametrize("name", ["custom", "sharegpt"])
def test_a_file_without_a_usable_row_is_refused(tmp_path, name):
    path = tmp_path / "none"
    path.write_text("\n")
    with pytest.raises(UsageError, match="no usable row"):
        objects(dataset_name=name, dataset_path=str(path))


def test_sharegpt_without_a_tokenizer_takes_four_bytes_for_a_token(tmp_path):
    path = write(
        tmp_path, talk("long enough to be asked", "x" * 40), talk("hi", "x" * 40), talk("y" * 5000, "x" * 40)
    )
    found = objects(dataset_name="sharegpt", dataset_path=path, num_prompts=4)
    assert {(body["prompt"], body["max_tokens"]) for body in found} == {("long enough to be asked", 10)}
    (prompt,) = itertools.islice(prompts(plan(dataset_name="sharegpt", dataset_path=path)), 1)
    assert prompt.input_len == len("long enough to be asked") // 4 + 1


def test_sharegpt_is_shuffled_by_the_seed(tmp_path):
    path = write(tmp_path, *(talk(f"question number {i}", "x" * 40) for i in range(30)))
    orders = [
        [
            body["prompt"]
            for body in objects(dataset_name="sharegpt", dataset_path=path, num_prompts=30, seed=seed)
        ]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_sonnet_prompts_share_their_first_lines(tmp_path):
    path = tmp_path / "poem"
    path.write_text("".join(f"a line of the poem, number {i:03}\n" for i in range(200)))
    found = [body["prompt"] for body in objects(dataset_name="sonnet", dataset_path=str(path), num_prompts=9)]
    shared = [
        lines[0] for lines in zip(*(text.split("\n") for text in found), strict=False) if len(set(lines)) == 1
    ]
    assert len(set(found)) == 9
    assert 15 <= len(shared) <= 25
    assert all(1800 <= len(text) <= 2300 for text in found)


# ---- with a tokenizer ----


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A folder with a small byte-level BPE tokenizer that puts <s> before a text."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder = tmp_path_factory.mktemp("model")
    made.save(str(folder / "tokenizer.json"))
    return folder, made


@pytest.mark.parametrize("backend", ["openai", "openai-chat"])
def test_random_texts_have_the_asked_number_of_tokens_with_those_around_them(model, backend):
    folder, made = model
    found = objects(tokenizer=str(folder), num_prompts=20, input_len=60, backend=backend)
    texts = [body["prompt"] if backend == "openai" else chat_text(body) for body in found]
    assert [len(made.encode(text).ids) for text in texts] == [60] * 20
    assert not any("<s>" in text for text in texts)


def test_sharegpt_lengths_are_counted_as_vllm_does_with_special_tokens(model, tmp_path):
    folder, made = model
    path = write(tmp_path, talk("how many people use this water", "find out for them"))
    (body,) = objects(dataset_name="sharegpt", dataset_path=path, tokenizer=str(folder), num_prompts=1)
    assert body["max_tokens"] == len(made.encode("find out for them").ids)


def test_sonnet_prompts_are_no_longer_than_asked_for(model, tmp_path):
    folder, made = model
    path = tmp_path / "poem"
    path.write_text("".join(f"{' '.join(WORDS[i : i + 1 + i % 9])}\n" for i in range(80)))
    found = objects(
        dataset_name="sonnet",
        dataset_path=str(path),
        tokenizer=str(folder),
        num_prompts=20,
        input_len=120,
        prefix_len=50,
    )
    assert all(len(made.encode(body["prompt"]).ids) <= 120 for body in found)
    with pytest.raises(UsageError, match="sonnet_input_len"):
        objects(1, dataset_name="sonnet", dataset_path=str(path), tokenizer=str(folder), input_len=2)


def test_a_lone_surrogate_in_a_row_is_no_end_of_the_run(model, tmp_path):
    folder, _ = model
    path = tmp_path / "talks"
    path.write_text(json.dumps(talk("what is this \\ud83d", "x" * 40)).replace("\\\\", "\\"))
    assert (
        len(objects(dataset_name="sharegpt", dataset_path=str(path), tokenizer=str(folder), num_prompts=1))
        == 1
    )


def test_a_missing_or_broken_tokenizer_is_refused(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(UsageError, match=r"tokenizer\.json"):
        objects(1, tokenizer=str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot read"):
        objects(1, tokenizer=str(tmp_path))


def test_without_the_package_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r"vllmperf\[tokenizers\]"):
        objects(1, tokenizer=str(tmp_path))
