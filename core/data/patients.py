"""How many patients a table has: N, which is public, and how many rows each of them has, which is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.values import NOBODY, patient_ids

if TYPE_CHECKING:
    from cohortmix.core.data.schema import Schema
    from cohortmix.core.data.table import Source

MERGED_ROWS = 1 << 20  # whose ids, 16 MiB, are held apart before they are merged with all others


class Patients(NamedTuple):
    """The patients of a table; a patient is an id (`patient_ids`), so two keys of one id would be one patient.

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
        place = self.find(distinct)
        new = place == len(self.ids)
        rows = self.rows.copy()
        rows[place[~new]] += count[~new]
        at = np.searchsorted(self.ids, distinct[new])
        merged = np.insert(self.ids, at, distinct[new])
        return Patients(len(merged), merged, np.insert(rows, at, count[new]))


def count_patients(source: Source, schema: Schema) -> Patients:
    """Count the patients of a table, in one reading of it. A row without a key is nobody's, and not counted.

    Raises
    ------
    InputError
        If the table cannot be read.
    """
    patients = Patients(0, np.zeros(0, dtype=NOBODY.dtype), np.zeros(1, dtype=np.int64))
    if schema.patient_key is None:
        return patients._replace(number=sum(batch.num_rows for batch in source.batches()))
    apart: list[NDArray[np.bytes_]] = []
    for batch in source.batches():
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
