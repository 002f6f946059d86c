"""Texts of a wanted number of tokens, found by decoding and encoding again (0.33)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllmperf.load.datasets import tail
from vllmperf.load.datasets.tokens import Encoded, Tokens

TRIES = 10

Draw = Callable[[int], list[int]]
"""So many ids of the whole vocabulary."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A text and what it encodes to: `wanted` ids, or nearly so many after ten tries."""

    text: str
    ids: list[int]


@dataclass(slots=True)
class Piece:
    """What is still worked on. head: the part of the text before it, which stays, with its ids."""

    ids: list[int]
    text: str
    head: str
    head_ids: list[int]


def fit_all(tokens: Tokens, sequences: Sequence[list[int]], wanted: Sequence[int], draw: Draw) -> list[Fit]:
    """Each sequence as a text of so many tokens, or near to it after ten tries.

    What is too long is cut, what is too short is filled up with drawn ids, and it is decoded and encoded again. The
    draws come in the order of the sequences, one finished before the next begins. The first round is done for all
    at once, and where the tokenizer allows it later ones look at the end of a text only.
    """
    texts = tokens.decode(sequences)
    encoded = tokens.encode_with_words(texts)
    return [
        _fitted(tokens, text, found, length, draw)
        for text, found, length in zip(texts, encoded, wanted, strict=True)
    ]


def _fitted(tokens: Tokens, text: str, found: Encoded, wanted: int, draw: Draw) -> Fit:
    ids = found.ids
    if len(ids) == wanted:
        return Fit(text, ids)
    piece = _tail(tokens, text, found, wanted) or Piece(ids, text, "", [])
    own = wanted - len(piece.head_ids)
    for _ in range(TRIES):
        if len(piece.ids) == own:
            break
        missing = own - len(piece.ids)
        piece.ids = piece.ids[:own] if missing <= 0 else piece.ids + draw(missing)
        piece.text = tokens.decode_one(piece.ids)
        piece.ids = tokens.encode_one(piece.text)
    return Fit(piece.head + piece.text, piece.head_ids + piece.ids)


def _tail(tokens: Tokens, text: str, found: Encoded, wanted: int) -> Piece | None:
    """The end of a text as a piece of its own; None when it cannot be looked at alone."""
    at = tail.place(found.word_ids, wanted) if tokens.is_local else None
    if at is None:
        return None
    ids = found.ids[at:]
    end = tokens.decode_one(ids)
    head = text[: len(text) - len(end)]
    is_safe = text.endswith(end) and tokens.is_settled(head) and tokens.encode_one(end) == ids
    return Piece(ids, end, head, found.ids[:at]) if is_safe else None
