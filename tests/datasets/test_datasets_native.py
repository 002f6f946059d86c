"""Every data set of the table, as `vllmperf bench` takes it."""

import itertools
import json
from collections import Counter

import pytest
from twins.dropin_samples import samples as dropin

from vllmperf import bench, datasets
from vllmperf.datasets import Spec, prompts
from vllmperf.datasets.chance import Chance
from vllmperf.errors import UsageError
from vllmperf.loadgen.schedule import schedule
from vllmperf.plan import Plan

LINE = "river number {} carries the narrow lantern beyond the bridge\n"
CSV = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" + "".join(
    f"{i},GPT-4,{20 + i},{3 + i},9,API log\n" for i in range(9)
)
TRACE = [
    {"timestamp": 100 + i, "input_length": 40, "output_length": 4 + i, "hash_ids": [1, i, 9]}
    for i in range(5)
]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


TALKS = [{"conversations": [{"value": LINE.format(i)}, {"value": LINE.format(i) * 2}]} for i in range(9)]
SPOKEN = [
    {"conversations": [{"from": role, "value": LINE.format(i)} for role in ("human", "gpt")]}
    for i in range(9)
]
AGENT = [
    {"text": LINE.format(0), "output_tokens": 4},
    {"text": LINE.format(1), "output_tokens": 4, "wait_s": 1},
]
CALLS = [{"t": t, "type": "n", "in": 40 + 20 * t, "out": 4, "hash_ids": [], "api_time": 1} for t in range(2)]
SPAN = {
    "trace_id": "t",
    "span_id": "s",
    "start_time": 1,
    "attributes": {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 4},
}
CONTENT = {
    "weka": jsonl({"id": str(i), "requests": CALLS} for i in range(9)),
    "otel": jsonl(
        {
            **SPAN,
            "trace_id": str(i),
            "attributes": {
                **SPAN["attributes"],
                "gen_ai.input.messages": json.dumps([{"role": "user", "content": "x"}]),
            },
        }
        for i in range(9)
    ),
    "agentic": jsonl({"turns": AGENT} for _ in range(9)),
    "conversations": json.dumps(SPOKEN),
    "sharegpt": json.dumps(TALKS),
    "hf": json.dumps(TALKS),
    "sonnet": "".join(LINE.format(i) for i in range(90)),
    "custom": jsonl({"prompt": LINE.format(i), "output_tokens": 5} for i in range(9)),
    "spec_bench": jsonl({"category": "ab"[i % 2], "turns": [LINE.format(i)]} for i in range(9)),
    "burstgpt": CSV,
    "timed_trace": jsonl(TRACE),
}


@pytest.fixture
def spec(tmp_path):
    """A Spec of a data set, its file written."""

    def made(name, **more):
        path = datasets.table()[name].path
        if path is not None:
            (tmp_path / name).write_text(CONTENT[name])
        return Spec(dataset_name=name, dataset_path=str(tmp_path / name) if path else None, **more)

    return made


def first(n, spec):
    return list(itertools.islice(prompts(spec), n))


@pytest.mark.parametrize("name", datasets.table())
@pytest.mark.parametrize("takes_ids", [True, False])
@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_a_data_set_gives_prompts_without_end_the_same_for_a_seed(
    spec, model, name, takes_ids, has_tokenizer
):
    asked = {"tokenizer": str(model) if has_tokenizer else None, "takes_ids": takes_ids, "num_prompts": 30}
    found = first(30, spec(name, **asked))
    assert len(found) == 30
    assert found == first(30, spec(name, **asked))
    assert len(first(40, spec(name, **{**asked, "num_prompts": None}))) == 40
    for prompt in found:
        content = json.loads(prompt.json)
        assert isinstance(content, str) or (takes_ids and all(type(number) is int for number in content))
        assert content
        assert (prompt.input_len or 0) > 0
        assert (prompt.output_len or 0) > 0


@pytest.mark.parametrize("name", [each.name for each in datasets.table().values() if each.is_made_up])
@pytest.mark.parametrize("takes_ids", [True, False])
def test_made_up_prompts_without_a_tokenizer_have_as_many_ids_or_words_as_they_say(spec, name, takes_ids):
    for prompt in first(9, spec(name, takes_ids=takes_ids, num_prompts=10)):
        content = json.loads(prompt.json)
        assert len(content if isinstance(content, list) else content.split()) == prompt.input_len


