"""The texts of 2026-06's data sets. The original's own files are not ours to ship: these are others like them."""

from __future__ import annotations

import random
from pathlib import Path

VERSES = 400
WHO = ("miller", "sailor", "young baker", "tall drummer", "clerk", "shy gardener", "glazier", "bold tailor")
WHERE = (
    "Kerr",
    "Rye",
    "Spain",
    "Leeds",
    "the Cape",
    "Ghent",
    "Saint Malo",
    "the coast",
    "Montrose",
    "the fen",
)
DID = ("counted", "painted", "repaired", "borrowed", "collected", "misplaced", "described", "inherited")
WHAT = (
    "seven clocks",
    "a green boat",
    "the old bridge",
    "nine kettles",
    "a tin crown",
    "his own shadow",
    "two bells",
)
WHEN = (
    "at night",
    "in the rain",
    "before tea",
    "every spring",
    "without haste",
    "on the stairs",
    "once too often",
)
SAID = (
    "Not again",
    "How much more",
    "So it goes",
    "Never mind",
    "That will do",
    "Come and see",
    "Who would know",
)
LAST = (
    "and nobody asked what it cost",
    "which is all that the papers have told",
    "till the neighbours came out with a lamp",
)
MIN_CODE_CHARS = 40


def limericks() -> list[str]:
    """Short verses of five lines, always the same ones, each another."""
    generator = random.Random("limericks")
    return list(dict.fromkeys(_verse(generator) for _ in range(VERSES)))


def _verse(generator: random.Random) -> str:
    who, where, did, what, when, said, last = (
        generator.choice(words) for words in (WHO, WHERE, DID, WHAT, WHEN, SAID, LAST)
    )
    other = generator.choice(WHAT)
    return (
        f"There once was a {who} from {where},\nwho {did} {what} {when};\n"
        f'"{said}," said the crowd,\nas it rang clear and loud\nfor {other}, {last}.'
    )


def code() -> list[str]:
    """Paragraphs of this package's own source."""
    folder = Path(__file__).parents[2]
    sources = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    return [part for source in sources for part in source.split("\n\n") if len(part) >= MIN_CODE_CHARS]
