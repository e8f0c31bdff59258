"""Cells of a database as arrays: a column of Python's objects, each read by itself, those of one type together.

What a cell becomes follows from the cell alone: the types that occur in a column only say by which way it gets
there. Where Arrow writes the same text as `core.data.cell`, it does so for all cells of a type at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cohortmix.core.data.cell import category_text, text_of
from cohortmix.core.data.table import is_inexact

PLAIN_FLOATS = (1e-4, 1e9)  # sizes of which Python and Arrow write the same digits, without an exponent
_NOTHING = type(None)
Cells = Sequence[object]


def array_of(cells: Cells, kind: pa.DataType) -> pa.Array:
    """Cells as truth values, whole numbers, floats or texts, null where there is none.

    Parameters
    ----------
    kind : bool, int64, float64 or string of Arrow.

    Raises
    ------
    ValueError, OverflowError, pyarrow.ArrowException
        If a cell is no value of a `kind` other than string; every cell has a text.
    """
    if kind == pa.string():
        return _texts(cells)
    convert, same = _CONVERSIONS[kind]
    if _types(cells) <= same:
        return pa.array(cells, type=kind)
    return pa.array([None if cell is None else convert(cell) for cell in cells], type=kind)


def has_inexact(cells: Cells) -> bool:
    """Whether a float among the cells may stand for several whole numbers (`is_inexact`)."""
    return any(issubclass(kind, _FLOATS) for kind in _types(cells)) and any(map(is_inexact, cells))


def join(chunks: Iterable[Sequence[pa.Array]]) -> Iterator[pa.Array]:
    """Of each column one array, from those of its parts."""
    return map(pa.concat_arrays, map(list, zip(*chunks, strict=True)))


def _types(cells: Cells) -> set[type]:
    return set(map(type, cells))


def _texts(cells: Cells) -> pa.Array:
    kinds = _types(cells) - {_NOTHING}
    if len(kinds) < 2:
        return _texts_of(cells, kinds.pop() if kinds else str)
    apart = ([cell if type(cell) is kind else None for cell in cells] for kind in kinds)
    return pc.coalesce(*(_texts_of(own, kind) for own, kind in zip(apart, kinds, strict=True)))


def _texts_of(cells: Cells, kind: type) -> pa.Array:
    """Texts of cells that are all of one type, or None."""
    try:
        return _WAYS.get(kind, _one_by_one)(cells)
    except (UnicodeError, OverflowError):  # half of a surrogate pair; a whole number of more than 64 bits
        return _one_by_one(cells)


def _one_by_one(cells: Cells) -> pa.Array:
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _text(cell: object) -> str:
    """A cell's text; a whole number reads the same whether the database holds 1, 1.0 or 1e0."""
    if isinstance(cell, memoryview):
        return text_of(bytes(cell))
    return category_text(cell) if isinstance(cell, bool | float | Decimal) else text_of(cell)


def _strings(cells: Cells) -> pa.Array:
    return pa.array(cells, pa.string())


def _whole(cells: Cells) -> pa.Array:
    return pa.array(cells, pa.int64()).cast(pa.string())


def _floats(cells: Cells) -> pa.Array:
    values = pc.add(pa.array(cells, pa.float64()), 0.0)  # -0.0 is 0
    size, (least, most) = pc.abs(values), PLAIN_FLOATS
    as_arrow = pc.or_(pc.equal(size, 0.0), pc.and_(pc.greater_equal(size, least), pc.less(size, most)))
    texts, rest = values.cast(pa.string()), pc.invert(as_arrow).fill_null(False)
    others = [category_text(cells[at]) for at in np.flatnonzero(rest).tolist()]
    return pc.replace_with_mask(texts, rest, pa.array(others, pa.string())) if others else texts


def _decimals(cells: Cells) -> pa.Array:
    # By its digits, not by its value: decimals that are equal can be written differently.
    read: dict[str, str] = {}
    texts: list[str | None] = []
    for cell in cells:
        digits = str(cell)
        text = read.get(digits)
        texts.append(
            None if cell is None else read.setdefault(digits, category_text(cell)) if text is None else text
        )
    return pa.array(texts, pa.string())


_FLOATS = (float, complex, np.floating, np.complexfloating)
_WAYS: dict[type, Callable[[Cells], pa.Array]] = {str: _strings, int: _whole, float: _floats, Decimal: _decimals}
_CONVERSIONS: dict[pa.DataType, tuple[Callable[[Any], object], set[type]]] = {
    pa.bool_(): (bool, {bool, _NOTHING}),
    pa.int64(): (int, {int, _NOTHING}),
    pa.float64(): (float, {float, _NOTHING}),
}
