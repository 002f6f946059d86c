"""Which events of an answer each version counts, and its formulas."""

import itertools

import numpy as np
import pytest

from vllmperf import _engine
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving import answers, metrics, server
from vllmperf.dropin.benchmark_serving.arrivals import RampUp, drawn, of_trace
from vllmperf.dropin.benchmark_serving.backends import TABLE, Common, check_best_of, rendered
from vllmperf.dropin.benchmark_serving.engine import Reply
from vllmperf.dropin.benchmark_serving.profiles import PROFILES
from vllmperf.errors import UsageError

MS = 1_000_000
F = answers.FLAG
TOKEN = F["choices"] | F["text"] | F["content"]
EMPTY = F["choices"] | F["content"]
ROLE = F["choices"] | F["role"] | F["content"]
USAGE, DONE = F["usage"], F["done"]
LAST_WORDS = '{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}'


def reply(
    *flags,
    outcome="completed",
    status=200,
    last_words="",
    text="ab",
    step_ms=10,
    clean=True,
    kind="stream",
    error="",
):
    events = np.zeros(len(flags), dtype=np.dtype(_engine.EVENT_DTYPE))
    events["flags"] = flags
    events["arrived_ns"] = [100 * MS + step_ms * MS * (i + 1) for i in range(len(flags))]
    record = {name: _engine.NONE for name, _ in _engine.RECORD_DTYPE}
    record |= {
        "status": status,
        "outcome": _engine.OUTCOMES.index(outcome),
        "sent_ns": 100 * MS,
        "last_token_ns": 130 * MS,
        "clean_end": int(clean),
        "body_kind": _engine.BODY_KINDS.index(kind),
    }
    return Reply(record, events, text, error, last_words)


def read(profile, backend, given, sample=None, ignore_eos=False):
    sample = sample or Sample("p", 3, 9)
    table = TABLE[PROFILES[profile].version]
    return answers.read(PROFILES[profile], table[backend], sample, given, ignore_eos=ignore_eos)


@pytest.mark.parametrize(
    ("profile", "ttft_ms", "gaps"), [("vllm-0.6", 20, 1), ("vllm-0.8", 10, 2), ("vllm-2026", 10, 2)]
)
def test_an_event_with_empty_text_is_a_token_since_0_8(profile, ttft_ms, gaps):
    answer = read(profile, "vllm", reply(EMPTY, TOKEN, TOKEN, DONE))
    assert answer.ttft_s == pytest.approx(ttft_ms / 1000)
    assert len(answer.itl_s) == gaps


@pytest.mark.parametrize(("profile", "gaps"), [("vllm-0.6", 1), ("vllm-0.8", 2), ("vllm-2026", 1)])
def test_the_role_only_event_of_a_chat_is_a_token_in_0_8_alone(profile, gaps):
    assert len(read(profile, "openai-chat", reply(ROLE, TOKEN, TOKEN, USAGE, DONE)).itl_s) == gaps


@pytest.mark.parametrize(
    ("profile", "backend", "latency_ms"),
    [
        ("vllm-0.6", "vllm", 40),
        ("vllm-0.8", "vllm", 20),
        ("vllm-2026", "vllm", 20),
        ("vllm-0.8", "openai-chat", 30),
        ("vllm-2026", "openai-chat", 20),
    ],
)
def test_a_request_ends_at_done_in_0_6_at_usage_in_0_8s_chat_and_else_at_the_last_token(
    profile, backend, latency_ms
):
    answer = read(profile, backend, reply(TOKEN, TOKEN, USAGE, DONE))
    assert answer.latency_s == pytest.approx(latency_ms / 1000)


def test_an_error_in_the_stream_after_a_token_is_a_success_for_all_of_them():
    for profile in PROFILES:
        given = reply(TOKEN, F["error"], DONE, outcome="stream_error")
        assert read(profile, "vllm", given).success


@pytest.mark.parametrize(
    "outcome", ["stream_error", "truncated", "reset", "malformed", "stalled", "incomplete"]
)
def test_a_stream_that_broke_off_is_a_success_for_none(outcome):
    for profile, backend in itertools.product(PROFILES, ("vllm", "openai-chat")):
        answer = read(profile, backend, reply(TOKEN, TOKEN, outcome=outcome, clean=False, error="why"))
        assert (answer.success, answer.error) == (False, f"{outcome}: why"), (profile, backend)


