"""--json alone prints JSON instead of the table; --json FILE writes it to FILE beside the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vllmperf.whole_file import check_place, write_whole

STDOUT = "-"
SERVERS = ("--base-url", "--host", "--port")
"""With one of these a command measures and reads no files."""
TAKE_FILES = ("parse-log", "fit", "size", "report", "compare", "reconcile", "check", "explain")
"""Commands whose words are files: behind --json one of them may stand."""
COMMANDS = (*TAKE_FILES, "bench", "capacity", "selftest", "startup", "sweep")


def add(option: Callable[..., Any], what: str = "the result") -> None:
    option(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help=f"print {what} as JSON instead of the table; with FILE, write it there beside the table",
    )


def settled(words: Sequence[str]) -> list[str]:
    """The words with --json FILE written as one word, and --json= where the next word is not its file.

    Behind --json of a command that takes files, a word is the file to write when it ends in .json and either a file to
    read came before it, a server is to be measured, or it does not exist yet.
    """
    if words[:1] and words[0] not in COMMANDS:
        return list(words)
    found: list[str] = []
    takes_files = words[:1] and words[0] in TAKE_FILES and not _names_server(words)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--json":
            target = rest.pop(0) if rest and _is_target(rest[0], found if takes_files else ()) else STDOUT
            word = f"--json={target}"
        found.append(word)
    return found


def _is_target(word: str, before: Sequence[str]) -> bool:
    """before: of a command that takes files, the words before --json."""
    if word == STDOUT:
        return True
    if not before:
        return not word.startswith("-")
    return word.lower().endswith(".json") and (_names_file(before[1:]) or not Path(word).exists())


def _names_server(words: Sequence[str]) -> bool:
    return any(word.partition("=")[0] in SERVERS for word in words)


def _names_file(words: Sequence[str]) -> bool:
    """Whether a file to read is among them. The value of a flag is none."""
    pairs = zip(["", *words], words, strict=False)
    return any(not word.startswith("--") and not _wants_value(flag) for flag, word in pairs)


def _wants_value(flag: str) -> bool:
    return flag.startswith("-") and flag != STDOUT and "=" not in flag


def check(target: str | None) -> None:
    """Raises UsageError, before any work, when the file could not be written."""
    if target is not None and target != STDOUT:
        check_place("json", Path(target))


def write(target: str | None, text: Callable[[], str]) -> bool:
    """Put JSON where --json says. Gives whether stdout is free for the table."""
    if target == STDOUT:
        print(text())
    elif target is not None:
        write_whole(Path(target), text() + "\n")
    return target != STDOUT
