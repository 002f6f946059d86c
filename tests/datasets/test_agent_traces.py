"""Recorded sessions of agents become trees of turns: traces of WEKA and AgentX, and spans of OpenTelemetry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vllmperf import datasets
from vllmperf.datasets.dataset import Conversation, Spec
from vllmperf.errors import UsageError


def sessions(tmp_path: Path, name: str, content: Any, n: int = 1, **asked: Any) -> list[Conversation]:
    path = tmp_path / ("trace.jsonl" if isinstance(content, str) else "trace.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    spec = Spec(dataset_name=name, dataset_path=str(path), num_prompts=n, seed=3, **asked)
    return list(datasets.sessions(spec))


def request(t: float, tokens: int, out: int, hashes: list[int] | None = None, **more: Any) -> dict[str, Any]:
    return {"t": t, "type": "n", "model": "m", "in": tokens, "out": out, "hash_ids": hashes or [], **more}


def weka(*requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"id": "trace_1", "models": ["m"], "block_size": 64, "hash_id_scope": "local"}
    return {**head, "tool_tokens": 30, "system_tokens": 10, "requests": list(requests), **more}


# ---- WEKA ----


def test_a_turn_of_weka_says_what_its_prompt_has_more_than_the_prompt_and_answer_before(tmp_path):
    trace = weka(
        request(0.0, 200, 20, [1, 2, 3], api_time=2.0),
        request(5.0, 300, 30, [1, 2, 3, 4], think_time=3.0),
    )
    [one] = sessions(tmp_path, "weka", trace)
    assert one.system_len == 40
    assert [ask.input_len for ask in one.asks] == [160, 300 - 200 - 20]
    assert [ask.output_len for ask in one.asks] == [20, 30]
    assert [len(ask.text.split()) for ask in one.asks] == [160, 80]
    assert one.asks[1].after == (0,)
    assert not one.asks[1].is_fresh
    assert one.asks[1].wait_s == 3.0


def test_a_prompt_of_weka_that_does_not_begin_with_the_one_before_starts_anew(tmp_path):
    trace = weka(request(0, 200, 20, [1, 2, 3]), request(1, 300, 20, [1, 9, 3]), request(2, 100, 20, [1, 9]))
    [one] = sessions(tmp_path, "weka", trace)
    assert [ask.is_fresh for ask in one.asks] == [True, True, True]
    assert [ask.input_len for ask in one.asks] == [160, 260, 60]
    assert [ask.after for ask in one.asks] == [(), (0,), (1,)]


@pytest.mark.parametrize("inner_t", [0.0, 2.5], ids=["from the subagent's start", "from the session's start"])
def test_subagents_of_weka_run_beside_each_other_and_the_next_turn_quotes_their_answers(tmp_path, inner_t):
    def subagent(name: str, out: int) -> dict[str, Any]:
        inner = [request(inner_t, 100, 9), request(inner_t + 1, 150, out)]
        return {"t": 2.5, "type": "subagent", "agent_id": name, "subagent_type": "Explore", "requests": inner}

    trace = weka(
        request(0, 200, 20, api_time=2.0),
        subagent("a", 11),
        subagent("b", 12),
        request(9, 400, 20, api_time=1),
    )
    [one] = sessions(tmp_path, "weka", trace)
    assert [ask.after for ask in one.asks] == [(), (0,), (1,), (0,), (3,), (0, 2, 4)]
    assert [ask.is_fresh for ask in one.asks] == [True, True, False, True, False, False]
    assert one.asks[5].answers_of == (2, 4)
    assert one.asks[5].input_len == 400 - 200 - 20 - 11 - 12
    assert one.asks[1].wait_s == one.asks[3].wait_s == 0.5
    assert one.asks[5].wait_s is None  # nobody recorded how long the subagents' last calls took


def test_sessions_of_weka_have_the_same_system_prompt_and_nothing_else_in_common(tmp_path):
    rows = "".join(json.dumps(weka(request(0, 200, 20))) + "\n" for _ in range(2))
    one, two = sessions(tmp_path, "weka", rows, n=2)
    assert one.system == two.system
    assert one.asks[0].text[:20] != two.asks[0].text[:20]


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ({"id": "x"}, 'no list "requests"'),
        (weka({"t": 0, "type": "n", "out": 3}), '"in" must be a whole number of at least 1 (got None)'),
        (weka(request(0, 100, -1)), '"out" must be a whole number of at least 0 (got -1)'),
        (weka(request(-1, 100, 1)), '"t" must be a number of seconds (got -1)'),
        (weka(request(0, 100, 1), block_size=0), '"block_size" must be a whole number of at least 1'),
        (weka(), "holds no session with a request"),
    ],
)
def test_a_bad_trace_of_weka_is_refused_with_what_is_wrong_in_it(tmp_path, trace, words):
    with pytest.raises(UsageError) as error:
        sessions(tmp_path, "weka", trace)
    assert words in str(error.value)


# ---- OpenTelemetry ----


def span(own: str, parent: str | None, start: int, end: int, **attributes: Any) -> dict[str, Any]:
    named = {"gen_ai." + name.replace("__", "."): value for name, value in attributes.items()}
    return {
        "trace_id": "t1",
        "span_id": own,
        "parent_span_id": parent,
        "start_time": f"2026-11-30T10:00:{start:02}Z",
        "end_time": f"2026-11-30T10:00:{end:02}Z",
        "attributes": named,
    }


def said(*pairs: tuple[str, str]) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in pairs])


def chat(own: str, parent: str, start: int, end: int, messages: str, out: int) -> dict[str, Any]:
    return span(
        own,
        parent,
        start,
        end,
        operation__name="chat",
        input__messages=messages,
        usage__output_tokens=out,
        usage__input_tokens=5,
    )


FIRST = (("system", "you are an agent"), ("user", "fix it"))
SPANS = [
    span("root", None, 0, 50, operation__name="invoke_agent"),
    chat("c1", "root", 1, 3, said(*FIRST), 7),
    span("tool", "root", 4, 9, operation__name="execute_tool"),
    span("sub", "tool", 4, 9, operation__name="invoke_agent"),
    chat("s1", "sub", 5, 6, said(("system", "you are an agent"), ("user", "look")), 8),
    chat(
        "s2",
        "sub",
        7,
        9,
        said(("system", "you are an agent"), ("user", "look"), ("assistant", "?"), ("tool", "found")),
        9,
    ),
    chat(
        "c2",
        "root",
        12,
        14,
        said(*FIRST, ("assistant", "I call a tool"), ("tool", "output"), ("user", "go on")),
        6,
    ),
]


def as_otlp(spans: list[dict[str, Any]]) -> dict[str, Any]:
    """As a collector's file exporter writes them."""

    def one(each: dict[str, Any]) -> dict[str, Any]:
        attributes = [
            {
                "key": key,
                "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value},
            }
            for key, value in each["attributes"].items()
        ]
        seconds = [int(each[name][-3:-1]) for name in ("start_time", "end_time")]
        return {
            "traceId": each["trace_id"],
            "spanId": each["span_id"],
            "parentSpanId": each["parent_span_id"] or "",
            "startTimeUnixNano": str(1_700_000_000_000_000_000 + seconds[0] * 10**9),
            "endTimeUnixNano": str(1_700_000_000_000_000_000 + seconds[1] * 10**9),
            "attributes": attributes,
            "status": {},
        }

    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(map(one, spans))}]}]
    }


