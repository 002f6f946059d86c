"""The JSON body of each request, with the fields that `vllm bench serve` sends (its 2026 version)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from vllmperf.datasets import Spec, prompts
from vllmperf.load.merge_patch import merged
from vllmperf.plan import Plan


class Body(NamedTuple):
    """The JSON of a request, and what it asks for: tokens of its prompt and of a choice's answer, None where not known."""

    data: bytes
    prompt_tokens: int | None = None
    output_tokens: int | None = None


def bodies(plan: Plan, model: str) -> Iterator[Body]:
    """The body of each request, in order. What is the same in all of them is rendered once."""
    key, before, after = _prompt_field(plan)
    limit, patch = plan.limit_field, plan.extra_body
    has_prompt, has_limit = key not in patch, limit not in patch
    tail = _members(merged(fixed_fields(plan, model), patch))
    for prompt in prompts(spec_of(plan)):
        own = [f'"{key}":{before}{prompt.json}{after}'] if has_prompt else []
        if has_limit and prompt.output_len is not None:
            own.append(f'"{limit}":{prompt.output_len}')
        data = f"{{{','.join([*own, *tail])}}}".encode()
        output_len = prompt.output_len if has_limit else _length(patch[limit])
        yield Body(data, prompt.input_len if has_prompt else None, output_len)


def spec_of(plan: Plan) -> Spec:
    """What the plan asks of its data set."""
    return Spec(
        dataset_name=plan.dataset_name,
        dataset_path=plan.dataset_path,
        tokenizer=plan.tokenizer,
        input_len=plan.input_len,
        output_len=plan.output_len,
        prefix_len=plan.prefix_len,
        random_range_ratio=plan.random_range_ratio,
        options=plan.dataset_options,
        seed=plan.seed,
        num_prompts=plan.num_prompts,
        takes_ids=not (plan.is_chat or plan.text_prompts),
    )


def _length(limit: Any) -> int | None:
    return limit if type(limit) is int and limit > 0 else None


def fixed_fields(plan: Plan, model: str) -> dict[str, Any]:
    """What all bodies of a run share, before --extra-body changes it."""
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
    if not plan.is_chat:
        return "prompt", "", ""
    if plan.string_content:
        return "messages", '[{"role":"user","content":', "}]"
    return "messages", '[{"role":"user","content":[{"type":"text","text":', "}]}]"


def _members(fields: dict[str, Any]) -> list[str]:
    return [
        f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in fields.items()
    ]
