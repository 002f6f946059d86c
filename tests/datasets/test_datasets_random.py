"""Made-up prompts: the draws, one by one, against the plain way of writing each version's rule down."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllmperf.datasets import prefix_repetition, prompts, random_text
from vllmperf.datasets.chance import Chance
from vllmperf.datasets.random_text import spread
from vllmperf.dropin.benchmark_serving import older_data, random_rerank
from vllmperf.errors import UsageError
from vllmperf.loadgen.bodies import spec_of
from vllmperf.plan import Plan
from vllmperf.tokenizer import renewed
from vllmperf.tokenizer.circle import Circle, Run
from vllmperf.tokenizer.fitted import fit_all
from vllmperf.tokenizer.tokens import Tokens


def plainly_fitted(tokens, ids, wanted, draw):
    """One sequence after the other, one step after the other."""
    for left in range(10, -1, -1):
        (text,) = tokens.decode([ids])
        (ids,) = tokens.encode([text])
        if left == 0 or len(ids) == wanted:
            return text, ids
        ids = ids[:wanted] if len(ids) > wanted else ids + draw(wanted - len(ids))
    raise AssertionError


def asked(**changes):
    usual = {
        "seed": 3,
        "input_len": 20,
        "output_len": 6,
        "prefix_len": 0,
        "input_ratio": 0.0,
        "output_ratio": 0.0,
    }
    return {**usual, **changes}


def older(**changes):
    return {"input_len": 20, "output_len": 6, "prefix_len": 0, **changes}


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_many_fitted_at_once_are_those_fitted_one_by_one(tokens, seed, lengths):
    start = np.random.default_rng(seed)
    sequences = [start.integers(0, tokens.vocab_size, size=length).tolist() for length in lengths]
    one, all_ = np.random.default_rng(seed + 1), np.random.default_rng(seed + 1)
    plain = [
        plainly_fitted(tokens, ids, length, lambda n: one.integers(0, tokens.vocab_size, size=n).tolist())
        for ids, length in zip(sequences, lengths, strict=True)
    ]
    found = fit_all(
        tokens, sequences, lengths, lambda n: all_.integers(0, tokens.vocab_size, size=n).tolist()
    )
    assert [(fit.text, fit.ids) for fit in found] == plain
    assert one.integers(0, 1 << 40) == all_.integers(0, 1 << 40), "both drew as often"


def test_2026_draws_lengths_offsets_and_prefix_in_that_order(tokens):
    found = random_text.samples(tokens, 9, **asked(prefix_len=4, input_ratio=0.5, output_ratio=0.2))
    draw = np.random.default_rng(3)
    inputs = draw.integers(int(np.floor(19 * 0.5)), int(np.ceil(19 * 1.5)) + 1, size=9)
    outputs = draw.integers(int(np.floor(6 * 0.8)), int(np.ceil(6 * 1.2)) + 1, size=9)
    offsets = draw.integers(0, tokens.vocab_size, size=9)
    usual = [number for number in range(tokens.vocab_size) if number not in tokens.special_ids]

    def more(n):
        return draw.integers(0, tokens.vocab_size, size=n).tolist()

    prefix = [usual[number] for number in draw.integers(0, len(usual), size=4)]
    _, prefix = plainly_fitted(tokens, prefix, 4, more)
    for number, sample in enumerate(found):
        own = [usual[(offsets[number] + number + k) % len(usual)] for k in range(inputs[number])]
        text, ids = plainly_fitted(tokens, prefix + own, 4 + inputs[number], more)
        assert (sample.prompt, sample.prompt_len, sample.output_len, sample.number) == (
            text,
            len(ids),
            outputs[number],
            number,
        )


@pytest.mark.parametrize("version", ["0.6", "0.8"])
def test_old_versions_draw_from_the_global_generator_and_decode_once(tokens, version):
    ratio = 0.4
    found = older_data.random(tokens, Chance(11).numpy, version, 7, **older(ratio=ratio, prefix_len=3))
    draw, vocab = np.random.RandomState(11), tokens.vocab_size
    prefix = draw.randint(0, vocab, size=3).tolist()

    def lengths(length):
        if version == "0.6":
            return draw.randint(int(length * ratio), length + 1, size=7)
        return draw.randint(int(length * (1 - ratio)), int(length * (1 + ratio)) + 1, size=7)

    inputs, outputs = lengths(20), lengths(6)
    offsets = draw.randint(0, vocab, size=7)
    for i, sample in enumerate(found):
        ids = prefix + [(offsets[i] + i + j) % vocab for j in range(inputs[i])]
        assert [sample.prompt] == tokens.decode([ids])
        assert (sample.prompt_len, sample.output_len) == (3 + inputs[i], outputs[i])


def test_0_6_draws_an_empty_prefix_and_0_8_does_not(tokens):
    after = {}
    for version in ("0.6", "0.8"):
        chance = Chance(0)
        ratio = 0.5 if version == "0.8" else 1.0
        older_data.random(tokens, chance.numpy, version, 2, **older(ratio=ratio))
        after[version] = chance.numpy.gamma(1.0, 1.0)
    plain = np.random.RandomState(0)
    plain.randint(0, tokens.vocab_size, size=0)
    plain.randint(20, 21, size=2)
    plain.randint(6, 7, size=2)
    plain.randint(0, tokens.vocab_size, size=2)
    assert after["0.6"] == plain.gamma(1.0, 1.0)


def test_a_batch_is_one_request_with_several_texts(tokens):
    one = random_text.samples(tokens, 5, **asked())
    batched = random_text.samples(tokens, 5, **asked(batch=2))
    assert [sample.prompt for sample in batched] == [
        [sample.prompt for sample in one[first : first + 2]] for first in (0, 2, 4)
    ]
    assert [sample.prompt_len for sample in batched] == [
        sum(sample.prompt_len for sample in one[first : first + 2]) for first in (0, 2, 4)
    ]


def test_an_input_length_that_special_tokens_use_up_is_refused(tokens):
    with pytest.raises(UsageError, match="random_input_len 1"):
        random_text.samples(tokens, 1, **asked(input_len=1))


def test_0_8_refuses_a_range_ratio_of_1_and_0_6_means_fixed_lengths_by_it(tokens):
    with pytest.raises(UsageError, match="random-range-ratio"):
        older_data.random(tokens, Chance(0).numpy, "0.8", 1, **older(ratio=1.0))
    found = older_data.random(tokens, Chance(0).numpy, "0.6", 4, **older(ratio=1.0))
    assert {sample.prompt_len for sample in found} == {20}


def test_rerank_shares_one_query_and_counts_it_for_every_document(tokens):
    found = random_rerank.samples(tokens, 5, seed=1, input_len=30, ratio=0.0, batch=2)
    assert {sample.prompt[0] for sample in found} == {found[0].prompt[0]}
    assert [len(sample.prompt) - 1 for sample in found] == [2, 2, 1]
    (query,) = tokens.encode([found[0].prompt[0]])
    documents = tokens.encode(found[2].prompt[1:])
    assert found[2].prompt_len == len(query) + 1 + sum(map(len, documents))


def test_prefix_repetition_leaves_the_remainder_out_and_its_requests_have_no_ids(tokens):
    chance = Chance(5)
    found = prefix_repetition.samples(
        tokens,
        chance,
        seed=5,
        prefix_len=8,
        suffix_len=4,
        groups=prefix_repetition.groups(11, 3),
        output_len=2,
        shuffle=False,
    )
    assert len(found) == 9
    assert {sample.number for sample in found} == {None}
    draw = np.random.RandomState(5)

    def fitted(length):
        def more(n):
            return draw.randint(0, tokens.vocab_size, size=n).tolist()

        return plainly_fitted(tokens, more(length), length, more)[1]

    plain = []
    for _ in range(3):
        prefix = fitted(8)
        plain += [tokens.decode([prefix + fitted(4)])[0] for _ in range(3)]
    assert [sample.prompt for sample in found] == plain
    with pytest.raises(UsageError, match="num_prompts 2"):
        prefix_repetition.groups(2, 3)


def test_prefixes_by_zipfs_law_have_shares_that_fall_and_all_requests_are_made():
    sizes = prefix_repetition.groups(6000, 4, zipf=1.0, seed=2)
    assert sum(sizes) == 6000
    total = 1 + 1 / 2 + 1 / 3 + 1 / 4
    for rank, size in enumerate(sizes, start=1):
        expected = 6000 / rank / total
        assert abs(size - expected) < 4 * expected**0.5
    assert prefix_repetition.groups(6000, 4, zipf=1.0, seed=2) == sizes
    assert prefix_repetition.groups(6000, 4, zipf=1.0, seed=3) != sizes


def with_and_without_a_circle(monkeypatch, build):
    monkeypatch.setattr(random_text, "WORTH_A_CIRCLE", 0)
    many = build()
    monkeypatch.setattr(random_text, "WORTH_A_CIRCLE", 1 << 30)
    return many, build()


@pytest.mark.parametrize("prefix_len", [0, 5])
def test_prompts_put_together_from_segments_are_those_decoded_whole(tokens, monkeypatch, prefix_len):
    def build():
        lengths = asked(input_len=120, input_ratio=0.8, output_ratio=0.8, prefix_len=prefix_len)
        return random_text.samples(tokens, 80, **lengths)

    many, plain = with_and_without_a_circle(monkeypatch, build)
    assert many == plain


def test_a_circle_is_really_used_and_knows_where_its_words_begin(tokens):
    ring = tokens.usual_ids.tolist()
    circle = Circle.of(tokens, ring)
    runs = [Run([], start, 100) for start in range(0, 400, 3)]
    begun = circle.begin(tokens, runs)
    assert sum(start is not None for start in begun) > 10
    for run, start in zip(runs, begun, strict=True):
        if start is None:
            continue
        assert [start.text] == tokens.decode([[ring[(run.start + k) % len(ring)] for k in range(100)]])
        assert [start.ids] == tokens.encode([start.text])
        place = start.cut(len(start.ids))
        if place is not None:
            assert tokens.encode([start.text[place[1] :]]) == [start.ids[place[0] :]]


def test_a_clean_up_after_decoding_is_done_for_bpe_as_transformers_did_before_5(model, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((model / name).read_text())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "clean_up_tokenization_spaces": True})
    )
    old, new = Tokens(str(tmp_path), cleans_bpe=True), Tokens(str(tmp_path))
    ids = new.encode(["it is n't , so ."])
    assert old.decode(ids) == ["it isn't, so."]
    assert new.decode(ids) == ["it is n't , so ."]
    assert new.is_local
    assert not old.is_local, "its texts change where they are put together"
    assert Tokens(str(model), cleans_bpe=True).decode(ids) == new.decode(ids)


# ---- our own default profile ----


def test_bench_without_a_profile_sends_the_same_prompts_where_these_have_the_asked_length(model, tokens):
    lengths = {"input_len": 30, "output_len": 9}
    plan = Plan.of(
        base_url="http://h",
        tokenizer=str(model),
        num_prompts=150,
        seed=7,
        random_range_ratio=0.3,
        prefix_len=0,
        **lengths,
    )
    ours = list(prompts(spec_of(plan)))
    theirs = random_text.samples(tokens, 150, **asked(seed=7, input_ratio=0.3, output_ratio=0.3, **lengths))
    inputs = spread(np.random.default_rng(7), 29, 0.3, 150)
    reached = [tokens.count(one.prompt) == n + 1 for one, n in zip(theirs, inputs, strict=True)]
    assert [json.loads(mine.json) == one.prompt for mine, one in zip(ours, theirs, strict=True)] == reached
    assert 20 < sum(reached) < 150
    assert all(mine.input_len == n + 1 for mine, n in zip(ours, inputs, strict=True))
    assert [mine.output_len for mine in ours] == [one.output_len for one in theirs]


@pytest.mark.parametrize(
    ("config", "pieces"),
    [
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, ["__a"]),
        ({"tokenizer_class": "LlamaTokenizer"}, ["_a"]),
        ({"tokenizer_class": "LlamaTokenizerFast", "legacy": True}, ["_a"]),
        ({"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}, ["_a"]),
    ],
)
def test_a_llama_tokenizer_puts_no_second_blank_before_one_as_transformers_5_makes_it(
    tmp_path, config, pieces
):
    found = renewed_tokens(tmp_path, config)
    assert [piece.replace(renewed.BLANK, "_") for piece in found(" a")] == pieces


def test_a_llama_tokenizer_without_a_prefix_blank_leaves_a_word_as_it_is(tmp_path):
    usual = renewed_tokens(tmp_path, {"tokenizer_class": "LlamaTokenizer"})
    bare = renewed_tokens(tmp_path, {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False})
    assert (usual("a"), bare("a")) == ([f"{renewed.BLANK}a"], ["a"])


def renewed_tokens(folder, config):
    """Of a tokenizer in the manner of Llama 2: a function from a text to its pieces."""
    import tokenizers

    blank = renewed.BLANK
    vocab = {piece: i for i, piece in enumerate(("a", blank, f"{blank}a", f"{blank}{blank}a"))}
    merges = [(blank, "a"), (blank, f"{blank}a")]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    steps = [tokenizers.normalizers.Prepend(blank), tokenizers.normalizers.Replace(" ", blank)]
    made.normalizer = tokenizers.normalizers.Sequence(steps)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokens = Tokens(str(folder), is_renewed=True)
    names = {i: piece for piece, i in vocab.items()}
    return lambda text: [names[i] for i in tokens.encode_one(text)]