@pytest.mark.parametrize(
    "content",
    [
        as_otlp(SPANS),
        {"trace_id": "t1", "spans": SPANS},
        "".join(json.dumps(each) + "\n" for each in reversed(SPANS)),
    ],
    ids=["OTLP JSON", "a trace a row", "a span a row, in any order"],
)
def test_spans_of_opentelemetry_become_turns_with_the_recorded_messages(tmp_path, content):
    [one] = sessions(tmp_path, "otel", content)
    assert one.system == "you are an agent"
    assert [ask.text for ask in one.asks] == ["fix it", "look", "found", "output\ngo on"]
    assert [ask.output_len for ask in one.asks] == [7, 8, 9, 6]
    assert [ask.after for ask in one.asks] == [(), (0,), (1,), (0, 2)]
    assert [ask.is_fresh for ask in one.asks] == [True, True, False, False]
    assert one.asks[3].answers_of == (2,)
    assert [ask.wait_s for ask in one.asks] == [None, 2.0, 1.0, 3.0]


def test_a_failed_call_is_not_sent(tmp_path):
    failed = {**SPANS[1], "span_id": "c0", "status": {"code": 2}}
    [one] = sessions(tmp_path, "otel", {"trace_id": "t1", "spans": [failed, *SPANS]})
    assert len(one.asks) == 4


def test_calls_whose_messages_were_not_recorded_have_made_up_words_of_the_recorded_lengths(tmp_path):
    def call(own: str, start: int, tokens: int) -> dict[str, Any]:
        return span(
            own,
            None,
            start,
            start + 1,
            operation__name="chat",
            usage__input_tokens=tokens,
            usage__output_tokens=10,
        )

    [one] = sessions(tmp_path, "otel", {"trace_id": "t1", "spans": [call("a", 1, 100), call("b", 3, 150)]})
    assert [ask.input_len for ask in one.asks] == [100, 40]
    assert len(one.asks[1].text.split()) == 40
    assert one.system is None


def test_messages_as_openllmetry_numbers_them_are_read(tmp_path):
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.usage.completion_tokens": "4"}
    attributes |= {"gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "be brief"}
    attributes |= {"gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "hello"}
    spans = [{**SPANS[1], "parent_span_id": None, "attributes": attributes}]
    [one] = sessions(tmp_path, "otel", {"trace_id": "t1", "spans": spans})
    assert (one.system, one.asks[0].text, one.asks[0].output_len) == ("be brief", "hello", 4)


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ([{**SPANS[1], "start_time": None}], "span c1 has no start time"),
        ([{**SPANS[1], "start_time": "noon"}], "span c1: 'noon' is no time"),
        ([{**SPANS[1], "attributes": 3}], "attributes are neither an object nor OTLP's list"),
        (
            [span("a", None, 1, 2, operation__name="chat", usage__output_tokens=3)],
            "neither gen_ai.input.messages nor",
        ),
        (
            [span("a", None, 1, 2, operation__name="chat", usage__input_tokens=3)],
            "neither gen_ai.usage.output_tokens",
        ),
        ([SPANS[0]], "holds no span of a model call"),
    ],
)
def test_a_bad_span_is_refused_with_what_is_wrong_in_it(tmp_path, spans, words):
    with pytest.raises(UsageError) as error:
        sessions(tmp_path, "otel", {"trace_id": "t1", "spans": spans})
    assert words in str(error.value)
