"""Answers of servers for open models."""

from __future__ import annotations

import json

from answers.case import (
    COUNTED,
    DONE,
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

SERVERS = {
    "SGLang: role and usage null in each": Case(
        chunk(
            {"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None},
            usage=None,
            matched_stop=None,
        )
        + b"".join(
            chunk({"role": None, "content": w, "reasoning_content": None, "tool_calls": None}, usage=None)
            for w in WORDS
        )
        + chunk(
            {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}, "stop", usage=None
        )
        + usage(prompt_tokens_details=None, reasoning_tokens=0)
        + DONE
    ),
    "SGLang: a comment of the cache report": Case(
        ROLE + said(*WORDS) + STOP + usage(prompt_tokens_details={"cached_tokens": 4}) + DONE, cached=4
    ),
    "TGI: role in each, data: without blank": Case(
        b"".join(
            chunk({"role": "assistant", "content": w}, system_fingerprint="3.0.1-sha").replace(
                b"data: ", b"data:"
            )
            for w in WORDS
        )
        + chunk({"role": "assistant", "content": ""}, "stop").replace(b"data: ", b"data:")
        + DONE.replace(b"data: ", b"data:"),
        **COUNTED,
    ),
    "TGI: an error event": Case(
        said("Hi")
        + event(
            {
                "error": "Request failed during generation: Server error: CUDA out of memory",
                "error_type": "generation",
            }
        ),
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="CUDA out of memory",
        **COUNTED,
    ),
    "TGI: its own API": Case(
        b"".join(
            event(
                {
                    "index": i,
                    "token": {"id": 5, "text": w, "logprob": -0.1, "special": False},
                    "generated_text": None,
                    "details": None,
                }
            )
            for i, w in enumerate(WORDS)
        ),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="no_tokens",
        words="",
        **COUNTED,
    ),
    "llama.cpp: timings and content null first": Case(
        chunk({"role": "assistant", "content": None})
        + said(*WORDS)
        + STOP
        + event({"choices": [], "usage": USAGE, "timings": {"cache_n": 4, "prompt_n": 5, "predicted_n": 3}})
        + DONE
    ),
    "llama.cpp: usage and timings with the finish": Case(
        said(*WORDS)
        + chunk({}, "stop", usage=USAGE, timings={"prompt_n": 5, "prompt_ms": 1.5, "predicted_n": 3})
        + DONE
    ),
    "llama.cpp: error field": Case(
        said("Hi") + b'error: {"code":500,"message":"slot unavailable","type":"server_error"}\n\n',
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="slot unavailable",
        **COUNTED,
    ),
    "Ollama: the last with content empty": Case(
        b"".join(chunk({"role": "assistant", "content": w}) for w in WORDS)
        + chunk({"role": "assistant", "content": ""}, "stop")
        + usage()
        + DONE
    ),
    "Ollama: its own lines of JSON": Case(
        b"".join(
            json.dumps({"model": "m", "message": {"role": "assistant", "content": w}, "done": False}).encode()
            + b"\n"
            for w in WORDS
        ),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="malformed",
        kind="application/x-ndjson",
        **COUNTED,
    ),
    "LM Studio: stats and an event of an error": Case(
        said("Hi") + b'event: error\ndata: {"error":{"message":"The model has crashed"}}\n\n',
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="The model has crashed",
        **COUNTED,
    ),
    "LM Studio: reasoning beside content": Case(
        chunk({"role": "assistant", "reasoning": "hm"}) + said(*WORDS[1:]) + STOP + usage() + DONE,
        text=" there!",
        chunks=3,
        first=2,
    ),
    "TensorRT-LLM: usage in each, finish reason repeated": Case(
        chunk({"role": "assistant"})
        + each(WORDS, usage=running)
        + chunk({}, "stop", usage=running(3))
        + chunk({}, "stop", usage=running(3))
        + DONE
    ),
    "Triton: finish_reason stop with the last word": Case(
        each(WORDS[:2]) + chunk({"content": "!"}, "stop") + usage() + DONE
    ),
    "Triton generate_stream": Case(
        b"".join(
            event({"model_name": "ensemble", "model_version": "1", "sequence_end": False, "text_output": w})
            for w in WORDS
        ),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="no_tokens",
        **COUNTED,
    ),
    "vLLM: reasoning": Case(
        ROLE
        + chunk({"reasoning": "hm", "reasoning_content": "hm"})
        + said(*WORDS)
        + STOP
        + usage(completion_tokens=4)
        + DONE,
        chunks=4,
        tokens=4,
    ),
    "vLLM: prompt_token_ids and token_ids": Case(
        event(
            {
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}],
                "prompt_token_ids": [1, 2, 3],
            }
        )
        + b"".join(
            event({"choices": [{"index": 0, "delta": {"content": w}, "token_ids": [i]}]})
            for i, w in enumerate(WORDS)
        )
        + STOP
        + DONE,
        source="token_ids",
        prompt=None,
    ),
    "vLLM: continuous usage": Case(
        chunk({"role": "assistant", "content": ""}, usage=running(0))
        + each(WORDS, usage=running)
        + chunk({}, "stop", usage=running(3))
        + usage()
        + DONE
    ),
    "vLLM: speculative decoding, two tokens a chunk": Case(
        chunk({"role": "assistant", "content": ""}, usage=running(0))
        + each(WORDS, usage=lambda i: running(2 * i))
        + chunk({"content": ""}, "stop", usage=running(7))
        + usage(completion_tokens=7)
        + DONE,
        tokens=7,
        chunks=4,
    ),
    "vLLM: error in the stream, then DONE": Case(
        said("Hi")
        + event(
            {
                "error": {
                    "message": "EngineCore encountered an issue",
                    "type": "InternalServerError",
                    "param": None,
                    "code": 500,
                }
            }
        )
        + DONE,
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="EngineCore encountered an issue",
        **COUNTED,
    ),
    "vLLM: older error object": Case(
        said("Hi")
        + event({"object": "error", "message": "aborted by the engine", "type": "x", "code": 500})
        + DONE,
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="aborted by the engine",
        **COUNTED,
    ),
}
