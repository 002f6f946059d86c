"""The verdict doubts answers that are not what was asked for: each kind has a reason with its share, and a good run none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import NONE, Request, histogram, quiet_histograms, steady, write_run

from vllmperf import _engine
from vllmperf.metrics.answers import FACTS
from vllmperf.metrics.summary import summarize
from vllmperf.metrics.verdict import RULES
from vllmperf.record.reader import read

COUNT = 200
NATIVE = {"backend": "openai", "stream": True, "dataset_name": "random", "ignore_eos": True}
CHAT = NATIVE | {"backend": "openai-chat"}
USAGE, CHUNKS = (_engine.TOKENS_SOURCES.index(name) for name in ("usage", "chunks"))


def summary_of(
    tmp_path: Path, requests: Sequence[Request], plan: dict[str, Any] | None = None, **run: Any
) -> Any:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.run"
    return summarize(read(write_run(path, requests, NATIVE | (plan or {}), **run)))


def finding(summary: Any, name: str) -> Any:
    return next((found for found in summary["verdict"]["findings"] if found["name"] == name), None)


def names(summary: Any) -> list[str]:
    return [found["name"] for found in summary["verdict"]["findings"]]


def stream(gaps: Sequence[float], n: int = COUNT, shared: Sequence[int] = (), **fields: Any) -> list[Request]:
    """n requests whose chunks have these gaps in ms, one after another."""
    took = 50 + sum(gaps) + 2
    return [Request(i, sent=i * took, gaps=gaps, shared=shared, fields=dict(fields)) for i in range(n)]


def all_at_once(n: int = COUNT, chunks: int = 30) -> list[Request]:
    fields = {
        "chunks": chunks,
        "output_tokens": chunks,
        "coalesced": chunks,
        "reads": 1,
        "first_read_chunks": chunks,
    }
    return stream((), n, **fields)


ONE_BY_ONE = {"max_concurrency": 1}
ASKED = {"asked": (16, 4)}


def test_a_run_whose_answers_are_what_was_asked_for_has_no_doubts(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(COUNT), **ASKED)
    assert summary["verdict"]["level"] == "trusted"
    known = {name for name, fact in summary["answers"].items() if fact is not None}
    assert known == set(FACTS) - {"cached", "tokenized"}
    assert all(summary["answers"][name]["requests"] == 0 for name in known)


def test_a_file_of_version_1_is_no_reason_for_doubts(tmp_path: Path) -> None:
    lacking = (
        "usage_tokens",
        "output_bytes",
        "first_chunk_bytes",
        "unknown_output",
        "reads",
        "first_read_chunks",
        "body_kind",
    )
    old = steady(COUNT, output_tokens=9)
    recording = read(write_run(tmp_path / "old", old, NATIVE))
    requests = recording.requests.copy()
    for name in lacking:
        requests[name] = NONE
    summary = summarize(replace(recording, requests=requests, asked=None))
    assert summary["verdict"]["level"] == "trusted"
    assert {name for name, fact in summary["answers"].items() if fact is None} == {
        "first_chunk", "unknown_output", "length", "prompt", "cached", "usage", "tokenized",
    }  # fmt: skip


# ---- how the tokens came ----


def test_answers_in_one_read_have_the_ttft_of_the_whole(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, all_at_once(), ONE_BY_ONE)
    found = finding(summary, "one_piece")
    assert (found["level"], found["value"]) == ("untrusted", 1.0)
    assert "200 of 200 answers (100 %) came in one piece" in found["reason"]


def test_a_few_answers_in_one_read_are_a_caution_with_their_share(tmp_path: Path) -> None:
    mixed = all_at_once(10) + [
        replace(request, index=10 + i) for i, request in enumerate(stream([10.0] * 29, 190))
    ]
    found = finding(summary_of(tmp_path, mixed), "one_piece")
    assert (found["level"], found["value"]) == ("caution", 0.05)


def test_a_long_answer_that_comes_in_many_reads_at_its_end_is_one_piece_too(tmp_path: Path) -> None:
    late = stream([0.004, 0.004, 0.2, 0.004, 0.004] * 100, 3, first_read_chunks=1, reads=250)
    for request in late:
        request.ttft = 5000
    assert finding(summary_of(tmp_path, late), "one_piece")["level"] == "untrusted"


def test_one_chunk_with_all_tokens_is_one_piece(tmp_path: Path) -> None:
    whole = stream((), output_tokens=30, usage_tokens=30, coalesced=0)
    assert finding(summary_of(tmp_path, whole, ONE_BY_ONE), "one_piece")["value"] == 1.0


@pytest.mark.parametrize("tokens", [1, 2])
def test_an_answer_of_one_chunk_and_the_end_is_as_it_should_be(tmp_path: Path, tokens: int) -> None:
    short = stream((), output_tokens=tokens, usage_tokens=tokens)
    assert "one_piece" not in names(summary_of(tmp_path, short, ONE_BY_ONE))


def test_a_proxy_that_fills_a_buffer_first_is_found_and_what_it_costs_is_said(tmp_path: Path) -> None:
    # 70 of 200 tokens in the first read: their gaps share the 10 ms to the next one
    gaps = [10 / 70] * 70 + [10.0] * 129
    held = stream(gaps, shared=[1] * 70 + [0] * 129, first_read_chunks=70, reads=131, coalesced=70)
    summary = summary_of(tmp_path, held, ONE_BY_ONE)
    found = finding(summary, "held_back")
    assert found["level"] == "untrusted"
    assert summary["answers"]["held_back"]["gap_share"] == pytest.approx(69 / 199)
    assert (
        "200 of 200 answers (100 %) began with several chunks at once (70 of 200, medians)" in found["reason"]
    )
    assert "by at least 690 ms" in found["reason"]
    assert "by 34.7 %" in found["reason"]
    assert not any("the mean of ITL is exact" in reason for reason in summary["verdict"]["reasons"])


@pytest.mark.parametrize(
    ("lag_ms", "blamed"), [(1.0, "proxy on this machine"), (40.0, "this client came late")]
)
def test_a_client_that_lags_is_blamed_for_a_burst_before_a_proxy(
    tmp_path: Path, lag_ms: float, blamed: str
) -> None:
    lags = quiet_histograms() | {"client_lag": histogram(*[lag_ms] * 100)}
    held = stream([0.01] * 9 + [10.0] * 10, first_read_chunks=10)
    found = finding(summary_of(tmp_path, held, ONE_BY_ONE, histograms=lags), "held_back")
    assert blamed in found["reason"]
    assert ("buffering" in found["reason"]) == (blamed != "this client came late")


def page(requests: int, ttft_s: float, inside_s: float) -> dict[str, float]:
    """Totals of /metrics: of so many requests, until the first token, and queue and prefill of it."""
    times = {"time_to_first_token": ttft_s, "request_queue_time": 0.0, "request_prefill_time": inside_s}
    sums = {f"{name}_seconds_sum": value for name, value in times.items()}
    return sums | {f"{name}_seconds_count": float(requests) for name in times}


@pytest.mark.parametrize(("front_ms", "is_named"), [(60.0, True), (5.0, False)])
def test_a_front_end_where_requests_spend_long_is_named_beside_a_client_that_lags(
    tmp_path: Path, front_ms: float, is_named: bool
) -> None:
    lags = quiet_histograms() | {"client_lag": histogram(*[40.0] * 100)}
    held = stream([0.01] * 9 + [10.0] * 10, first_read_chunks=10)  # by 90 ms
    pages = {"before": page(0, 0, 0), "after": page(COUNT, COUNT * (0.01 + front_ms / 1e3), COUNT * 0.01)}
    summary = summary_of(tmp_path, held, ONE_BY_ONE, histograms=lags, counters={"server": pages})
    reason = finding(summary, "held_back")["reason"]
    assert (f"front end, where a request spends {front_ms:.0f} ms" in reason) == is_named
    assert ("or this client read them late" in reason) == is_named
    assert ("this client came late" in reason) != is_named


def test_a_first_burst_over_several_reads_counts_as_one(tmp_path: Path) -> None:
    held = stream([0.01] * 20 + [0.15] + [0.01] * 18 + [10.0] * 60, first_read_chunks=13)
    summary = summary_of(tmp_path, held, ONE_BY_ONE)
    assert summary["answers"]["held_back"]["gap_share"] == pytest.approx(39 / 99)


def test_a_ttft_that_holds_the_first_tokens_of_a_long_answer_is_found(tmp_path: Path) -> None:
    long = stream([1.0] * 14 + [10.0] * 1000, 2, first_read_chunks=15)
    for request in long:
        request.ttft = 200
    found = finding(summary_of(tmp_path, long, ONE_BY_ONE), "held_back")
    assert found["level"] == "untrusted"
    assert found["value"] == pytest.approx(140 / 200, rel=0.01)


def test_chunks_that_share_a_read_later_on_hold_nothing_back(tmp_path: Path) -> None:
    gaps, shared = [10.0] * 10 + [5.0] * 20 + [10.0] * 69, [0] * 10 + [1] * 20 + [0] * 69
    summary = summary_of(tmp_path, stream(gaps, shared=shared, coalesced=20, reads=90), ONE_BY_ONE)
    assert names(summary) == ["coalesced"]
    assert "the mean of ITL is exact" in summary["verdict"]["reasons"][0]


def test_an_older_file_does_not_call_a_mean_exact_that_may_not_be(tmp_path: Path) -> None:
    shared = stream([10.0] * 9, shared=[1] * 9, first_read_chunks=NONE)
    (reason,) = summary_of(tmp_path, shared, ONE_BY_ONE)["verdict"]["reasons"]
    assert "ITL's percentiles are not exact" in reason


def test_a_stream_that_was_ignored_has_no_ttft_and_the_verdict_says_why(tmp_path: Path) -> None:
    body = {"first_token_ns": NONE, "first_text_ns": NONE, "first_token_seen_ns": NONE, "chunks": 0, "choices": 1,
            "body_kind": _engine.BODY_KINDS.index("json"), "first_chunk_bytes": NONE, "reads": 0}  # fmt: skip
    plain = stream((), **body, output_tokens=20)
    found = finding(summary_of(tmp_path, plain, ONE_BY_ONE), "not_streamed")
    assert (found["level"], found["value"]) == ("caution", 1.0)
    assert "no TTFT, TPOT and ITL" in found["reason"]
    assert "not_streamed" not in names(summary_of(tmp_path, plain, ONE_BY_ONE | {"stream": False}))
    assert "not_streamed" not in names(
        summary_of(tmp_path, plain, ONE_BY_ONE | {"backend": "openai-embeddings"})
    )


def test_events_with_unknown_fields_are_told(tmp_path: Path) -> None:
    found = finding(summary_of(tmp_path, steady(150) + [
        Request(150 + i, sent=75 * 81.0 + (i // 2) * 81, fields={"unknown_output": 3}) for i in range(50)
    ]), "unknown_output")  # fmt: skip
    assert (found["level"], found["value"]) == ("caution", 0.25)


# ---- TPOT and the first chunk ----


def tpot_case(tmp_path: Path, plan: dict[str, Any] | None = None, **fields: Any) -> Any:
    """13 chunks, 10 ms apart, 29 tokens by usage."""
    counts = {"output_tokens": 29, "usage_tokens": 29} | fields
    return finding(
        summary_of(tmp_path, stream([10.0] * 12, **counts), ONE_BY_ONE | (plan or {})), "first_chunk"
    )


def test_many_tokens_in_the_first_chunk_are_found_by_its_bytes(tmp_path: Path) -> None:
    found = tpot_case(tmp_path, output_bytes=116, first_chunk_bytes=68)
    assert (found["level"], found["value"]) == ("caution", pytest.approx(16 / 28))
    assert "about 17 of its 29 tokens" in found["reason"]
    assert "it is 10 ms, not 4.29 ms" in found["reason"]


def test_tokens_that_brought_no_bytes_at_all_are_found(tmp_path: Path) -> None:
    found = tpot_case(tmp_path, output_bytes=26, first_chunk_bytes=2)
    assert found["value"] == pytest.approx(16 / 28)


def test_tokens_of_each_chunk_that_the_server_told_are_exact(tmp_path: Path) -> None:
    told = stream([10.0] * 12, output_tokens=29, usage_tokens=29, output_bytes=65, first_chunk_bytes=5)
    for request in told:
        request.tokens = [1] * 12
    found = finding(summary_of(tmp_path, told, ONE_BY_ONE), "first_chunk")
    assert found["value"] == pytest.approx(16 / 28)


def test_several_tokens_in_every_chunk_are_no_reason(tmp_path: Path) -> None:
    """Speculative decoding: three tokens a chunk, the first as the others."""
    spread = stream([10.0] * 99, output_tokens=300, usage_tokens=300, output_bytes=1200, first_chunk_bytes=12)
    assert "first_chunk" not in names(summary_of(tmp_path, spread, ONE_BY_ONE))


def test_a_first_chunk_of_unknown_tokens_is_no_reason(tmp_path: Path) -> None:
    assert tpot_case(tmp_path, output_bytes=NONE, first_chunk_bytes=NONE) is None
    assert tpot_case(tmp_path, tokens_source=CHUNKS, output_bytes=116, first_chunk_bytes=68) is None


# ---- lengths ----


@pytest.mark.parametrize(
    ("asked", "plan", "says"),
    [
        (20, {}, "shorter than asked (4 tokens where 20 were asked"),
        (2, {}, "longer than asked (4 tokens where 2 were asked"),
        (20, {"ignore_eos": False, "extra_body": {"ignore_eos": True}}, "shorter"),
        (20, {"ignore_eos": False, "extra_body": {"min_tokens": 10}}, "4 tokens where 10 were asked"),
        (2, {"ignore_eos": False}, "longer"),
    ],
)
def test_answers_of_another_length_than_asked_are_told(
    tmp_path: Path, asked: int, plan: dict[str, Any], says: str
) -> None:
    found = finding(summary_of(tmp_path, steady(COUNT), plan, asked=(16, asked)), "length")
    assert (found["level"], found["value"]) == ("caution", 1.0)
    assert says in found["reason"]


def test_chunks_beyond_the_limit_may_be_no_tokens(tmp_path: Path) -> None:
    counted = [
        replace(request, fields=request.fields | {"tokens_source": CHUNKS}) for request in steady(COUNT)
    ]
    found = finding(summary_of(tmp_path, counted, asked=(16, 2)), "length")
    assert "more chunks than tokens" in found["reason"]
    by_usage = finding(summary_of(tmp_path, steady(COUNT), asked=(16, 2)), "length")
    assert "more chunks than tokens" not in by_usage["reason"]


@pytest.mark.parametrize(
    ("asked", "plan"),
    [
        (20, {"ignore_eos": False}),
        (20, {"extra_body": {"ignore_eos": None}}),
        (20, {"extra_body": {"ignore_eos": False}}),
        (5, {}),
        (3, {}),
        (None, {}),
        (20, {"ignore_eos": False, "extra_body": {"min_tokens": 4}}),
    ],
)
def test_answers_that_may_be_so_long_are_no_reason(
    tmp_path: Path, asked: int | None, plan: dict[str, Any]
) -> None:
    assert finding(summary_of(tmp_path, steady(COUNT), plan, asked=(16, asked)), "length") is None


def test_each_choice_is_held_against_the_limit(tmp_path: Path) -> None:
    both = steady(COUNT, choices=2, output_tokens=8, usage_tokens=8)
    assert finding(summary_of(tmp_path, both, asked=(16, 4)), "length") is None


def test_a_chat_server_that_ignores_its_limit_is_offered_the_other_field(tmp_path: Path) -> None:
    found = finding(summary_of(tmp_path, steady(COUNT), CHAT, asked=(16, 2)), "length")
    assert "--chat-max-tokens" in found["reason"]
    asked = CHAT | {"chat_max_tokens": True}
    assert (
        "--chat-max-tokens"
        not in finding(summary_of(tmp_path, steady(COUNT), asked, asked=(16, 2)), "length")["reason"]
    )


@pytest.mark.parametrize(
    ("sent", "plan", "is_cut"),
    [
        (1024, {}, True),
        (18, {}, True),
        (17, {}, False),
        (14, {}, False),
        (18, CHAT, False),
        (21, CHAT, True),
        (18, {"text_prompts": True}, False),
        (18, {"tokenizer": "x"} | CHAT, True),
        (31, {"dataset_name": "sharegpt"}, False),
        (33, {"dataset_name": "sharegpt"}, True),
        (18, {"dataset_name": "sharegpt", "tokenizer": "x"}, True),
        (None, {}, False),
    ],
)
def test_prompts_that_are_shorter_at_the_server_are_told(
    tmp_path: Path, sent: int | None, plan: dict[str, Any], is_cut: bool
) -> None:
    found = finding(summary_of(tmp_path, steady(COUNT), plan, asked=(sent, 4)), "prompt")
    assert (found is not None) == is_cut
    if found:
        assert "16 tokens by its usage" in found["reason"]


def test_a_prompt_of_no_tokens_was_not_counted(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(COUNT, prompt_tokens=0), asked=(16, 4))
    assert finding(summary, "prompt") is None
    assert summary["tokens"]["prompt"] is None
    assert summary["throughput"]["total_tokens_per_s"] is None


def test_prompts_from_the_cache_are_told_beyond_the_prefix_of_the_plan(tmp_path: Path) -> None:
    cached = steady(COUNT, cached_tokens=12)
    assert finding(summary_of(tmp_path, cached, {"prefix_len": 12}), "cached") is None
    found = finding(summary_of(tmp_path, cached, {"prefix_len": 4}), "cached")
    assert (found["level"], found["value"]) == ("caution", 0.5)
    assert "50 % of the prompt tokens came from the server's prefix cache" in found["reason"]


def test_a_usage_below_what_came_is_told(tmp_path: Path) -> None:
    wrong = steady(COUNT, usage_tokens=0, tokens_source=CHUNKS)
    summary = summary_of(tmp_path, wrong, asked=(16, 4))
    found = finding(summary, "usage")
    assert (found["level"], found["value"]) == ("caution", 1.0)
    assert "0 tokens where 4 came" in found["reason"]
    assert names(summary) == ["usage"]


def test_lost_results_are_told(tmp_path: Path) -> None:
    found = finding(summary_of(tmp_path, steady(COUNT), counters={"lost": 7}), "lost_results")
    assert (found["level"], "7 requests" in found["reason"]) == ("untrusted", True)


# ---- the table ----


def test_a_finding_has_its_name_its_value_and_its_thresholds(tmp_path: Path) -> None:
    (found,) = summary_of(tmp_path, steady(50), asked=(16, 4))["verdict"]["findings"]
    assert found == {
        "name": "few_samples", "level": "caution", "value": 1.0, "caution_above": 0, "untrusted_above": None,
        "reason": "only 50 requests completed: p99 is hardly more than the largest value",
    }  # fmt: skip


def test_every_rule_of_the_verdict_has_a_name_of_its_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
