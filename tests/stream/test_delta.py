"""The chunk scanner against its twin: the json module and a tree."""

import json
import random
from typing import Any

import pytest
from twins import delta as twin

from vllmperf._engine import delta_scan

CHUNKS = [
    b'{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":" a","logprobs":null,'
    b'"finish_reason":null,"stop_reason":null,"token_ids":[7,8]}],"usage":null}',
    b'{"choices":[{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
    b'{"choices":[{"index":0,"delta":{"reasoning":"so","reasoning_content":null},"finish_reason":null}]}',
    b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}',
    b'{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":""}}}]}',
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a","refusal":null,"tool_calls":[]},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":0}}}',
    b'{"choices":[],"usage":{"completion_tokens":5,"prompt_tokens":9}}',
    b'{"choices":[],"metrics":{"time_to_first_token_ms":23.402900000000003,"generation_time_ms":1e-05,"queue_time_ms":0.0,'
    b'"speculative_decoding":{"num_spec_steps":3,"num_accepted_draft_tokens":4,"num_draft_tokens":6}}}',
    b'{"metrics":{"queue_time_ms":1},"metrics":{"queue_time_ms":-1,"generation_time_ms":1e13,"time_to_first_token_ms":"5"}}',
    b'{"usage":{"completion_tokens_details":{"accepted_prediction_tokens":7,"rejected_prediction_tokens":0}},"metrics":[]}',
    b'{"choices":[{"index":0,"text":"a"},{"index":1,"text":""},{"index":2,"text":null}]}',
    b'{"error":{"message":"no","type":"BadRequestError","param":null,"code":400}}',
    b'{"object":"error","message":"no","code":400}',
    b'{"error":null}',
    b" { } ",
    b" [DONE] ",
    b'{"choices":[{"text":"\\u00e9\\ud83d\\ude00\\ud83d \\u0000 \\n\\"\\\\\\/"}]}',
    '{"choices":[{"text":"é€😀"}]}'.encode(),
    b'{"choices":[{"text":"half \xe2\x82"}]}',
    b'{"choices":[{"text":"first","text":""},5,null,[]],"choices":7,"usage":[],"usage":{"prompt_tokens":1.0}}',
    b'{"choices":[{"text":"a"}],"choices":[{"text":"b","t\\u0065xt":"c"}],"usage":{"prompt_tokens":5e0},"usage":null}',
    b'{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"t "}]},'
    b'{"type":"text","text":"\\u00e9a"},{"text":"b","type":"reasoning.text","id":"x"}]}}]}',
    b'{"choices":[{"delta":{"content":null,"reasoning_details":[{"type":"reasoning.summary","summary":"s"}],'
    b'"thinking_blocks":[{"type":"thinking","thinking":"t","signature":"sig"}],"annotations":[{"url":"u"}]}}]}',
    b'{"choices":[{"delta":{"role":"assistant","content":"","audio":{"id":"a","transcript":"hi"}}}]}',
    b'{"choices":[{"delta":{"role":"assistant","content":"","mood":"good"},"reasoning_text":"own"}]}',
    b'{"choices":[{"message":{"content":"so far"},"delta":{}},{"message":{"content":"all"},"delta":null}]}',
    b'{"choices":[{"delta":"right away"},{"message":"here","text":"and here"},{"content":"bare","delta":{}}]}',
    b'{"choices":[{"delta":{"tool_calls":{"name":"f","arguments":{"a":"b","n":[1,"c"]}},"tool":"t"}}]}',
    b'{"choices":[{"text":"","token_ids":[]},{"text":"","token_ids":[1]},{"text":"","token_ids":null}]}',
    b'{"choices":[{"text":"a","finish_reason":""},{"finish_reason":"null"},{"finish_reason":{"type":"stop"}},'
    b'{"finish_reason":"stop","finish_reason":null},{"finish_reason":"None"},{"finish_reason":"l\\u0065ngth"}]}',
    b'{"choices":[{"text":"a","logprobs":{"token_logprobs":[NaN,-Infinity,Infinity]}}],"error":{"code":0,"message":""}}',
    b'{"error":false,"error":{"a":[{"b":[0.0e9,null,""]}]},"usage":{"completion_tokens":1.2e1,"total_tokens":-0.0}}',
    b'{"error":[[1]],"object":"error"}',
    b'{"code":"Throttling","message":"slow down","request_id":"a"}',
    b'{"detail":[{"type":"extra_forbidden","msg":"no"}]}',
    b'{"message":{"role":"assistant","content":"hi"},"done":false}',
    b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}',
    b'\xef\xbb\xbf{"choices":[{"text":"after a mark"}]}',
    b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":19,"completion_tokens":13,'
    b'"total_tokens":32,"cached_tokens":10}}],"usage":null}',
    b'{"choices":[{"usage":null},{"usage":{"completion_tokens":2}},{"usage":{"completion_tokens":3}}],"usage":{"total_tokens":null}}',
    b'{"x_groq":{"id":"req_1","usage":{"queue_time":0.05,"prompt_tokens":9,"completion_tokens":4,'
    b'"prompt_tokens_details":{"cached_tokens":5}}},"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    b'{"x_groq":{"usage":{"completion_tokens":4}},"choices":[{"usage":{"completion_tokens":3}}],"usage":{"completion_tokens":5}}',
    b'{"x_groq":{"usage":{"prompt_tokens":1}},"x_groq":5,"choices":[{"usage":{"prompt_tokens":2},"usage":[]}],"usage":{}}',
    b'{"choices":[{"delta":{},"error":{"code":502,"message":"upstream"},"finish_reason":null}]}',
    b'{"choices":[{"error":5},{"error":"no"},{"error":{"code":0}}],"x_groq":{"error":"over capacity"},"error":null}',
    b'{"choices":[{"error":{"code":1}}],"x_groq":{"error":"b"},"error":"own","choices":[{"text":"a"}]}',
    b'{"usage":{"prompt_cache_hit_tokens":4,"prompt_tokens_details":{"cached_tokens":null},"prompt_tokens":9}}',
]


