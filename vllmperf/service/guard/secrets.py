"""Secrets of a run, and keeping them out of its log and its events: a server may say back what it was sent."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = b"***"
OF_ENVIRONMENT = (
    "OPENAI_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
SHORTEST = 4
"""A shorter one would be found in words that have nothing to do with it."""
LONGEST_LINE = 1 << 16


class Secrets:
    """Texts that must stand nowhere."""

    def __init__(self, texts: list[str]) -> None:
        found = {text for text in texts if len(text) >= SHORTEST}
        self._all = sorted((text.encode() for text in found), key=len, reverse=True)

    @classmethod
    def of(cls, told: Any) -> Secrets:
        """Those that a worker is told, with the last word of each ("Bearer abc"), and those of its environment."""
        texts = [*_texts(told), *(os.environ.get(name, "") for name in OF_ENVIRONMENT)]
        words = [text.replace("=", " ").split()[-1] for text in texts if text.strip(" =")]
        return cls([*texts, *words])

    def hidden(self, text: bytes) -> bytes:
        """The text with *** in their place."""
        for secret in self._all:
            text = text.replace(secret, HIDDEN)
        return text

    def keep_out_of(self, *descriptors: int) -> None:
        """Until the process ends: what is written to the descriptors, which lead to one file, goes there without secrets, line by
        line."""
        if not self._all:
            return
        real = os.dup(descriptors[0])
        reading, writing = os.pipe()
        for number in descriptors:
            os.dup2(writing, number)
        os.close(writing)
        thread = threading.Thread(target=self._copy, args=(reading, os.dup(real)), daemon=True)
        thread.start()

        def end() -> None:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number in descriptors:
                os.dup2(real, number)  # nobody writes to the pipe any more: it ends
            thread.join(5)

        atexit.register(end)

    def _copy(self, reading: int, real: int) -> None:
        rest = b""
        with open(reading, "rb", buffering=0) as pipe, open(real, "wb", buffering=0) as out:
            while piece := pipe.read(LONGEST_LINE):
                lines, mark, rest = (rest + piece).rpartition(b"\n")
                out.write(self.hidden(lines + mark))
                if len(rest) > LONGEST_LINE:
                    out.write(self.hidden(rest))
                    rest = b""
            out.write(self.hidden(rest))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
