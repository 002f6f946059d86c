"""What a run with prefix_hit_rate needs of the server's prefix cache: nothing in it but the common prefixes."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from vllmperf.datasets import Prompt
from vllmperf.datasets.dataset import BLOCK_TOKENS
from vllmperf.datasets.reuse import common_beginnings, reuse, tokens_of
from vllmperf.loadgen.bodies import prompts_of, spec_of
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.scrape.block_size import block_size
from vllmperf.target import AnswerError, Client, client_of

RESET = "/reset_prefix_cache"
"""vLLM has it with VLLM_SERVER_DEV_MODE=1."""
MOST_LOOKED_AT = 10_000
LOOKED_AT_WITHOUT_END = 1000


class Priming(NamedTuple):
    """prompts: to be sent before the run, an answer of one token each. facts: for the run file."""

    prompts: list[Prompt]
    facts: dict[str, Any]


def prime(task: Task) -> Priming:
    """Empty the server's prefix cache, where it can be done, and say what brings the common prefixes into it."""
    client = client_of(task.plan.target, task.credentials)
    block = _block_of(client)
    found, facts = expected(task.plan, block)
    was_reset = _reset(client)
    asked = task.plan.workload.prefix_hit_rate
    return Priming(found, {"asked": asked, **facts, "primed": len(found), "was_reset": was_reset})


def by_data(plan: Plan) -> dict[str, Any] | None:
    """The facts of a run whose data say what a cache can hold of them; the cache is left as it is. None for other data."""
    of_data = plan.workload.dataset.reuse
    if of_data is None:
        return None
    found, block = of_data(spec_of(plan))
    return {"asked": None, "allowed": found.rate, "block_size": block, "primed": 0, "was_reset": False}


def expected(plan: Plan, block: int) -> tuple[list[Prompt], dict[str, Any]]:
    """The common prefixes, and the hit rate that the prompts allow once these are in the cache."""
    n = plan.load.num_prompts or LOOKED_AT_WITHOUT_END
    found = list(itertools.islice(prompts_of(plan), min(n, MOST_LOOKED_AT)))
    tokenizer = None
    if plan.tokenizer:
        from vllmperf.tokenizer.tokens import Tokens

        tokenizer = Tokens(plan.tokenizer)
    sequences = [tokens_of(prompt, tokenizer) for prompt in found]
    first = common_beginnings(found, sequences, block)
    allowed = reuse(sequences, block, (tokens_of(prompt, tokenizer) for prompt in first))
    return first, {"allowed": allowed.rate, "block_size": block, "of_requests": len(found)}


def _block_of(client: Client) -> int:
    try:
        return block_size(client.get("/metrics").decode(errors="replace")) or BLOCK_TOKENS
    except (AnswerError, ValueError):
        return BLOCK_TOKENS


def _reset(client: Client) -> bool:
    try:
        client.post(RESET, b"")
    except AnswerError:
        return False
    return True
