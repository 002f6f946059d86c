"""Texts of answers in a temporary file: some are counted after the run, and vLLM's result file holds all of them with
--save-detailed (0.6: always)."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from typing import overload

import numpy as np

from vllmperf import temporary


class Texts(Sequence[str]):
    """n texts by number, empty until they are put. Memory does not grow with them."""

    def __init__(self, n: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="vllmperf-", dir=temporary.folder())  # noqa: SIM115 open as long as this
        weakref.finalize(self, self._file.close)
        self._places = np.zeros((n, 2), dtype=np.int64)
        self._end = 0

    def put(self, number: int, text: str) -> None:
        """Keep a text. Call it for all before the first is read."""
        data = text.encode("utf-8", "surrogatepass")
        self._file.write(data)
        self._places[number] = self._end, len(data)
        self._end += len(data)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        place, length = self._places[number].tolist()
        self._file.seek(place)
        return self._file.read(length).decode("utf-8", "surrogatepass")
