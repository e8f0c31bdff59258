"""How many patients a table has: N, which is public, and how many rows each of them has, which is not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from cohortmix.core.data.values import patient_keys

if TYPE_CHECKING:
    from cohortmix.core.data.schema import Schema
    from cohortmix.core.data.table import Source


class Patients(NamedTuple):
    """The patients of a table.

    Attributes
    ----------
    number : N, public: distinct patient keys, before any row is dropped.
    rows : rows of each patient, by canonical key; None where a row is a patient. Not public.
    """

    number: int
    rows: Counter[str] | None


def count_patients(source: Source, schema: Schema) -> Patients:
    """Count the patients of a table, in one reading of it. A row without a key is nobody's, and not counted.

    Raises
    ------
    InputError
        If the table cannot be read.
    """
    if schema.patient_key is None:
        return Patients(sum(batch.num_rows for batch in source.batches()), None)
    rows: Counter[str] = Counter()
    for batch in source.batches():
        rows.update(key for key in patient_keys(batch.column(schema.patient_key)) if key is not None)
    return Patients(len(rows), rows)
