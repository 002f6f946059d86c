"""What a prefix cache can find again of prompts, by theory: block hashes as in vLLM, and a cache that forgets nothing."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vllmperf.datasets.dataset import BLOCK_TOKENS, Prompt, Reuse

if TYPE_CHECKING:
    from vllmperf.tokenizer.tokens import Tokens


def chain(tokens: Sequence[Hashable], block: int) -> Iterator[int]:
    """The hash of each full block and all before it."""
    hashed = 0
    for end in range(block, len(tokens) + 1, block):
        hashed = hash((hashed, *tokens[end - block : end]))
        yield hashed


def reuse(
    prompts: Iterable[Sequence[Hashable]],
    block: int = BLOCK_TOKENS,
    before: Iterable[Sequence[Hashable]] = (),
) -> Reuse:
    """Of prompts that come one after the other, to a cache that has seen those `before`.

    As in vLLM a prompt shares whole blocks from its beginning on, and never its last token: that one is computed.
    """
    known = {hashed for tokens in before for hashed in chain(tokens, block)}
    return reuse_of_blocks(((list(chain(tokens, block)), len(tokens)) for tokens in prompts), block, known)


def reuse_of_blocks(
    prompts: Iterable[tuple[Sequence[int], int]], block: int, known: Iterable[int] = ()
) -> Reuse:
    """The same of hashes that are given: of each full block and all before it, and the tokens of the prompt."""
    known = set(known)
    cached = total = 0
    for hashes, length in prompts:
        most = hashes[: (length - 1) // block]
        cached += block * next((i for i, hashed in enumerate(most) if hashed not in known), len(most))
        total += length
        known.update(hashes)
    return Reuse(cached, total)


def tokens_of(prompt: Prompt, tokenizer: Tokens | None) -> Sequence[Hashable]:
    """The prompt's token ids; without a tokenizer a text has its words in their place."""
    content = json.loads(prompt.json)
    if isinstance(content, list):
        return content
    return tokenizer.encode_one(content) if tokenizer else content.split()


def common_beginnings(
    prompts: Sequence[Prompt], sequences: Sequence[Sequence[Hashable]], block: int
) -> list[Prompt]:
    """For prompts that begin with the same block: what the first two of them have in common, as a prompt."""
    first: dict[int, int] = {}
    found: dict[int, Prompt] = {}
    for number, tokens in enumerate(sequences):
        begin = next(chain(tokens, block), None)
        if begin is None or begin in found:
            continue
        if begin in first:
            found[begin] = _common(prompts[first[begin]], prompts[number])
        else:
            first[begin] = number
    return list(found.values())


def _common(a: Prompt, b: Prompt) -> Prompt:
    one, other = json.loads(a.json), json.loads(b.json)
    ends = (i for i, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    common = one[: next(ends, min(len(one), len(other)))]
    return Prompt.of(common, 1, len(common) if isinstance(common, list) else None)
