"""The requests of a run file column by column, in a fraction of the memory of an array of records.

Each column is held in the narrowest type that its values need, one that is the same everywhere as that one value, and is
given in the type of the engine's records. A selection of rows copies nothing but their places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

import vllmperf._engine as _engine

Column = NDArray[Any]
Places = slice | NDArray[Any] | list[int] | list[str]
"""Rows, or names of some columns."""

NARROW = (np.int8, np.int16, np.int32)
"""The lowest number of each stands for NONE."""


class Table:
    """Reads like a structured NumPy array: `table["sent_ns"]`, `table[mask]`, `table[["index", "sent_ns"]]`, `len(table)`.

    What it gives is a copy, or must not be written to; copy() gives a structured array. columns: as narrow() gives them.
    """

    def __init__(
        self, columns: Mapping[str, Column], dtype: np.dtype[Any], length: int, places: Column | None = None
    ) -> None:
        self._columns, self.dtype, self._length, self._places = columns, dtype, length, places

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[np.void]:
        return iter(self.copy())

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> np.void: ...
    @overload
    def __getitem__(self, key: Places) -> Table: ...
    def __getitem__(self, key: str | int | np.integer[Any] | Places) -> Column | np.void | Table:
        if isinstance(key, str):
            narrow = self._columns[key]
            return wide(narrow if self._places is None else narrow[self._places], self.dtype[key])
        if isinstance(key, list) and key and isinstance(key[0], str):
            return self.part(np.dtype([(name, self.dtype[name]) for name in key]))
        if isinstance(key, int | np.integer):
            row: np.void = self[[int(key)]].copy()[0]
            return row
        all_places = np.arange(self._length, dtype=np.int32) if self._places is None else self._places
        places = all_places[np.asarray(key) if isinstance(key, list) else key]
        return Table(self._columns, self.dtype, len(places), places)

    def part(self, dtype: np.dtype[Any]) -> Table:
        """The same rows with these columns alone."""
        return Table(self._columns, dtype, self._length, self._places)

    def copy(self) -> NDArray[np.void]:
        """All of it as an array of records, to be changed."""
        records = np.empty(self._length, self.dtype)
        for name in self.dtype.names or ():
            records[name] = self[name]
        return records

    def tolist(self) -> list[Any]:
        rows: list[Any] = self.copy().tolist()
        return rows

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self.copy() if dtype is None else self.copy().astype(dtype)


Requests = Table | NDArray[np.void]
"""Either, with the fields of record/fields.py."""


def table(blocks: Iterable[Column], dtype: np.dtype[Any], length: int) -> Table:
    """Of so many rows, in blocks: int64 [rows, columns], the columns in the order of dtype's names."""
    names = dtype.names or ()
    growing = [_Growing(length) for _ in names]
    for block in blocks:
        for one, column in zip(growing, block.T, strict=True):
            one.add(narrow(column))
    return Table({name: one.column() for name, one in zip(names, growing, strict=True)}, dtype, length)


class _Growing:
    """A column that is filled from the top; an array from its second value on."""

    def __init__(self, length: int) -> None:
        self._length, self._filled = length, 0
        self._value: Column = np.zeros(1, dtype=np.int8)
        self._array: Column | None = None

    def add(self, piece: Column) -> None:
        """piece: as narrow() gives it."""
        if self._filled == 0:
            self._value = piece[:1].copy()
        value = _as(self._value, piece.dtype)
        if self._array is None and (_as(piece, value.dtype) == value).all():
            self._value = value
        else:
            array = self._wide_enough(piece.dtype)
            array[self._filled : self._filled + len(piece)] = _as(piece, array.dtype)
        self._filled += len(piece)

    def _wide_enough(self, dtype: np.dtype[Any]) -> Column:
        held = self._value if self._array is None else self._array
        dtype = max(held.dtype, dtype, key=lambda one: one.itemsize)
        if self._array is None or held.dtype != dtype:
            self._array = np.empty(self._length, dtype)
            self._array[: self._filled] = _as(held[: self._filled], dtype)
        return self._array

    def column(self) -> Column:
        return np.broadcast_to(self._value, self._length) if self._array is None else self._array


def narrow(values: NDArray[np.int64]) -> Column:
    """A copy in the narrowest type that holds all, NONE included."""
    is_none = values == _engine.NONE
    known = values[~is_none]
    low, high = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    for dtype in NARROW:
        limits = np.iinfo(dtype)
        if limits.min < low and high <= limits.max:
            found = values.astype(dtype)
            found[is_none] = limits.min
            return found
    return values.copy()


def wide(column: Column, dtype: np.dtype[Any]) -> Column:
    """Values of a narrow column in this type; NONE where it has it."""
    if column.dtype == dtype:
        return column
    found = column.astype(dtype)
    if dtype == np.int64:
        found[column == np.iinfo(column.dtype).min] = _engine.NONE
    return found


def _as(narrow: Column, dtype: np.dtype[Any]) -> Column:
    """In a wider one of the narrow types, or as it is."""
    if narrow.dtype.itemsize >= dtype.itemsize:
        return narrow
    found = narrow.astype(dtype)
    lowest = _engine.NONE if dtype == np.int64 else np.iinfo(dtype).min
    found[narrow == np.iinfo(narrow.dtype).min] = lowest
    return found