@pytest.mark.parametrize("name", ["burstgpt", "prefix_repetition", "sharegpt", "timed_trace"])
def test_prompts_of_a_seed_are_those_of_vllm_bench_serve(spec, tokens, model, name):
    asked = spec(name, tokenizer=str(model), seed=3, num_prompts=5 if name == "timed_trace" else 30)
    theirs = dropin(tokens, Chance(3), "2026", asked.num_prompts, name, asked.dataset_path, seed=3)
    ours = first(asked.num_prompts, asked)
    assert [json.loads(prompt.json) for prompt in ours] == [sample.prompt for sample in theirs]
    assert [prompt.output_len for prompt in ours] == [sample.output_len for sample in theirs]
    if name != "timed_trace":  # it sends token ids
        assert [prompt.input_len for prompt in ours] == tokens.counts([sample.prompt for sample in theirs])


def test_settings_of_a_data_set_are_its_own(spec):
    few = spec("prefix_repetition", num_prompts=40, options={"prefix_repetition_num_prefixes": 2})
    assert len({json.loads(prompt.json)[0] for prompt in first(40, few)}) == 2
    some = spec("spec_bench", options={"spec_bench_category": "b"})
    assert {int(json.loads(prompt.json).split()[2]) % 2 for prompt in first(20, some)} == {1}
    wide = spec("synthetic", input_len=50, options={"synthetic_input_stdev": 10, "synthetic_input_max": 60})
    lengths = [prompt.input_len for prompt in first(200, wide)]
    assert max(lengths) == 60
    assert min(lengths) < 40


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("random", {"hf_subset": "main"}, "hf_subset is no setting of the data set random"),
        ("hf", {"hf_subset": 5}, "hf_subset must be a text"),
        ("prefix_repetition", {"prefix_repetition_num_prefixes": 0}, "of at least 1"),
        ("prefix_repetition", {"prefix_repetition_num_prefixes": 1.5}, "a whole number"),
        ("timed_trace", {"timed_trace_sec_multiplier": float("nan")}, "a number"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_by_name(name, given, says):
    with pytest.raises(UsageError, match=says):
        datasets.checked(name, given)


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_unequal_prefixes_are_asked_for_by_zipf(spec, model, with_tokenizer):
    options = {"prefix_repetition_num_prefixes": 5, "prefix_repetition_zipf": 1.5}
    asked = spec("prefix_repetition", num_prompts=101, prefix_len=64, options=options)
    asked = asked._replace(tokenizer=str(model) if with_tokenizer else None)
    made = [json.loads(prompt.json) for prompt in first(101, asked)]
    sizes = Counter(str(prompt)[:20] for prompt in made).most_common()
    assert len({str(prompt) for prompt in made}) == 101
    assert sizes[0][1] > 40


def test_more_prefixes_than_prompts_are_refused(spec):
    with pytest.raises(UsageError, match="num_prompts 3 is below"):
        first(1, spec("prefix_repetition", num_prompts=3))


def test_a_timed_trace_is_sent_at_its_own_times(spec):
    asked = spec("timed_trace")
    settings = {"dataset_name": "timed_trace", "dataset_path": asked.dataset_path, "arrival": "dataset"}
    plan = Plan.of(
        base_url="http://h",
        num_prompts=None,
        dataset_options={"timed_trace_sec_multiplier": 0.001},
        **settings,
    )
    when = schedule(plan)
    assert when.n == 5
    assert next(when.times).tolist() == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]
    with pytest.raises(UsageError, match="num_prompts is 9"):
        schedule(Plan.of(base_url="http://h", num_prompts=9, **settings))
    with pytest.raises(UsageError, match="times of its own: timed_trace"):
        Plan.of(base_url="http://h", arrival="dataset")


def test_bench_sends_a_trace_at_its_times_unless_it_is_told_otherwise(spec):
    asked = {"dataset": "timed_trace", "dataset_path": spec("timed_trace").dataset_path, "sim": True}
    run = bench(**asked, timed_trace_sec_multiplier=0.001)
    assert run.summary["requests"]["completed"] == 5
    assert run.summary["plan"]["arrival"] == "dataset"
    assert bench(**asked, concurrency=2, num_prompts=7).summary["requests"]["completed"] == 7
