"""What each provider of llm_bench is sent: path, body, order of its fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vllmperf.dropin.llm_bench.options import Options
from vllmperf.errors import UsageError

Prompt = str | dict[str, Any]
Body = dict[str, Any]


@dataclass(frozen=True)
class Provider:
    """A row of the table.

    change turns the body of an OpenAI server into the provider's; path: where other than there; model: what is
    taken when none is given; refused: why it is not here.
    """

    change: Callable[[Body, Options], Body] = lambda body, _: body
    path: str | None = None
    model: str | None = None
    refused: str | None = None


def _vllm(body: Body, _: Options) -> Body:
    return {**body, "ignore_eos": True}


def _fireworks(body: Body, options: Options) -> Body:
    if options.is_old:
        return {
            **body,
            "min_tokens": body.get("max_tokens"),
            "prompt_cache_max_len": options.prompt_cache_max_len,
        }
    more: Body = {"perf_metrics_in_response": True}
    if options.prompt_cache_max_pct is not None:
        more["prompt_cache_max_pct"] = int(options.prompt_cache_max_pct)
    return {**body, **more}


def _together(body: Body, _: Options) -> Body:
    stream = body.pop("stream", True)
    return {**body, "ignore_eos": True, "stream_tokens": stream}


def _tgi(body: Body, options: Options) -> Body:
    return {
        "inputs": body["prompt"],
        "parameters": {
            "max_new_tokens": body["max_tokens"],
            "temperature": options.temperature,
            "top_n_tokens": options.logprobs,
            "details": options.logprobs is not None,
        },
    }


TRITON = "its answers repeat the prompt and have no times of tokens"

PROVIDERS = {
    "fireworks": Provider(_fireworks),
    "vllm": Provider(_vllm),
    "sglang": Provider(_vllm),
    "openai": Provider(),
    "anyscale": Provider(),
    "together": Provider(_together, path="/"),
    "triton-infer": Provider(refused=TRITON),
    "triton-generate": Provider(refused=TRITON),
    "tgi": Provider(_tgi, path="/generate", model="<unused>"),
}
BY_HOST = {"fireworks.ai": "fireworks", "together": "together", "openai": "openai", "anyscale": "anyscale"}
"""What a host's name tells, in this order."""


def provider_of_host(host: str) -> str | None:
    """The provider that the URL betrays."""
    return next((name for part, name in BY_HOST.items() if part in host), None)


def check(name: str, options: Options) -> None:
    """UsageError for a provider that is not here, or not with these options."""
    provider = PROVIDERS[name]
    if provider.refused:
        known = ", ".join(key for key, value in PROVIDERS.items() if not value.refused)
        raise UsageError(f"--provider {name} is not supported ({provider.refused}): choose one of {known}")
    if provider.path and options.chat:
        raise UsageError(f"--provider {name} knows no chat: give --no-chat")
    if name == "tgi" and options.n != 1:
        raise UsageError("--provider tgi gives one answer to a request: leave out -n")


def is_raw(name: str, options: Options) -> bool:
    """The engine must hand the answers over as they are: it does not read what is asked for."""
    return options.logprobs is not None or options.embeddings or name in ("tgi", "together")


def path(name: str, options: Options) -> str:
    """Where the requests go."""
    if options.embeddings:
        return "/v1/embeddings"
    if name == "tgi" and options.stream:
        return "/generate_stream"
    return PROVIDERS[name].path or ("/v1/chat/completions" if options.chat else "/v1/completions")


def body(name: str, options: Options, model: str, prompt: Prompt, max_tokens: int) -> bytes:
    """The body, byte for byte as the original writes it."""
    fields = (
        _embeddings(options, model, prompt)
        if options.embeddings
        else _openai(options, model, prompt, max_tokens)
    )
    return json.dumps(PROVIDERS[name].change(fields, options)).encode()


def _embeddings(options: Options, model: str, prompt: Prompt) -> Body:
    return {"model": model, "input": prompt, "normalize": options.normalize}


def _openai(options: Options, model: str, prompt: Prompt, max_tokens: int) -> Body:
    fields: Body = {
        "model": model,
        "max_tokens": max_tokens,
        "stream": options.stream,
        "temperature": options.temperature,
        "n": options.n,
    }
    if options.is_old:
        return {**fields, **_prompt(options, prompt), **_logprobs(options)}
    if options.stream:
        fields["stream_options"] = {"include_usage": True}
    if options.top_k is not None:
        fields["top_k"] = options.top_k
    fields |= _logprobs(options)
    if options.reasoning_effort is not None:
        fields["reasoning_effort"] = options.reasoning_effort
    fields |= _prompt(options, prompt)
    return _without_assistant(fields) if options.clear_assistant else fields


def _logprobs(options: Options) -> Body:
    return {} if options.logprobs is None else {"logprobs": options.logprobs}


def _prompt(options: Options, prompt: Prompt) -> Body:
    """The prompt's field; a row of a 2026-06 data set brings fields of its own, one of 2024-10 may bring images."""
    if isinstance(prompt, str):
        return {"messages": [{"role": "user", "content": prompt}]} if options.chat else {"prompt": prompt}
    if not options.is_old:
        return prompt
    text, images = prompt["prompt"], prompt.get("images")
    if images is None:
        return _prompt(options, text)
    if not options.chat:
        return {"prompt": text, "images": images}
    parts = [{"type": "text", "text": text}]
    parts += [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {"messages": [{"role": "user", "content": parts}]}


def _without_assistant(fields: Body) -> Body:
    messages = fields.get("messages")
    if isinstance(messages, list) and messages and messages[-1].get("role") == "assistant":
        return {**fields, "messages": messages[:-1]}
    return fields
