"""The JSON body of each request, with the fields that `vllm bench serve` sends (its 2026 version)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from vllmperf.datasets import Prompt, Spec, prompts
from vllmperf.loadgen.merge_patch import merged
from vllmperf.plan import Plan


class Body(NamedTuple):
    """The JSON of a request, and what it asks for: tokens of its prompt and of a choice's answer, None where not known."""

    data: bytes
    prompt_tokens: int | None = None
    output_tokens: int | None = None


def bodies(plan: Plan, model: str, of: Iterable[Prompt] | None = None) -> Iterator[Body]:
    """The body of each request, in order, of the plan's prompts unless others are given. What is the same in all of them is
    rendered once."""
    _, before, after = _prompt_field(plan)
    found = prompts_of(plan) if of is None else of
    if before or after:
        found = (prompt._replace(json=f"{before}{prompt.json}{after}") for prompt in found)
    yield from map(renderer(plan, model), found)


def renderer(plan: Plan, model: str) -> Callable[[Prompt], Body]:
    """Makes the body of a prompt whose JSON is all that its field has: a prompt, or the messages of a chat."""
    key, limit, patch = _prompt_field(plan)[0], plan.limit_field, plan.workload.extra_body
    has_prompt, has_limit = key not in patch, limit not in patch
    tail = [",".join(members)] if (members := _members(merged(fixed_fields(plan, model), patch))) else []

    def rendered(prompt: Prompt) -> Body:
        own = [f'"{key}":{prompt.json}'] if has_prompt else []
        if has_limit and prompt.output_len is not None:
            own.append(f'"{limit}":{prompt.output_len}')
        data = f"{{{','.join([*own, *tail])}}}".encode()
        output_len = prompt.output_len if has_limit else _length(patch[limit])
        return Body(data, prompt.input_len if has_prompt else None, output_len)

    return rendered


def prompts_of(plan: Plan) -> Iterator[Prompt]:
    """The plan's prompts, in order, with its salt."""
    salt, found = plan.workload.prompt_salt, prompts(spec_of(plan))
    if salt is None:
        return found
    from vllmperf.loadgen.salt import salted

    return (salted(prompt, salt) for prompt in found)


def spec_of(plan: Plan) -> Spec:
    """What the plan asks of its data set."""
    takes_ids = not (plan.target.is_chat or plan.workload.text_prompts)
    return plan.workload.spec._replace(
        tokenizer=plan.tokenizer,
        num_prompts=plan.load.num_prompts,
        takes_ids=takes_ids,
        is_models_tokenizer=plan.workload.tokenizer is None,
    )


def _length(limit: Any) -> int | None:
    return limit if type(limit) is int and limit > 0 else None


def fixed_fields(plan: Plan, model: str) -> dict[str, Any]:
    """What all bodies of a run share, before --extra-body changes it."""
    fields: dict[str, Any] = {"model": model}
    if plan.target.is_chat:
        if plan.workload.logprobs is not None:
            fields |= {"logprobs": True, "top_logprobs": plan.workload.logprobs}
    elif plan.target.backend == "vllm":
        fields |= {"repetition_penalty": 1.0, "logprobs": plan.workload.logprobs}
    elif plan.workload.logprobs is not None:  # what only vLLM knows would be refused by stricter servers
        fields["logprobs"] = plan.workload.logprobs
    fields |= {"stream": plan.workload.stream}
    if plan.workload.stream:
        fields |= {"stream_options": {"include_usage": True}}
    if plan.workload.ignore_eos:
        fields["ignore_eos"] = True
    if plan.workload.n > 1:
        fields["n"] = plan.workload.n
    return {**fields, **plan.workload.sampling}


def _prompt_field(plan: Plan) -> tuple[str, str, str]:
    """The field that holds the prompt, and the JSON before and behind it."""
    if not plan.target.is_chat:
        return "prompt", "", ""
    if plan.workload.string_content:
        return "messages", '[{"role":"user","content":', "}]"
    return "messages", '[{"role":"user","content":[{"type":"text","text":', "}]}]"


def _members(fields: dict[str, Any]) -> list[str]:
    return [
        f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in fields.items()
    ]
