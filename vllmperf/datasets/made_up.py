"""Made-up prompts without a tokenizer: token ids, or where none are taken common words, about a token each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

SAFE_IDS = range(256, 4000)
"""Token ids that every vocabulary of today has and that are no special tokens in any that we know of."""


class Alphabet:
    """Ids or words in a circle. Numbers of its members are those of SAFE_IDS, for words taken in turn."""

    def __init__(self, takes_ids: bool) -> None:
        self._members = [str(number) for number in SAFE_IDS] if takes_ids else list(WORDS)
        self._before, joint, self._behind = ("[", ",", "]") if takes_ids else ('"', " ", '"')
        self.circle = WordCircle(self._members, joint)

    def members(self, numbers: Sequence[int]) -> list[str]:
        """The members of these numbers, from 0 on."""
        return [self._members[number % len(self._members)] for number in numbers]

    def json(self, members: Sequence[str]) -> str:
        """A prompt of these members, as JSON."""
        return self._before + self.circle.joint.join(members) + self._behind

    def begun(self, members: Sequence[str]) -> str:
        """The beginning of a prompt, for distinct()."""
        return self._before + "".join(member + self.circle.joint for member in members)

    def distinct(self, begun: str, number: int, offset: int, length: int) -> str:
        """A prompt that begins so, with `length` members behind it, as JSON; see WordCircle.distinct."""
        return begun + self.circle.distinct(number, offset, length) + self._behind


class WordCircle:
    """Words in a circle, joined once: any run of neighbours is one slice, prompts cost next to nothing."""

    def __init__(self, words: Sequence[str], joint: str) -> None:
        self._words, self.joint = words, joint
        joined = [word + joint for word in words] * 2
        self._text = "".join(joined)
        self._at = [0, *itertools.accumulate(map(len, joined))]

    def distinct(self, number: int, offset: int, length: int) -> str:
        """`length` words that begin unlike those of every other number.

        Were they neighbours from the first on, prompts that begin at the same place would be the same, and a
        server's prefix cache would answer them: of 1,000 prompts from 3,744 ids every eighth.
        """
        n = len(self._words)
        digits = (number, number // n, number // n**2, offset, offset // n)
        first = [self._words[digit % n] for digit in digits[:length]]
        rest = length - len(first)
        return self.joint.join([*first, self.run(offset + number, rest)] if rest else first)

    def run(self, start: int, length: int) -> str:
        """`length` neighbours from `start` on."""
        n = len(self._words)
        start %= n
        rounds, rest = divmod(length, n)
        text, at = self._text, self._at
        whole = text[at[start] : at[start + n]] * rounds if rounds else ""
        return (
            whole + text[at[start] : at[start + rest] - len(self.joint)]
            if rest
            else whole[: -len(self.joint)]
        )


WORDS = tuple(
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by "  # noqa: SIM905
    "word but not what all were we when your can said there use an each which she do how their if will up "
    "other about out many then them these so some her would make like him into time has look two more write "
    "go see number no way could people my than first water been call who oil its now find long down day did "
    "get come made may part".split()
)
"""Short and common: about a token each in every vocabulary."""
