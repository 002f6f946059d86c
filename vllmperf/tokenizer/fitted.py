"""Texts of a wanted number of tokens, found by decoding and encoding again (0.33)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllmperf.tokenizer import tail
from vllmperf.tokenizer.circle import Circle, Run, Start
from vllmperf.tokenizer.tokens import Encoded, Tokens

TRIES = 10
FILLER = " the"

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
    starts = begin_all(tokens, sequences)
    return [fitted(tokens, start, length, draw) for start, length in zip(starts, wanted, strict=True)]


def fit_runs(
    tokens: Tokens,
    circle: Circle | None,
    runs: Sequence[Run],
    ring: list[int],
    wanted: Sequence[int],
    draw: Draw,
) -> list[Fit]:
    """The same for runs of a circle of ids."""
    begun: list[Start | None] = [None] * len(runs)
    if circle is not None:
        begun = circle.begin(tokens, runs)
    others = [i for i, start in enumerate(begun) if start is None]
    for i, start in zip(others, begin_all(tokens, [_ids(runs[i], ring) for i in others]), strict=True):
        begun[i] = start
    starts = [start for start in begun if start is not None]
    return [fitted(tokens, start, length, draw) for start, length in zip(starts, wanted, strict=True)]


def _ids(run: Run, ring: list[int]) -> list[int]:
    return run.prefix + [ring[(run.start + k) % len(ring)] for k in range(run.length)]


def begin_all(tokens: Tokens, sequences: Sequence[list[int]]) -> list[Start]:
    """The first round: what sequences decode to, and what that encodes to."""
    texts = tokens.decode(sequences)
    encoded = tokens.encode_with_words(texts)
    return [_start(tokens, text, found) for text, found in zip(texts, encoded, strict=True)]


def _start(tokens: Tokens, text: str, found: Encoded) -> Start:
    ids = found.ids

    def cut(stay: int) -> tuple[int, int] | None:
        at = tail.place(found.word_ids, stay) if tokens.is_local else None
        return None if at is None else (at, len(text) - len(tokens.decode_one(ids[at:])))

    return Start(text, ids, cut)


def fitted(tokens: Tokens, start: Start, wanted: int, draw: Draw) -> Fit:
    """A begun text brought to its length."""
    if len(start.ids) == wanted:
        return Fit(start.text, start.ids)
    piece = _tail(tokens, start, wanted) or Piece(start.ids, start.text, "", [])
    own = wanted - len(piece.head_ids)
    for _ in range(TRIES):
        if len(piece.ids) == own:
            break
        missing = own - len(piece.ids)
        piece.ids = piece.ids[:own] if missing <= 0 else piece.ids + draw(missing)
        piece.text = tokens.decode_one(piece.ids)
        piece.ids = tokens.encode_one(piece.text)
    return Fit(piece.head + piece.text, piece.head_ids + piece.ids)


def filled(tokens: Tokens, fit: Fit, wanted: int) -> Fit:
    """What drawn ids do not reach (they may be halves of a character), a plain word at the end mostly does."""
    ids, kept = fit.ids, wanted
    for _ in range(TRIES):
        if len(fit.ids) == wanted:
            break
        text = tokens.decode_one(ids[:kept])
        text += FILLER * max(0, wanted - tokens.count(text, special=False))
        fit = Fit(text, tokens.encode_one(text))
        kept = max(0, kept - max(1, len(fit.ids) - wanted))
    return fit


def _tail(tokens: Tokens, start: Start, wanted: int) -> Piece | None:
    """The end of a text as a piece of its own; None when it cannot be looked at alone."""
    place = start.cut(min(len(start.ids), wanted))
    if place is None:
        return None
    at, char = place
    head, end, ids = start.text[:char], start.text[char:], start.ids[at:]
    is_safe = start.is_sure or (tokens.decode_one(ids) == end and tokens.encode_one(end) == ids)
    return Piece(ids, end, head, start.ids[:at]) if is_safe else None
