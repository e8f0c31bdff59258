"""Tables of few patients with every kind of column, and how far apart two answers about them are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pyarrow as pa
from vaults import NoNoise

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import sum_query

CAP = 4
SCHEMA = Schema.from_yaml(
    f"""
name: everything
patient_key: pid
max_rows_per_patient: {CAP}
target: outcome
columns:
  number: {{type: number, min: -5, max: 50, missing: true}}
  whole: {{type: number, min: 0, max: 9, integer: true}}
  skewed: {{type: number, min: 0, max: 1000000, transform: log1p, missing: true}}
  halves: {{type: number, min: 0, max: 1, knots: 2}}
  code: {{type: category, values: [a, b, "7", "10000000000000000"], missing: true}}
  flag: {{type: category, values: ["true", "false"]}}
  day: {{type: date, min: 1991-01-01, max: 1996-12-31, missing: true}}
  outcome: {{type: category, values: [well, ill, dead]}}
"""
)
ENCODING = Encoding.of(SCHEMA)
MU2 = Fraction(1, 100)
NUMBERS = ("number", "whole", "skewed", "halves")
Row = dict[str, Any]
Patient = list[Row]


class Rows:
    """A table in record batches of any size."""

    def __init__(self, table: pa.Table, rows: int) -> None:
        self._table, self._rows, self.names = table, rows, tuple(table.column_names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=self._rows)


def arrow(patients: list[Patient], nobody: Patient, as_text: bool, seed: int, rows: int) -> Rows:
    """The rows interleaved; those of one patient stay in their order, since the first ones count."""
    keyed = [(f"p{index}", row) for index, patient in enumerate(patients) for row in patient]
    places = random.Random(seed).sample([key for key, _ in keyed], len(keyed))
    waiting = {key: iter([row for owner, row in keyed if owner == key]) for key, _ in keyed}
    ordered = [(None, row) for row in nobody] + [(key, next(waiting[key])) for key in places]
    types = {name: pa.string() if as_text else pa.float64() for name in NUMBERS}
    types |= {"code": pa.string(), "flag": pa.bool_(), "day": pa.string() if as_text else pa.int32()}
    types |= {"outcome": pa.string()}
    arrays = [pa.array([row[name] for _, row in ordered], type=kind) for name, kind in types.items()]
    if not as_text:
        arrays[list(types).index("day")] = arrays[list(types).index("day")].cast(pa.date32())
    keys = pa.array([key for key, _ in ordered], type=pa.string())
    return Rows(pa.Table.from_arrays([keys, *arrays], names=["pid", *types]), rows)


def vault(source: Rows | TableSource, schema: Schema = SCHEMA) -> Vault:
    return Vault(source, schema, NoNoise().add, MemoryMeter(Fraction(100)))


def distance2(one: Answer, other: Answer) -> int:
    return sum((int(a) - int(b)) ** 2 for a, b in zip(one.values, other.values, strict=True))


LOW = {"number": "-5", "whole": "0", "skewed": "0", "halves": "0", "code": "a", "flag": True, "day": "1991-01-01"}
HIGH = {
    "number": "50",
    "whole": "9",
    "skewed": "1e6",
    "halves": "1",
    "code": "b",
    "flag": False,
    "day": "1996-12-31",
}


def halves() -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(cell * 2 // size for cell in range(size)) for size in ENCODING.sizes)


def both(
    tables: tuple[Rows, Rows] | tuple[TableSource, TableSource], schema: Schema
) -> list[tuple[Answer, Answer]]:
    """The two answers of both questions."""
    sums = tuple(vault(source, schema).answer(sum_query(ENCODING), MU2) for source in tables)
    moments = tuple(vault(source, schema).answer(PairTables(halves()), MU2) for source in tables)
    return [sums, moments]  # type: ignore[list-item]