def held_against_the_twin(data: bytes) -> Any:
    try:
        expected = twin.scan(data)
    except ValueError:
        with pytest.raises(ValueError, match="no JSON object"):
            delta_scan(data)
        return None
    found = delta_scan(data)
    if found is not None:
        raw = found["error"]
        found["error"] = None if raw is None else twin.read(raw)
    assert found == expected, data
    return found


@pytest.mark.parametrize("data", CHUNKS)
def test_a_chunk_is_read_as_the_twin_reads_it(data: bytes) -> None:
    assert held_against_the_twin(data) is not None or b"DONE" in data


def test_blanks_between_tokens_change_nothing() -> None:
    tight = CHUNKS[5]
    loose = json.dumps(json.loads(tight), indent=1).replace("\n", " \r\n\t").encode()
    assert delta_scan(b" \n" + loose + b"\t\r\n ") == delta_scan(tight)
    for chunk in CHUNKS[0], CHUNKS[5]:
        for comma, colon in (", ", ":"), (",", ": "), (" ,", " :"), (",\n", ":\t"):
            spaced = json.dumps(json.loads(chunk), separators=(comma, colon)).encode()
            assert delta_scan(spaced) == delta_scan(chunk)


@pytest.mark.parametrize("data", CHUNKS)
def test_no_part_of_a_chunk_is_taken_for_one(data: bytes) -> None:
    for end in range(len(data.rstrip())):
        with pytest.raises(ValueError, match="no JSON object"):
            delta_scan(data[:end])
    with pytest.raises(ValueError, match="no JSON object"):
        delta_scan(data + b"x")


