"""random-rerank: one drawn query with batches of drawn documents."""

from __future__ import annotations

import numpy as np

from vllmperf.datasets.dataset import Sample
from vllmperf.datasets.random_text import filler, fit_usual, spread
from vllmperf.errors import UsageError
from vllmperf.tokenizer.circle import Run
from vllmperf.tokenizer.tokens import Tokens


def samples(
    tokens: Tokens,
    n: int,
    *,
    seed: int,
    input_len: int,
    ratio: float,
    batch: int,
    is_reranker: bool = True,
) -> list[Sample]:
    """Requests of `batch` documents each, n documents in all; each prompt is [query, document, ...].

    A reranker sees query and document together: they share the input length. Without one (is_reranker=False) the
    query is one more text of the batch.
    """
    draw = np.random.default_rng(seed)
    between = int(is_reranker)
    (query_len,), (query_place,) = _lengths_and_places(
        tokens, draw, input_len // 2 - between if is_reranker else input_len, ratio, 1
    )
    if not is_reranker:
        if n < 2 or batch < 2:
            raise UsageError("--no-reranker needs --num-prompts and --random-batch-size above 1")
        n, batch = n - 1, batch - 1
    document_len = input_len - query_len - between if is_reranker else input_len
    lengths, places = _lengths_and_places(tokens, draw, document_len, ratio, n)
    runs = [Run([], query_place, query_len)]
    runs += [
        Run([], place + i, length) for i, (place, length) in enumerate(zip(places, lengths, strict=True), 1)
    ]
    query, *documents = fit_usual(tokens, runs, [run.length for run in runs], filler(draw, tokens))
    found = []
    for number, first in enumerate(range(0, n, batch)):
        group = documents[first : first + batch]
        shared = (len(query.ids) + between) * len(group) if is_reranker else len(query.ids)
        texts = [query.text, *(document.text for document in group)]
        found.append(Sample(texts, shared + sum(len(document.ids) for document in group), 0, number))
    return found


def _lengths_and_places(
    tokens: Tokens, draw: np.random.Generator, length: int, ratio: float, n: int
) -> tuple[list[int], list[int]]:
    """Lengths, then the lengths of answers that nobody asks for, then places: the draws of `random`."""
    lengths = list(spread(draw, max(0, length - tokens.special_count), ratio, n))
    spread(draw, 0, ratio, n, least=1)
    return lengths, draw.integers(0, tokens.vocab_size, size=n).tolist()
