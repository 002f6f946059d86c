"""Answers of clouds with models of their own."""

from __future__ import annotations

from typing import Any

from answers.case import (
    COUNTED,
    DONE,
    PLAIN,
    ROLE,
    STOP,
    USAGE,
    WORDS,
    Case,
    chunk,
    each,
    event,
    running,
    said,
    usage,
)


def typed(kind: str, **more: Any) -> bytes:
    return b"event: %s\n%s" % (kind.encode(), event({"type": kind, **more}))


CLOUDS = {
    "Mistral: content as parts": Case(
        chunk({"role": "assistant", "content": ""})
        + chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})
        + b"".join(chunk({"content": [{"type": "text", "text": w}]}) for w in WORDS)
        + chunk({"content": ""}, "stop", usage={**USAGE, "completion_tokens": 4})
        + DONE,
        chunks=4,
        tokens=4,
    ),
    "Mistral: padding p": Case(
        b"".join(
            event(
                {
                    "choices": [{"index": 0, "delta": {"content": w}, "finish_reason": None}],
                    "p": "abcdefghijkl",
                }
            )
            for w in WORDS
        )
        + chunk({"content": ""}, "stop", usage=USAGE, p="abc")
        + DONE
    ),
    "Anthropic's own events": Case(
        typed("message_start", message={"role": "assistant", "content": [], "usage": {"input_tokens": 9}})
        + b"".join(typed("content_block_delta", delta={"type": "text_delta", "text": w}) for w in WORDS)
        + typed("message_stop"),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="no_tokens",
        words="text_delta",
        **COUNTED,
    ),
    "Anthropic by its endpoint for OpenAI": Case(said(*WORDS) + chunk({}, "stop", usage=USAGE) + DONE),
    "DeepSeek: reasoning_content and content null": Case(
        chunk({"role": "assistant", "content": None, "reasoning_content": ""})
        + chunk({"content": None, "reasoning_content": "hm"})
        + b"".join(chunk({"content": w, "reasoning_content": None}) for w in WORDS)
        + chunk(
            {"content": "", "reasoning_content": None},
            "stop",
            usage={
                **USAGE,
                "completion_tokens": 4,
                "prompt_cache_hit_tokens": 4,
                "prompt_cache_miss_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        )
        + DONE,
        chunks=4,
        tokens=4,
        cached=4,
    ),
    "DeepSeek: keep-alive": Case(b": keep-alive\n\n" * 4 + PLAIN),
    "Gemini: usage in each, tool call id empty, no DONE": Case(
        b"".join(
            chunk(
                {"role": "assistant", "content": w},
                usage={"completion_tokens": i, "prompt_tokens": 9, "total_tokens": 9 + i},
            )
            for i, w in enumerate(WORDS[:2], 1)
        )
        + chunk({"role": "assistant", "content": "!"}, "stop", usage=USAGE)
    ),
    "Gemini: an error as a list": Case(
        b'[{"error":{"code":429,"message":"quota exceeded","status":"RESOURCE_EXHAUSTED"}}]',
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="malformed",
        kind="application/json",
        words="quota exceeded",
        **COUNTED,
    ),
    "Gemini: an error as a list in the stream": Case(
        said("Hi") + event([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]),
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="malformed",
        words="overloaded",
        **COUNTED,
    ),
    "Gemini: thought signature": Case(
        said(*WORDS[:2])
        + chunk(
            {"content": "!", "extra_content": {"google": {"thought_signature": "QUJD"}}}, "stop", usage=USAGE
        )
        + DONE
    ),
    "Gemini: signature alone in the last": Case(
        said(*WORDS)
        + chunk(
            {"extra_content": {"google": {"thought_signature": "QUJD"}}, "role": "assistant"},
            "stop",
            usage=USAGE,
        )
        + DONE
    ),
    "Bedrock gateway: metrics behind": Case(
        ROLE
        + said(*WORDS)
        + STOP
        + usage()
        + DONE
        + event(
            {
                "amazon-bedrock-invocationMetrics": {
                    "inputTokenCount": 9,
                    "outputTokenCount": 3,
                    "invocationLatency": 300,
                }
            }
        )
    ),
    "Bedrock gateway: metrics in the last chunk": Case(
        said(*WORDS)
        + chunk(
            {}, "stop", **{"amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 3}}
        )
        + usage()
        + DONE
    ),
    "Moonshot: usage in the choice": Case(
        ROLE
        + said(*WORDS)
        + event(
            {
                "choices": [
                    {"index": 0, "delta": {}, "finish_reason": "stop", "usage": {**USAGE, "cached_tokens": 4}}
                ]
            }
        )
        + DONE,
        cached=4,
    ),
    "Groq: usage in x_groq": Case(
        chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"})
        + said(*WORDS)
        + chunk(
            {},
            "stop",
            x_groq={
                "id": "req_1",
                "usage": {
                    "queue_time": 0.01,
                    "prompt_time": 0.02,
                    **USAGE,
                    "prompt_tokens_details": {"cached_tokens": 4},
                },
            },
        )
        + DONE,
        cached=4,
    ),
    "MiniMax: an error in base_resp": Case(
        event({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="stream_error",
        words="login fail",
        **COUNTED,
    ),
    "MiniMax: base_resp that is well": Case(
        PLAIN.replace(b'{"object"', b'{"base_resp": {"status_code": 0, "status_msg": ""}, "object"')
    ),
    "Groq: an error in x_groq": Case(
        said("Hi") + chunk({}, None, x_groq={"id": "req_1", "error": "over capacity"}) + DONE,
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="over capacity",
        **COUNTED,
    ),
    "Cerebras: time_info": Case(
        said(*WORDS)
        + chunk(
            {}, "stop", usage=USAGE, time_info={"queue_time": 0.1, "prompt_time": 0.1, "completion_time": 0.1}
        )
        + DONE
    ),
    "Fireworks: perf_metrics": Case(
        said(*WORDS) + chunk({}, "stop", usage=USAGE, perf_metrics={"server-ttft": 0.1}) + DONE
    ),
    "Together: token in each choice": Case(
        b"".join(
            event(
                {
                    "choices": [
                        {
                            "index": 0,
                            "role": "assistant",
                            "text": w,
                            "delta": {"token_id": 5, "role": "assistant", "content": w, "tool_calls": None},
                            "logprobs": None,
                            "finish_reason": None,
                            "seed": None,
                        }
                    ],
                    "usage": None,
                }
            )
            for w in WORDS
        )
        + event(
            {
                "choices": [
                    {
                        "index": 0,
                        "text": "",
                        "delta": {"token_id": 2, "role": "assistant", "content": ""},
                        "finish_reason": "stop",
                        "seed": 1234,
                    }
                ],
                "usage": USAGE,
            }
        )
        + DONE
    ),
    "Perplexity: the answer so far and citations": Case(
        b"".join(
            event(
                {
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "".join(WORDS[: i + 1])},
                            "delta": {"role": "assistant", "content": w},
                            "finish_reason": None,
                        }
                    ],
                    "usage": running(i + 1),
                    "citations": ["https://a"],
                }
            )
            for i, w in enumerate(WORDS)
        )
        + event(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "".join(WORDS)},
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": "stop",
                    }
                ],
                "usage": USAGE,
                "citations": ["https://a"],
            }
        )
        + DONE
    ),
    "DashScope: role first, usage null, then usage": Case(
        chunk({"content": "", "role": "assistant"}, usage=None)
        + each(WORDS, usage=lambda _: None)
        + chunk({"content": ""}, "stop", usage=None)
        + usage()
        + DONE
    ),
    "OpenAI: obfuscation and service tier": Case(
        chunk(
            {"role": "assistant", "content": "", "refusal": None},
            obfuscation="x3",
            service_tier="default",
            usage=None,
        )
        + b"".join(chunk({"content": w}, obfuscation="9sk2j", usage=None) for w in WORDS)
        + chunk({}, "stop", obfuscation="k", usage=None)
        + event({"choices": [], "usage": USAGE, "obfuscation": ""})
        + DONE
    ),
}