def test_a_stream_that_ends_in_order_without_done_is_a_success_since_0_8():
    for profile, backend in itertools.product(PROFILES, ("vllm", "openai-chat")):
        answer = read(profile, backend, reply(TOKEN, TOKEN, outcome="truncated"))
        assert answer.success is (profile != "vllm-0.6"), (profile, backend)


def test_no_token_is_a_failure():
    for profile, backend in itertools.product(PROFILES, ("vllm", "openai-chat")):
        answer = read(profile, backend, reply(USAGE, DONE, outcome="no_tokens", error='{"message": "busy"}'))
        assert (answer.success, answer.words) == (False, "busy"), (profile, backend)


@pytest.mark.parametrize(
    ("flags", "gaps"),
    [
        (F["choices"] | F["role"], 1),
        (F["choices"] | F["finish"], 1),
        (EMPTY | F["role"], 1),
        (EMPTY | F["finish"], 2),
        (F["choices"] | F["reasoning"] | F["role"], 2),
        (F["choices"] | F["tool_calls"], 2),
    ],
)
def test_in_2026_an_event_of_a_chat_is_a_token_when_it_says_something_or_has_an_empty_content(flags, gaps):
    assert len(read("vllm-2026", "openai-chat", reply(TOKEN, TOKEN, flags, DONE)).itl_s) == gaps
    assert len(read("vllm-0.8", "openai-chat", reply(TOKEN, TOKEN, flags, DONE)).itl_s) == 2


def test_usage_counts_since_0_8_and_the_servers_prompt_length_since_2026():
    given = reply(TOKEN, TOKEN, USAGE, DONE, last_words=LAST_WORDS)
    found = {name: read(name, "vllm", given) for name in PROFILES}
    assert [answer.output_tokens for answer in found.values()] == [0, 5, 5]
    assert [answer.prompt_len for answer in found.values()] == [3, 3, 7]


def test_an_http_error_has_the_reason_phrase_and_others_our_name():
    assert read("vllm-0.6", "vllm", reply(status=503, outcome="http_error")).error == "Service Unavailable"
    assert read("vllm-0.6", "vllm", reply(status=799, outcome="http_error")).error == "799"
    cut = read("vllm-2026", "vllm", reply(TOKEN, outcome="reset"))
    assert (cut.success, cut.error) == (False, "reset")


def test_server_metrics_of_the_last_event_are_taken_in_2026():
    words = '{"choices": [], "metrics": {"queue_time_ms": 0.25, "time_to_first_token_ms": 1.5}}'
    answer = read("vllm-2026", "vllm", reply(TOKEN, DONE, last_words=words))
    assert (answer.server_queue_ms, answer.server_ttft_ms) == (0.25, 1.5)


def test_tgi_counts_every_event_and_takes_the_text_of_the_last():
    text = (
        '{"token": {"text": "a"}, "generated_text": null}\n{"token": {"text": "b"}, "generated_text": "ab"}\n'
    )
    answer = read("vllm-0.8", "tgi", reply(0, 0, text=text), ignore_eos=True)
    assert (answer.text, len(answer.itl_s), answer.output_tokens) == ("ab", 1, 9)


def test_a_tgi_stream_whose_last_event_has_no_text_field_has_failed():
    cut = '{"token": {"text": "a"}, "generated_text": null}\n{"token": {"text": "b"}}\n'
    for text, flags in ((cut, (0, 0)), ("", ())):
        answer = read("vllm-0.6", "tgi", reply(*flags, text=text))
        assert (answer.success, "generated_text" in answer.error) == (False, True)


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ('{"text": ["ab"]}', (True, "ab"), (True, "ab")),
        ('{"choices": [{"text": "ab"}]}', (False, ""), (True, "ab")),
        ('{"detail": "no"}', (False, ""), (False, "")),
        ('{"text": []}', (False, ""), (False, "")),
    ],
)
def test_deepspeed_may_answer_in_openais_form_since_0_8_and_no_text_is_a_failure(text, old, new):
    found = [read(profile, "deepspeed-mii", reply(text=text)) for profile in ("vllm-0.6", "vllm-0.8")]
    assert [(answer.success, answer.text) for answer in found] == [old, new]


