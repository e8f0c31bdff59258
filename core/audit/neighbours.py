"""Neighbours: tables that differ in all records of one patient, in the worst cases known to an audit or at random.

For audits of the mechanism on public tables. Cells are texts, as a CSV file holds them, so that a patient can be
replaced by anything that a file can hold.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median, mode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cohortmix.core.data.dictionary.columns import Category, Column, Date
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source
from cohortmix.core.data.values import numbers, patient_keys

KEY = "patient key of the audit"  # a name that no schema is likely to use for a column
BORROWED = 0.3  # share of random replacements that are the records of another patient
MANY_ROWS = 500  # of one patient: more than any schema is likely to permit
ODD = ("nan", "inf", "-inf", "1e308", "-1e308", "-0.0", "5e-324", "9007199254740993", "<7", "unseen", "0001-01-01")
"""Texts that a file may hold, and that no schema declares."""

Record = Mapping[str, str | None]
Records = tuple[Record, ...]
"""All records of one patient."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """A public table in which every patient has a key.

    Attributes
    ----------
    table : columns of text, `KEY` among them.
    schema : its data dictionary, with `KEY` as the patient key.
    patients : the keys, in the order of the table.
    """

    table: pa.Table
    schema: Schema
    patients: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, schema: Schema, most: int, seed: int = 0) -> Cohort:
        """`most` patients of a table, drawn at random; where the schema has no patient key, a row is a patient.

        Raises
        ------
        InputError
            If there are fewer than two patients: one is replaced, and another has to stay.
        """
        rows = pa.Table.from_batches(list(source.batches()))
        keys = _keys(rows, schema)
        known = sorted({key for key in keys if key is not None})
        chosen = set(random.Random(seed).sample(known, min(most, len(known))))
        if len(chosen) < 2:
            raise InputError(f"expected two patients or more, one of them to be replaced; got {len(chosen)}")
        columns = {name: _texts(rows.column(name)) for name in schema.columns}
        table = pa.table({**columns, KEY: pa.array(keys, type=pa.string())})
        table = table.filter(pa.array([key in chosen for key in keys]))
        patients = tuple(dict.fromkeys(table.column(KEY).to_pylist()))
        return cls(table, schema.model_copy(update={"patient_key": KEY}), patients)

    def records(self, patient: str) -> Records:
        """The records of one patient."""
        return tuple(self.table.filter(pc.equal(self.table[KEY], patient)).select(self._names).to_pylist())

    def replaced(self, patient: str, records: Sequence[Record]) -> pa.Table:
        """The neighbour in which these are all records of `patient`."""
        return self.replaced_all({patient: records})

    def replaced_all(self, records: Mapping[str, Sequence[Record]]) -> pa.Table:
        """The table in which each of these patients has these records alone; with one patient, a neighbour."""
        theirs = pc.is_in(self.table[KEY], pa.array(records, type=pa.string()))
        return pa.concat_tables([self.table.filter(pc.invert(theirs)), self.only(records)])

    def only(self, records: Mapping[str, Sequence[Record]]) -> pa.Table:
        """The table of these patients and no others."""
        rows = [dict(record) | {KEY: patient} for patient, rows in records.items() for record in rows]
        return pa.Table.from_pylist(rows, schema=self.table.schema)

    @property
    def _names(self) -> list[str]:
        return list(self.schema.columns)


def worst(cohort: Cohort, patient: str) -> dict[str, Records]:
    """Named replacements of one patient; any two of them are neighbours as well."""
    schema = cohort.schema
    record = cohort.records(patient)[0]
    low = {name: _end(column, first=True) for name, column in schema.columns.items()}
    high = {name: _end(column, first=False) for name, column in schema.columns.items()}
    turns = {name: (low, high)[at % 2][name] for at, name in enumerate(schema.features)}
    far = {name: "1e308" if column.type == "number" else high[name] for name, column in schema.columns.items()}
    nothing: dict[str, str | None] = dict.fromkeys(schema.columns)
    first = schema.outcome.example(0, schema.columns)
    flipped = ({**record, **_of_another_class(record, schema)},)
    return {
        "as it is": cohort.records(patient),
        **({"label flip": flipped} if len(schema.classes) > 1 else {}),
        "outlier far from everything": (far,),
        "every column at its first value": (low,),
        "every column at its last value": (high,),
        "last values in the first class": ({**high, **first},),  # as signed numbers: opposite
        "first and last values in turn": ({**turns, **first},),  # as signed numbers: orthogonal
        "between two clusters": (_between(cohort),),
        f"{MANY_ROWS} rows": (record,) * MANY_ROWS,
        f"{MANY_ROWS} rows at both ends": (low, high) * (MANY_ROWS // 2),
        "missing everywhere": (nothing | {name: record[name] for name in schema.outcome.columns},),
        "missing everywhere, the label too": (nothing,),
        "values that no schema declares": (dict(zip(schema.columns, ODD * len(schema.columns), strict=False)),),
    }


def at_random(cohort: Cohort, rng: random.Random) -> tuple[str, Records]:
    """A patient, and what replaces them: the records of another patient, or up to a dozen made-up ones."""
    patient, other = rng.sample(cohort.patients, 2)
    if rng.random() < BORROWED:
        return patient, cohort.records(other)
    rows = rng.choice((1, 1, rng.randint(2, 12)))  # two times in three a single record, as most patients have
    return patient, tuple(made_up(cohort.schema, rng, odd=0.1) for _ in range(rows))


def made_up(schema: Schema, rng: random.Random, odd: float = 0.0) -> Record:
    """A random record, numbers up to a tenth beyond their bounds; a share `odd` of its cells holds anything."""
    return {name: _cell(column, rng, odd) for name, column in schema.columns.items()}


def _cell(column: Column, rng: random.Random, odd: float) -> str | None:
    """A random text for one cell; None where it is empty."""
    chance = rng.random()
    if chance < odd:
        return None if chance < odd / 2 else rng.choice(ODD)
    if isinstance(column, Category):
        return rng.choice(column.values)
    low, high = bounds(column)
    return _written(rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low)), column)


def _written(value: float, column: Column) -> str:
    """A number as a file of this column would hold it."""
    if isinstance(column, Date):
        return date.fromordinal(min(max(int(value), 1), date.max.toordinal())).isoformat()
    return repr(round(value)) if getattr(column, "integer", False) else repr(value)


def _end(column: Column, first: bool) -> str:
    """The first or the last value that is declared."""
    if isinstance(column, Category):
        return column.values[0 if first else -1]
    return _written(bounds(column)[0 if first else 1], column)


def _of_another_class(record: Record, schema: Schema) -> Record:
    """What makes a record one of the last class, or of the one before it if it is in the last."""
    batch = pa.RecordBatch.from_pylist([dict(record)], schema=pa.schema([(name, pa.string()) for name in record]))
    last = len(schema.classes) - 1
    in_last = last > 0 and Encoding.of(schema).label.codes(batch)[0] == last
    return schema.outcome.example(last - in_last, schema.columns)


def _between(cohort: Cohort) -> Record:
    """Half way between typical patients of the first and the last class.

    Numbers lie in the middle; other columns are taken from one and the other in turn.
    """
    schema = cohort.schema
    label = np.concatenate([Encoding.of(schema).label.codes(batch) for batch in cohort.table.to_batches()])
    ends = [cohort.table.filter(pa.array(label == at)) for at in (0, len(schema.classes) - 1)]
    record: dict[str, str | None] = {}
    for at, name in enumerate(schema.features):
        column = schema.columns[name]
        if isinstance(column, Category):
            known = [value for value in ends[at % 2].column(name).to_pylist() if value is not None]
            record[name] = mode(known) if known else None
        else:
            first, last = (_typical(table.column(name), column) for table in ends)
            record[name] = _written((first + last) / 2, column)
    return record | schema.outcome.example(0, schema.columns)


def _typical(values: pa.ChunkedArray, column: Column) -> float:
    """The median; the middle of the declared range where no value is known."""
    assert not isinstance(column, Category)
    read = numbers(values.combine_chunks(), column)
    known = read[~np.isnan(read)]
    return float(median(known)) if len(known) else sum(bounds(column)) / 2


def _texts(column: pa.ChunkedArray) -> pa.Array:
    """The cells as texts."""
    array = column.combine_chunks()
    return (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).cast(pa.string())


def _keys(rows: pa.Table, schema: Schema) -> list[str | None]:
    """The canonical patient key of each row; its number where a row is a patient."""
    if schema.patient_key is None:
        return [str(row) for row in range(rows.num_rows)]
    return patient_keys(rows.column(schema.patient_key))