@pytest.mark.parametrize("seed", range(10))
def test_damaged_chunks_are_refused_or_read_as_the_twin_does(seed: int) -> None:
    rng = random.Random(seed)
    marks = b'{}[]:,"\\u0123456789.-+eE ntrf\x00\x1f\x7f\x80\xe2\xff\r\n'
    for _ in range(1500):
        data = bytearray(rng.choice(CHUNKS))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            edit = rng.randrange(3)
            if edit == 0:
                data[at] = rng.choice(marks)
            elif edit == 1:
                data.insert(at, rng.choice(marks))
            elif len(data) > 1:
                del data[at]
        held_against_the_twin(bytes(data))


NAMES = [
    "choices", "text", "delta", "message", "content", "refusal", "reasoning", "reasoning_content",
    "role", "tool_calls", "function_call", "token_ids", "finish_reason", "index", "usage",
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens",
    "prompt_cache_hit_tokens", "x_groq", "usage",
    "metrics", "queue_time_ms", "time_to_first_token_ms", "generation_time_ms", "speculative_decoding",
    "num_spec_steps", "num_draft_tokens", "num_accepted_draft_tokens", "completion_tokens_details",
    "accepted_prediction_tokens", "rejected_prediction_tokens",
    "error", "object", "conten", "contents", "thinking", "reasoning_details", "audio", "transcript",
    "id", "type", "signature", "stop_reason", "content_filter_results", "mood", "detail", "errors",
    "logprobs", "request_id", "t\\u0065xt", "c\\u006fntent", "",
]  # fmt: skip


def random_json(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(9 if depth else 6)
    if kind < 3:
        return rng.choice(
            [
                "null",
                "true",
                "false",
                '""',
                '"a"',
                '"error"',
                '"null"',
                '"thinking"',
                "0",
                "-1",
                "-0.0",
                "17",
                "1e3",
                "2.50",
                "25.0e-1",
                "70E-1",
                "9" * 19,
                "NaN",
                "-Infinity",
                "Infinity",
            ]
        )
    if kind < 6:
        return json.dumps(
            "".join(rng.choices('ab"\\/\n\t\x7fé€😀', k=rng.randrange(12))), ensure_ascii=rng.random() < 0.5
        )
    if kind == 6:
        return "[" + ",".join(random_json(rng, depth - 1) for _ in range(rng.randrange(4))) + "]"
    return random_object(rng, depth)


def random_object(rng: random.Random, depth: int) -> str:
    names = rng.choices(NAMES, k=rng.randrange(6))
    return "{" + ",".join(f'"{name}":{random_json(rng, depth - 1)}' for name in names) + "}"


@pytest.mark.parametrize("seed", range(10))
def test_known_names_with_values_of_any_type_are_read_as_the_twin_does(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        choices = ",".join(random_object(rng, 4) for _ in range(rng.randrange(3)))
        members = [
            f'"choices":[{choices}]',
            *(f'"{rng.choice(NAMES)}":{random_json(rng, 4)}' for _ in range(3)),
        ]
        rng.shuffle(members)
        held_against_the_twin(("{" + ",".join(members) + "}").encode())


@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_brackets_may_be_128_deep(bracket: str) -> None:
    def nested(depth: int) -> bytes:
        opening = "[" if bracket == "[]" else '{"a":'
        inside = opening * depth + "1" + bracket[1] * depth
        return f'{{"choices":[{{"logprobs":{inside}}}]}}'.encode()

    assert held_against_the_twin(nested(125)) is not None
    assert held_against_the_twin(nested(126)) is None


def test_a_hundred_thousand_brackets_are_refused_and_do_no_harm() -> None:
    for data in (b'{"a":' * 100_000, b'{"a":' + b"[" * 100_000, b'{"choices":[{"text":' + b"[" * 100_000):
        with pytest.raises(ValueError, match="no JSON object"):
            delta_scan(data)


def test_all_escapes_of_the_basic_plane_are_decoded_as_json_decodes_them() -> None:
    for start in range(0, 0x10000, 0x100):
        raw = "".join(f"\\u{c:04x}\\u{c:04X}x" for c in range(start, start + 0x100))
        held_against_the_twin(f'{{"choices":[{{"text":"{raw}"}}]}}'.encode())
