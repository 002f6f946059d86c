"""Texts of a wanted number of tokens, found by decoding and encoding again (0.33)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllmperf.load.datasets.tokens import Tokens

TRIES = 10

Draw = Callable[[int], list[int]]
"""So many ids of the whole vocabulary."""


@dataclass(slots=True)
class Fit:
    """One text on its way. length: its tokens now. left: tries that are left."""

    ids: list[int]
    wanted: int
    text: str = ""
    left: int = TRIES
    done: bool = False

    @property
    def missing(self) -> int:
        return self.wanted - len(self.ids)

    @property
    def excess(self) -> int:
        """Tokens too many (below 0: too few) of a text that is done; 0 is the usual case."""
        return len(self.ids) - self.wanted


def fit_all(tokens: Tokens, sequences: Sequence[list[int]], wanted: Sequence[int], draw: Draw) -> list[Fit]:
    """Each sequence as a text of so many tokens, or near to it after ten tries.

    What is too long is cut, what is too short is filled up with drawn ids. The draws come in the order of the
    sequences, as if one were finished before the next begins; everything that draws nothing is done for all at once.
    """
    fits = [Fit(ids, length) for ids, length in zip(sequences, wanted, strict=True)]
    _advance(tokens, fits)
    for fit in fits:
        while not fit.done:
            fit.ids += draw(fit.missing)
            _advance(tokens, [fit])
    return fits


def _advance(tokens: Tokens, fits: Sequence[Fit]) -> None:
    """Decode and encode, cutting what is too long, until each fit is done or needs ids drawn."""
    going = list(fits)
    while going:
        for fit, text in zip(going, tokens.decode([fit.ids for fit in going]), strict=True):
            fit.text = text
        for fit, ids in zip(going, tokens.encode([fit.text for fit in going]), strict=True):
            fit.ids = ids
        going = [fit for fit in going if _goes_on(fit)]


def _goes_on(fit: Fit) -> bool:
    """Whether there is another round without a draw."""
    if fit.left <= 0 or fit.missing == 0:
        fit.done = True
        return False
    fit.left -= 1
    if fit.missing > 0:
        return False
    fit.ids = fit.ids[: fit.wanted]
    return True
