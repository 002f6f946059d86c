"""The JSON body of each request, with the fields that `vllm bench serve` sends (its 2026 version)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vllmperf.load.workload import prompts
from vllmperf.plan import Plan


def bodies(plan: Plan, model: str) -> Iterator[bytes]:
    """The body of each request, in order. What is the same in all of them is rendered once."""
    key, before, after = _prompt_field(plan)
    limit = "max_completion_tokens" if plan.is_chat else "max_tokens"
    has_prompt, has_limit = key not in plan.extra_body, limit not in plan.extra_body
    tail = _members({**fixed_fields(plan, model), **plan.extra_body})
    for prompt in prompts(plan):
        own = f'"{key}":{before}{prompt.json}{after},' if has_prompt else ""
        if has_limit and prompt.output_len is not None:
            own += f'"{limit}":{prompt.output_len},'
        yield f"{{{own}{tail}}}".encode()


def fixed_fields(plan: Plan, model: str) -> dict[str, Any]:
    """What all bodies of a run share; --extra-body comes last and wins."""
    fields: dict[str, Any] = {"model": model}
    if plan.is_chat:
        if plan.logprobs is not None:
            fields |= {"logprobs": True, "top_logprobs": plan.logprobs}
    elif plan.backend == "vllm":
        fields |= {"repetition_penalty": 1.0, "logprobs": plan.logprobs}
    elif plan.logprobs is not None:  # what only vLLM knows would be refused by stricter servers
        fields["logprobs"] = plan.logprobs
    fields |= {"stream": plan.stream}
    if plan.stream:
        fields |= {"stream_options": {"include_usage": True}}
    if plan.ignore_eos:
        fields["ignore_eos"] = True
    if plan.n > 1:
        fields["n"] = plan.n
    return {**fields, **plan.sampling}


def _prompt_field(plan: Plan) -> tuple[str, str, str]:
    """The field that holds the prompt, and the JSON before and behind it."""
    if plan.is_chat:
        return "messages", '[{"role":"user","content":[{"type":"text","text":', "}]}]"
    return "prompt", "", ""


def _members(fields: dict[str, Any]) -> str:
    return ",".join(
        f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in fields.items()
    )
