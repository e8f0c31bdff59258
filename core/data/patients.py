"""How many patients a table has: N, which is public, and how many rows each of them has, which is not.

A table may lie in pieces that are read in several places: `each` computes something of each piece where it is, and
`shares` is what has to be known there of the patients' rows in other pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.values import NOBODY, patient_ids

if TYPE_CHECKING:
    from cohortmix.core.data.schema import Schema
    from cohortmix.core.data.table import Divided, Source

Result = TypeVar("Result")
MERGED_ROWS = 1 << 20  # whose ids, 16 MiB, are held apart before they are merged with all others


def each(source: Source, function: Callable[..., Result], own: Iterable[Any], *common: Any) -> Iterator[Result]:
    """`function(piece, *own, *common)` of each piece of a table (`table.Divided`); any other table is one piece.

    Parameters
    ----------
    function : of a module. What it is given, and returns, can be pickled.
    own : a tuple for each piece, in their order.
    """
    if hasattr(source, "each"):
        return cast("Divided", source).each(function, own, *common)
    return (function(source, *given, *common) for given in islice(own, 1))


class Patients(NamedTuple):
    """The patients of a table or of a piece of it.

    A patient is an id (`patient_ids`), so two keys of one id would be one patient.

    Attributes
    ----------
    number : N, public: distinct ids, before any row is dropped.
    ids : of the patients, ascending; none where a row is a patient. Not public, as are `rows`.
    rows : rows of each patient, and at the end a 0, for nobody and for a patient who was not counted.
    """

    number: int
    ids: NDArray[np.bytes_]
    rows: NDArray[np.int64]

    def find(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The place of each row's patient in `rows`, (n,)."""
        distinct, at = np.unique(ids, return_inverse=True)
        first, beyond = (np.searchsorted(self.ids, distinct, side) for side in ("left", "right"))
        return np.where(first < beyond, first, len(self.ids))[at]

    def with_rows(self, ids: NDArray[np.bytes_]) -> Patients:
        """The same, and more rows."""
        distinct, count = np.unique(ids[ids != NOBODY], return_counts=True)
        return self.and_of(Patients(len(distinct), distinct, np.append(count, 0)))

    def and_of(self, other: Patients) -> Patients:
        """The patients of both, each with the rows in both."""
        place = self.find(other.ids)
        new = place == len(self.ids)
        rows = self.rows.copy()
        rows[place[~new]] += other.rows[:-1][~new]
        at = np.searchsorted(self.ids, other.ids[new])
        number = self.number + other.number - int((~new).sum())
        merged = np.insert(self.ids, at, other.ids[new])
        return Patients(number, merged, np.insert(rows, at, other.rows[:-1][new]))


def count_patients(source: Source, schema: Schema) -> Patients:
    """Count the patients of a table, in one reading of it. A row without a key is nobody's, and not counted.

    Raises
    ------
    InputError
        If the table cannot be read.
    """
    return together(count_by_piece(source, schema))


def count_by_piece(source: Source, schema: Schema) -> list[Patients]:
    """Count the patients of each piece of a table by themselves; errors as `count_patients`."""
    return list(each(source, count, repeat(()), schema))


def together(pieces: Sequence[Patients]) -> Patients:
    """The patients of all pieces; halves are merged, so that of many pieces none is copied many times."""
    half = len(pieces) // 2
    return together(pieces[:half]).and_of(together(pieces[half:])) if half else pieces[0]


def shares(pieces: Sequence[Patients], cap: int) -> Iterator[tuple[Patients, NDArray[np.int64]]]:
    """Of each piece its patients with m in the place of rows, and how many of their first rows in it count.

    A patient's first m rows of the table count, m being the rows in all pieces and at most `cap`: those that count
    in each piece add up to m, and each row is given its weight as in one reading of the whole table.
    """
    whole = together(pieces)
    most = np.minimum(whole.rows, cap)
    left = most.copy()
    for piece in pieces:
        place = np.searchsorted(whole.ids, piece.ids)
        count = np.minimum(piece.rows[:-1], left[place])
        left[place] -= count
        yield piece._replace(rows=np.append(most[place], 0)), np.append(count, 0)


def count(piece: Source, schema: Schema) -> Patients:
    """The patients of a piece of a table, for whoever reads it where it is; nothing but keys is read."""
    patients = Patients(0, np.zeros(0, dtype=NOBODY.dtype), np.zeros(1, dtype=np.int64))
    if schema.patient_key is None:
        return patients._replace(number=sum(batch.num_rows for batch in piece.batches()))
    apart: list[NDArray[np.bytes_]] = []
    for batch in piece.batches():
        apart.append(patient_ids(batch.column(schema.patient_key)))
        if sum(map(len, apart)) >= MERGED_ROWS:
            patients, apart = patients.with_rows(np.concatenate(apart)), []
    return patients.with_rows(np.concatenate([patients.ids[:0], *apart]))


def earlier_rows(patient: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows of the same patient come before each row, (n,).

    >>> earlier_rows(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(patient, kind="stable")
    earlier = np.empty_like(order)
    earlier[order] = np.arange(len(order)) - np.searchsorted(patient[order], patient[order])
    return earlier