def test_pooling_reads_usage_and_a_batch_has_several_inputs():
    given = reply(text='{"usage": {"prompt_tokens": 11}}')
    answer = read("vllm-2026", "openai-embeddings", given, Sample(["a", "b"], 4, 0))
    assert (answer.success, answer.prompt_len, answer.sequences) == (True, 11, 2)
    assert read("vllm-2026", "vllm-rerank", given, Sample(["q", "a", "b"], 4, 0)).sequences == 2
    assert read("vllm-2026", "openai-embeddings-chat", given, Sample(["a", "b"], 4, 0)).sequences == 1


@pytest.mark.parametrize("text", ["<html>", '{"error": {"message": "no"}}', "[1]", ""])
def test_a_pooling_answer_that_is_no_json_object_or_an_error_has_failed(text):
    assert not read("vllm-2026", "openai-embeddings", reply(text=text)).success


@pytest.mark.parametrize("usage", ["null", "[1]", '{"prompt_tokens": null}', '{"prompt_tokens": "a"}', "{}"])
def test_a_pooling_answer_without_counts_has_no_input_tokens(usage):
    answer = read("vllm-2026", "openai-embeddings", reply(text=f'{{"usage": {usage}, "data": []}}'))
    assert (answer.success, answer.prompt_len) == (True, 0)


def test_a_tensorrt_stream_without_text_has_failed():
    assert read("vllm-0.8", "tensorrt-llm", reply(0, text='{"text_output": "a"}\n')).success
    for text, flags in (('{"detail": "no"}\n', (0,)), ("", ())):
        assert not read("vllm-0.8", "tensorrt-llm", reply(*flags, text=text)).success


# ---- formulas ----


def done(ttft=0.1, latency=0.5, itl=(0.2, 0.2), tokens=3, start=0.0, **more):
    return answers.Answer(
        10,
        success=True,
        ttft_s=ttft,
        latency_s=latency,
        itl_s=np.array(itl),
        output_tokens=tokens,
        start_s=start,
        **more,
    )


def test_one_token_answers_have_no_tpot_but_are_good():
    found = metrics.calculate([done(), done(tokens=1)], 2.0, None, [99.0], {"tpot": 200.0})
    assert found.statistics["tpot"].mean == pytest.approx(200.0)
    assert found.good == 2, "the limit itself is within it"


def test_gaps_of_all_requests_are_pooled_and_statistics_are_numpys():
    given = [done(itl=(0.1,) * 9), done(itl=(0.3,)), answers.Answer(5, error="x")]
    found = metrics.calculate(given, 1.0, None, [25.0, 99.9], {})
    pool = [0.1] * 9 + [0.3]
    assert found.statistics["itl"].mean == pytest.approx(np.mean(pool) * 1000)
    assert found.statistics["itl"].std == pytest.approx(np.std(pool) * 1000)
    assert found.statistics["itl"].percentiles[1][1] == pytest.approx(np.percentile(pool, 99.9) * 1000)
    assert (found.completed, found.failed, found.total_input, found.output_lens) == (2, 1, 20, [3, 3, 0])


def test_nothing_completed_is_zero_everywhere():
    found = metrics.calculate([answers.Answer(5, error="x")], 1.0, None, [99.0], {"ttft": 1.0})
    assert (found.completed, found.good, found.peak_concurrent, found.peak_tokens_per_s) == (0, 0, 0, 0.0)
    assert found.statistics["ttft"].mean == 0.0


def test_the_peak_counts_requests_of_one_second_together_even_one_after_the_other():
    given = [done(latency=0.1, itl=(), start=i / 10) for i in range(10)]
    found = metrics.calculate(given, 1.0, None, [99.0], {})
    assert found.peak_concurrent == 10
    assert found.peak_tokens_per_s == 9.0, "the last one's only event falls into the next second"


def test_without_usage_the_tokenizer_counts_and_without_one_it_is_1(tokens):
    given = [done(tokens=0)]
    assert metrics.output_lens(given, None) == [1]
    assert metrics.output_lens(given, tokens, ["the river"]) == [tokens.count("the river", special=False)]


# ---- schedules ----


def test_old_versions_send_at_once_and_wait_after_the_last():
    found = drawn("0.6", np.random.RandomState(1), 4, 10.0, 2.0)
    gaps = np.random.RandomState(1).gamma(2.0, 1 / 20, size=4)
    assert found.times_s.tolist() == [0.0, *np.cumsum(gaps)[:3]]
    assert found.until_s == np.cumsum(gaps)[3]


