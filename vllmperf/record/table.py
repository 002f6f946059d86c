"""The requests of a run file column by column, in a fraction of the memory of an array of records.

Each column is held in the narrowest type that its values need, one that is the same everywhere as that one value, and is
given in the type of the engine's records. An instant is held as the time since another one of its request, which takes half as
much where it is less than two seconds. A selection of rows copies nothing but their places.
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

SINCE = {
    "scheduled_ns": "sent_ns",
    "connected_ns": "sent_ns",
    "first_byte_ns": "sent_ns",
    "first_token_ns": "first_byte_ns",
    "first_text_ns": "first_token_ns",
    "first_token_seen_ns": "first_token_ns",
    "last_token_ns": "first_token_ns",
    "last_token_seen_ns": "last_token_ns",
    "end_ns": "last_token_ns",
}
"""The instant that each of these is held as the time since; where that one is NONE, since the one before it, and at last since
the start of the run."""


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
            held = self._held(key)
            if key not in SINCE:
                return wide(held, self.dtype[key])
            found = self._until(SINCE[key])
            _add(found, held)
            found[held == np.iinfo(held.dtype).min] = _engine.NONE
            return found
        if isinstance(key, list) and key and isinstance(key[0], str):
            return self.part(np.dtype([(name, self.dtype[name]) for name in key]))
        if isinstance(key, int | np.integer):
            row: np.void = self[[int(key)]].copy()[0]
            return row
        places = self._chosen(np.asarray(key) if isinstance(key, list) else key)
        return Table(self._columns, self.dtype, len(places), places)

    def _chosen(self, rows: slice | Column) -> Column:
        """The places of some of these rows."""
        if self._places is not None:
            return self._places[rows]
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self._length), dtype=np.int32)
        return np.arange(self._length, dtype=np.int32)[rows]

    def _held(self, name: str) -> Column:
        held = self._columns[name]
        return held if self._places is None else held[self._places]

    def _until(self, name: str) -> Column:
        """A new array of these instants, with the one before where they are NONE."""
        found = self._until(SINCE[name]) if name in SINCE else np.zeros(self._length, dtype=np.int64)
        _add(found, self._held(name))
        return found

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
        columns = dict(zip(names, block.T, strict=True))
        for one, (name, column) in zip(growing, columns.items(), strict=True):
            one.add(narrow(_times_since(columns, name) if name in SINCE else column))
    return Table({name: one.column() for name, one in zip(names, growing, strict=True)}, dtype, length)


def _times_since(columns: Mapping[str, Column], name: str) -> Column:
    """What is held of an instant, as int64."""
    found = columns[name] - _known(columns, SINCE[name])
    found[columns[name] == _engine.NONE] = _engine.NONE
    return found


def _known(columns: Mapping[str, Column], name: str) -> Column:
    """These instants, with the one before where they are NONE."""
    column = columns[name]
    is_none = column == _engine.NONE
    if not is_none.any():
        return column
    return np.where(is_none, _known(columns, SINCE[name]) if name in SINCE else 0, column)


def _add(instants: NDArray[np.int64], held: Column) -> None:
    """To each instant the number that is held, if there is one."""
    is_there = held != np.iinfo(held.dtype).min
    np.add(instants, held, out=instants, where=True if is_there.all() else is_there)


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
