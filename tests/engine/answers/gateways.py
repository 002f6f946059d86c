"""Answers of gateways in front of servers, and of Azure."""

from __future__ import annotations

from answers.case import COUNTED, DONE, STOP, USAGE, WORDS, Case, chunk, event, said, usage

GATEWAYS = {
    "LiteLLM: usage in the last, choices not empty": Case(
        said(*WORDS)
        + STOP
        + chunk({}, usage={**USAGE, "completion_tokens_details": None, "prompt_tokens_details": None})
        + DONE
    ),
    "LiteLLM: an error and no DONE": Case(
        said("Hi")
        + event(
            {
                "error": {
                    "message": "litellm.MidStreamFallbackError: upstream closed",
                    "type": None,
                    "param": None,
                    "code": "500",
                }
            }
        ),
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="MidStreamFallbackError",
        **COUNTED,
    ),
    "LiteLLM: Anthropic's cache counts": Case(
        said(*WORDS)
        + STOP
        + usage(
            cache_creation_input_tokens=0,
            cache_read_input_tokens=4,
            prompt_tokens_details={"cached_tokens": 4, "audio_tokens": None},
        )
        + DONE,
        cached=4,
    ),
    "OpenRouter: PROCESSING and native finish reason": Case(
        b": OPENROUTER PROCESSING\n\n" * 3
        + b"".join(
            event(
                {
                    "provider": "X",
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"role": "assistant", "content": w},
                            "finish_reason": None,
                            "native_finish_reason": None,
                            "logprobs": None,
                        }
                    ],
                }
            )
            for w in WORDS
        )
        + event(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": "stop",
                        "native_finish_reason": "end_turn",
                    }
                ]
            }
        )
        + event(
            {
                "choices": [
                    {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
                ],
                "usage": {**USAGE, "cost": 0.001, "cost_details": {"upstream_inference_cost": None}},
            }
        )
        + DONE
    ),
    "OpenRouter: an error in a choice": Case(
        said("Hi")
        + event(
            {
                "error": {"code": 502, "message": "Provider returned error"},
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            }
        )
        + DONE,
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="Provider returned error",
        **COUNTED,
    ),
    "OpenRouter: an error of a choice": Case(
        said("Hi")
        + event(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "error": {"code": 502, "message": "upstream gone"},
                        "finish_reason": None,
                    }
                ]
            }
        )
        + DONE,
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="upstream gone",
        **COUNTED,
    ),
    "Azure: filters first, offsets last": Case(
        event(
            {
                "id": "",
                "model": "",
                "choices": [],
                "prompt_filter_results": [
                    {
                        "prompt_index": 0,
                        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
                    }
                ],
            }
        )
        + event(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": "", "refusal": None},
                        "content_filter_results": {},
                        "finish_reason": None,
                    }
                ]
            }
        )
        + b"".join(
            event(
                {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"content": w},
                            "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
                            "logprobs": None,
                        }
                    ]
                }
            )
            for w in WORDS
        )
        + STOP
        + usage()
        + DONE
    ),
    "Azure: asynchronous filter": Case(
        said(*WORDS)
        + event(
            {
                "id": "",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "content_filter_results": {"violence": {"filtered": False, "severity": "safe"}},
                        "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
                    }
                ],
            }
        )
        + STOP
        + usage()
        + DONE
    ),
}