def test_2026_scales_its_gaps_so_that_the_last_leaves_at_n_over_rate():
    found = drawn("2026", np.random.RandomState(1), 50, 10.0, 1.0)
    assert found.times_s[-1] == pytest.approx(5.0)
    assert found.times_s[0] > 0
    assert drawn("2026", np.random.RandomState(1), 5, np.inf, 1.0).times_ns is None


def test_a_ramp_up_draws_each_gap_at_its_own_rate_and_scales_nothing():
    for strategy in ("linear", "exponential"):
        ramp = RampUp(strategy, 4, 16)
        found = drawn("2026", np.random.RandomState(2), 3, np.inf, np.inf, ramp)
        middle = 10.0 if strategy == "linear" else 8.0
        assert found.rates == [4.0, middle, 16.0]
        assert found.times_s.tolist() == pytest.approx(
            list(itertools.accumulate([1 / 4, 1 / middle, 1 / 16]))
        )
    with pytest.raises(UsageError, match="rate is 0"):
        drawn("2026", np.random.RandomState(2), 3, np.inf, 1.0, RampUp("linear", 0, 5))


def test_a_trace_never_sends_before_the_row_ahead():
    rows = [Sample([1], 1, 1, i, time_s) for i, time_s in enumerate((0.5, 0.2, 1.0))]
    assert of_trace(rows).times_s.tolist() == [0.5, 0.5, 1.0]


# ---- bodies and counters ----


def test_bodies_keep_the_originals_order_of_keys_and_its_json():
    sample = Sample("é\n", 2, 4)
    common = Common(logprobs=None, ignore_eos=True, best_of=2, extra={"temperature": 0.5, "top_k": 3})
    assert rendered(TABLE["0.6"]["vllm"], "m", sample, common) == (
        b'{"model": "m", "prompt": "\\u00e9\\n", "temperature": 0.0, "best_of": 2, "max_tokens": 4, '
        b'"logprobs": null, "stream": true, "ignore_eos": true}'
    )
    assert rendered(TABLE["0.8"]["openai"], "m", sample, common) == (
        b'{"model": "m", "prompt": "\\u00e9\\n", "temperature": 0.5, "max_tokens": 4, "logprobs": null, '
        b'"stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true, "top_k": 3}'
    )
    assert rendered(TABLE["2026"]["vllm-rerank"], "m", Sample(["q", "d"], 2, 0), common) == (
        b'{"model": "m", "query": "q", "documents": ["d"], "truncate_prompt_tokens": -1}'
    )


def test_best_of_is_1_where_a_backend_has_one_answer_only():
    for name in ("tensorrt-llm", "deepspeed-mii"):
        check_best_of(name, 1)
        with pytest.raises(UsageError, match="--best-of 3"):
            check_best_of(name, 3)
    check_best_of("vllm", 3)


def test_every_backend_of_a_version_has_its_body():
    from vllmperf.dropin.benchmark_serving import flags

    for profile in PROFILES.values():
        (flag,) = [flag for flag in flags.FLAGS[profile.name] if flag.name == "backend"]
        assert set(flag.choices) - set(flags.REFUSED_BACKENDS) == set(TABLE[profile.version])


def test_speculation_counters_are_summed_over_labels_and_differences_taken():
    text = """# HELP x
vllm:spec_decode_num_drafts_total{engine="0"} 4.0
vllm:spec_decode_num_drafts_total{engine="1"} 6.0
vllm:spec_decode_num_draft_tokens_total{engine="0"} 30.0
vllm:spec_decode_num_accepted_tokens_total{engine="0"} 15.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="0"} 9.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="1"} 6.0
vllm:spec_decode_num_drafts_created{engine="0"} 1.7e+09
"""
    after = server.parse_counters(text, "spec_decode")
    before = dict.fromkeys(after, 0)
    found = server.speculation(before, after)
    assert found["num_drafts"] == 10
    assert found["acceptance_rate"] == pytest.approx(50.0)
    assert found["acceptance_length"] == pytest.approx(2.5)
    assert found["per_position_acceptance_rates"] == [0.9, 0.6]
    assert server.speculation(after, after) is None
    assert server.speculation({}, after) is None


def test_a_diffusion_models_counters_leave_commit_steps_out():
    after = {"num_denoising_steps": 40, "num_canvas_positions": 320, "num_committed_tokens": 64}
    found = server.diffusion(dict.fromkeys(after, 0), after, 2.0)
    assert found["committed_throughput"] == 32.0
    assert found["steps_per_canvas"] == pytest.approx(32 / 8)
