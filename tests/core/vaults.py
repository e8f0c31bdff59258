"""A small table, nine questions, and a vault that answers without noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts, Values
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import sum_query

SCHEMA = Schema.from_yaml(
    """
name: small
patient_key: pid
max_rows_per_patient: 6
target: outcome
columns:
  age: {type: number, min: 0, max: 100, integer: true, missing: true}
  dose: {type: number, min: 0, max: 8, knots: 4}
  sex: {type: category, values: [F, M], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)
BY_ROW = SCHEMA.model_copy(update={"patient_key": None})
ENCODING = Encoding.of(SCHEMA)
SUMS = sum_query(ENCODING)
MOMENTS = PairTables(tuple(tuple(cell % 3 for cell in range(size)) for size in ENCODING.sizes))
LEVELS = tuple(
    Coordinate(column, tuple(7 * cell % 23 - 9 for cell in range(ENCODING.sizes[column])))
    for column in (0, 2, 1, 0)
)
LEVEL_SUMS, LEVEL_MOMENTS = LevelSum(LEVELS, 15, 11, 8), LevelMoment(LEVELS, 15, 8)
CLASS_MOMENTS = ClassMoment(LEVELS, ((3, -5, 0, 7), (-2, 4, 6, 1)), 4, 21, 13, 8)
SCORE_MOMENTS = ScoreMoment(LEVELS, 15, 7, 8)
SIGNS = tuple(tuple(7 * cell % 3 - 1 for cell in range(size)) for size in ENCODING.sizes)
SIGN_PRODUCTS = SignProducts(SIGNS, ((0, 1), (0, 1, 2), (1, 2)))
VALUE_COUNTS = ValueCounts(
    (Values(0, tuple(range(79, 121, 2)), 2, (-1, *range(20), 19)), Values(1, (0, 1, 9, 11), 4, (0, 1, -1, 2, -1)))
)
QUERIES = (
    SUMS,
    MOMENTS,
    LEVEL_SUMS,
    LevelSum(LEVELS, 15, 0, 8),
    LEVEL_MOMENTS,
    CLASS_MOMENTS,
    SCORE_MOMENTS,
    SIGN_PRODUCTS,
    VALUE_COUNTS,
)
MU2 = Fraction(1, 50)


class NoNoise:
    """Adds nothing: the exact answer, for these tests alone."""

    name = "TEST"
    private = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        return values


@dataclass
class Rows:
    """A table in batches of any size; `grown` is what it holds from the second reading on."""

    table: pa.Table
    size: int = 1000
    grown: pa.Table | None = None
    readings: int = field(default=0, init=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        self.readings += 1
        table = self.table if self.grown is None or self.readings == 1 else self.grown
        yield from table.to_batches(max_chunksize=self.size)


def table(rows: int = 60, patients: int = 17, seed: int = 3) -> pa.Table:
    """Rows of patients with up to six records, and some of nobody."""
    rng = np.random.default_rng(seed)
    nobody = rng.random(rows) < 0.05
    keys = [None if none else f"p{p}" for none, p in zip(nobody, rng.permutation(rows) % patients, strict=True)]
    return pa.table(
        {
            "pid": pa.array(keys, pa.string()),
            "age": pa.array([None if u < 0.2 else int(u * 120) for u in rng.random(rows)], pa.int64()),
            "dose": rng.uniform(-2, 10, rows),
            "sex": rng.choice(["F", "M", "?"], rows),
            "outcome": rng.choice(["well", "ill", "unknown"], rows, p=[0.5, 0.4, 0.1]),
        }
    )


def open_vault(source: Any, schema: Schema = SCHEMA, noise: Any = None, limit: int = 100) -> Vault:
    added = (noise or NoNoise()).add
    # Nothing but a function, of which not even a look at its inside says whose it is.
    return Vault(source, schema, lambda *given: added(*given), MemoryMeter(Fraction(limit)))


def ask(opened: Vault, query: Any, mu2: Fraction = MU2) -> Answer:
    """The answer to a question of any type."""
    return opened.answer(query, mu2)


class CountingNoise(NoNoise):
    draws = 0

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        self.draws += 1
        return values
