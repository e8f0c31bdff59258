"""What one patient can move in the answers about signed numbers: exact integers, without noise.

Neighbours: all records of one patient are replaced, the number of patients stays. The bound is the one that the
answer itself states, `Answer.sensitivity2`; the names of the tests are those in the `Guarantee` sections.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vaults import NoNoise

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import DIAGONAL, OFF_DIAGONAL, Coordinate, weights
from cohortmix.core.privacy.questions.lattice import MOMENT_UNIT
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.vault import Vault

CAP = 4
SCHEMA = Schema.from_yaml(
    f"""
name: numbers
patient_key: pid
max_rows_per_patient: {CAP}
target: outcome
columns:
  number: {{type: number, min: -5, max: 50, missing: true}}
  whole: {{type: number, min: 0, max: 9, integer: true}}
  skewed: {{type: number, min: 0, max: 1000000, transform: log1p, knots: 20}}
  code: {{type: category, values: [a, b], missing: true}}
  day: {{type: date, min: 1991-01-01, max: 1996-12-31, knots: 5}}
  outcome: {{type: category, values: [well, ill, dead]}}
"""
)
SIZES = Encoding.of(SCHEMA).sizes
MU2 = Fraction(1, 100)
CELLS: dict[str, list[str | None]] = {
    "number": ["-5", "50", "0", "-0.0", "5e-324", "1e308", "-inf", "nan", "seven", "", None],
    "whole": ["0", "9", "4.4", "inf", "9007199254740993", None],
    "skewed": ["0", "1e6", "17", "-1", "x", None],
    "code": ["a", " b ", "unseen", None],
    "day": ["1991-01-01", "1996-12-31", "0001-01-01", "7/6/1995", None],
    "outcome": ["well", "ill", "dead", "unknown", None],
}

Patient = list[dict[str, str | None]]


class Rows:
    """A table of texts in record batches of any size."""

    def __init__(self, patients: list[Patient], nobody: Patient, rows: int) -> None:
        keyed: list[tuple[str | None, dict[str, str | None]]] = [(None, row) for row in nobody]
        keyed = [(f"p{at}", row) for at, patient in enumerate(patients) for row in patient] + keyed
        arrays = [pa.array([row[name] for _, row in keyed], pa.string()) for name in CELLS]
        self.names = ("pid", *CELLS)
        keys = pa.array([key for key, _ in keyed], pa.string())
        self._table, self._rows = pa.Table.from_arrays([keys, *arrays], names=list(self.names)), rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=self._rows)


PATIENTS = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CELLS.items()}),
    min_size=1,
    max_size=CAP + 2,
)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Two tables that differ in the records of one patient, in their batches, and in rows without a patient."""
    others = draw(st.lists(PATIENTS, min_size=1, max_size=2))
    return tuple(Rows([draw(PATIENTS), *others], draw(PATIENTS)[:1], draw(st.integers(1, 20))) for _ in range(2))  # type: ignore[return-value]


@st.composite
def coordinates(draw: st.DrawFn, most: int) -> tuple[Coordinate, ...]:
    """Any levels: alternating, rising or alike; a feature may have several coordinates, or none."""
    out = []
    for column in draw(st.lists(st.integers(0, len(SIZES) - 1), min_size=1, max_size=6)):
        low, step = draw(st.integers(-most, most)), draw(st.integers(-most, most))
        out.append(
            Coordinate(column, tuple((low + cell * step) % (2 * most + 1) - most for cell in range(SIZES[column])))
        )
    return tuple(out)


def opened(source: Rows, schema: Schema = SCHEMA) -> Vault:
    return Vault(source, schema, NoNoise().add, MemoryMeter(Fraction(100)))


def distance2(one: Answer, other: Answer) -> int:
    return sum((int(a) - int(b)) ** 2 for a, b in zip(one.values, other.values, strict=True))


SCALES = st.sampled_from([1, 7, 1 << 10, 1 << 20])
"""Levels of a few steps, where every truncation shows, up to many."""


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), SCALES, st.data())
def test_sensitivity_of_level_sum(tables: tuple[Rows, Rows], most: int, data: st.DataObject) -> None:
    radius, weight = (data.draw(st.integers(low, 2 * most)) for low in (1, 0))
    query = LevelSum(data.draw(coordinates(most)), radius, weight, most)
    one, other = (opened(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    within, across = 4 * radius**2 + min(CAP - 1, weight) ** 2, 2 * (radius**2 + weight**2)
    assert one.sensitivity2 * query.unit**2 == max(within, across) * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), SCALES, st.data())
def test_sensitivity_of_level_moment(tables: tuple[Rows, Rows], most: int, data: st.DataObject) -> None:
    radius = data.draw(st.integers(1, 2 * most))
    query = LevelMoment(data.draw(coordinates(most)), radius, most)
    one, other = (opened(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 * (DIAGONAL * most**2) ** 2 == 2 * (DIAGONAL * radius**2) ** 2 * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


@st.composite
def projections(draw: st.DrawFn, size: int) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Any directions, long, short, alike or zero, and what their products are divided by."""
    divisor, most = draw(st.sampled_from([(1, 100), (5, 300), (1 << 14, 1 << 14)]))
    entries = st.lists(st.integers(-most, most), min_size=size, max_size=size)
    return tuple(map(tuple, draw(st.lists(entries, min_size=1, max_size=4)))), divisor


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), SCALES, st.data())
def test_sensitivity_of_class_moment(tables: tuple[Rows, Rows], most: int, data: st.DataObject) -> None:
    parts = data.draw(coordinates(most))
    radius, weight = (data.draw(st.integers(1, 2 * most)) for _ in range(2))
    query = ClassMoment(parts, *data.draw(projections(len(parts))), radius, weight, most)
    one, other = (opened(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    norm2 = radius**2 + weight**2
    assert one.sensitivity2 * (DIAGONAL * most**2) ** 2 == 2 * (DIAGONAL * norm2) ** 2 * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), SCALES, st.data())
def test_sensitivity_of_score_moment(tables: tuple[Rows, Rows], most: int, data: st.DataObject) -> None:
    radius, weight = (data.draw(st.integers(1, 2 * most)) for _ in range(2))
    query = ScoreMoment(data.draw(coordinates(most)), radius, weight, most)
    one, other = (opened(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    norm2 = radius**2 + weight**2
    assert one.sensitivity2 * (DIAGONAL * most**2) ** 2 == 2 * (DIAGONAL * norm2) ** 2 * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


def test_the_weights_of_a_moment_keep_its_frobenius_norm() -> None:
    """(b M_ii, a M_ij) is no longer than b |M|_F, and hardly shorter."""
    assert OFF_DIAGONAL**2 <= 2 * DIAGONAL**2 < (OFF_DIAGONAL + 1) ** 2
    assert weights(3).tolist() == [29, 41, 41, 29, 41, 29]


Question = LevelSum | LevelMoment | ClassMoment | ScoreMoment

# The bound is reached, so that it could not be smaller.

WHOLE = 1  # the column of these tests: one cell for each of 0 to 9
LOW: dict[str, str | None] = {"number": "0", "whole": "0", "skewed": "0", "code": "a", "day": "1991-01-01"}
HIGH = LOW | {"whole": "9"}
NOTHING: Patient = [dict.fromkeys(CELLS)]


def axis(at_low: int, at_high: int) -> Coordinate:
    """A coordinate of `whole` that tells a LOW record from a HIGH one."""
    return Coordinate(WHOLE, (at_low, *[0] * (SIZES[WHOLE] - 2), at_high))


def moved(query: Question, one: Patient, other: Patient, schema: Schema = SCHEMA) -> tuple[int, int]:
    """Squared distance of the exact answers, and the bound on it, where one patient is replaced by another."""
    vaults = [opened(Rows([patient, NOTHING], [], 3), schema) for patient in (one, other)]
    a, b = (vault.answer(query, MU2) for vault in vaults)
    return distance2(a, b), a.sensitivity2


WELL_LOW, WELL_HIGH = LOW | {"outcome": "well"}, HIGH | {"outcome": "well"}
DEAD_HIGH = HIGH | {"outcome": "dead"}
OPPOSITE, ORTHOGONAL = (axis(-999, 999),), (axis(999, 0), axis(0, 999))


@pytest.mark.parametrize("rows", [1, 3, 50])
@pytest.mark.parametrize(
    ("query", "one", "other"),
    [
        (LevelSum(OPPOSITE, 900, 0, 1), WELL_LOW, DEAD_HIGH),  # all classes together: antipodal
        (LevelSum(OPPOSITE, 900, 800, 1), WELL_LOW, WELL_HIGH),  # a light label: antipodal in one class
        (LevelSum(OPPOSITE, 900, 1000, 1), WELL_LOW, DEAD_HIGH),  # a heavy one: from one class to another
        (LevelMoment(ORTHOGONAL, 900, 1), WELL_LOW, WELL_HIGH),
        (
            ClassMoment(ORTHOGONAL, ((7, 0), (0, 7)), 7, 900, 9, 1),
            WELL_LOW,
            WELL_HIGH,
        ),  # a light label: in one class
        (ClassMoment(OPPOSITE, ((3,),), 2, 900, 800, 1), WELL_LOW, DEAD_HIGH),  # any label: from one to another
        # In one class with scores x x' = -w^2: what is not asked of the label's own square would cancel.
        (ScoreMoment((axis(900, -100), axis(0, 895)), 900, 300, 1), WELL_LOW, WELL_HIGH),
        (ScoreMoment(ORTHOGONAL, 900, 100, 1), WELL_LOW, DEAD_HIGH),
    ],
)
def test_the_bound_is_reached_however_many_rows_a_patient_has(query: Any, one: Any, other: Any, rows: int) -> None:
    """A finer lattice leaves less to truncation."""
    fine = 1 << 10
    schema = SCHEMA.model_copy(update={"max_rows_per_patient": 100})
    parts = tuple(Coordinate(WHOLE, tuple(fine * level for level in each.levels)) for each in query.coordinates)
    scaled = {"coordinates": parts, "radius": fine * query.radius}
    if not isinstance(query, LevelMoment):
        scaled["label_weight"] = fine * query.label_weight
    distance, bound = moved(replace(query, **scaled), [one] * rows, [other] * rows, schema)
    assert 0.99 * bound <= distance <= bound


def test_the_label_entry_of_many_rows_is_short_by_what_division_cuts_off() -> None:
    """In one class the label entries of two patients do not always cancel: hence the (cap - 1)^2 in the bound."""
    query = LevelSum(OPPOSITE, 8, 7, 1)
    distance, bound = moved(query, [WELL_LOW], [WELL_HIGH] * 4)
    assert distance == bound  # (8 + 8)^2 + (7 - 4 * (7 // 4))^2
    assert distance > moved(query, [WELL_LOW], [WELL_HIGH])[0]


# Each part of the argument is needed: without it the bound is exceeded.

MANY = tuple(Coordinate(WHOLE, (-1,) * SIZES[WHOLE]) for _ in range(100))  # x = (-1, ..., -1), |x| = 10

MANY_ALONE = tuple(tuple(int(at == k) for k in range(100)) for at in range(100))  # z = x


def without_clip(z: NDArray[np.int64], bound2: int) -> NDArray[np.int64]:
    return z


def rounded_down(z: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    return z // parts[:, None]


def root_rounded_down(z: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    roots = np.array([isqrt(MOMENT_UNIT**2 // int(m)) for m in parts])
    scaled: NDArray[np.int64] = z * roots[:, None] // MOMENT_UNIT
    return scaled


def undivided(z: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    return z


@pytest.mark.parametrize(
    ("part", "fault", "query", "rows"),
    [
        ("clip_rows", without_clip, LevelSum(OPPOSITE, 300, 0, 1), 1),
        ("clip_rows", without_clip, LevelMoment(OPPOSITE, 300, 1), 1),
        ("divide", rounded_down, LevelSum(MANY, 10, 0, 1), 4),
        ("divide_by_root", root_rounded_down, LevelMoment(MANY, 10, 1), 4),
        ("divide", undivided, LevelSum(OPPOSITE, 300, 0, 1), 4),
        ("divide_by_root", undivided, LevelMoment(OPPOSITE, 300, 1), 4),
        ("clip_rows", without_clip, ScoreMoment(OPPOSITE, 300, 100, 1), 1),
        ("divide_by_root", root_rounded_down, ScoreMoment(MANY, 10, 1, 1), 4),
        ("divide_by_root", undivided, ScoreMoment(OPPOSITE, 300, 100, 1), 4),
        ("clip_rows", without_clip, ClassMoment(OPPOSITE, ((5,),), 3, 300, 100, 1), 1),
        ("divide_by_root", root_rounded_down, ClassMoment(MANY, MANY_ALONE, 1, 10, 1, 1), 4),
        ("divide_by_root", undivided, ClassMoment(OPPOSITE, ((5,),), 3, 300, 100, 1), 4),
    ],
)
def test_without_it_the_bound_is_exceeded(
    monkeypatch: pytest.MonkeyPatch, part: str, fault: Callable[..., Any], query: Question, rows: int
) -> None:
    """The clip, truncation towards zero, and the weights of rows; against a patient of whom nothing is known."""
    distance, bound = moved(query, [WELL_LOW] * rows, NOTHING)
    assert distance <= bound
    monkeypatch.setattr(sys.modules[type(query).__module__], part, fault)
    distance, bound = moved(query, [WELL_LOW] * rows, NOTHING)
    assert distance > bound


def test_rounding_the_products_instead_of_psi_breaks_the_bound_and_the_order() -> None:
    """psi (x) psi to the nearest integers is longer than |psi|^2, and no longer positive semidefinite."""
    psi = np.full(100, 0.72)
    assert np.linalg.norm(np.rint(np.outer(psi, psi))) > 1.9 * (psi @ psi)
    mixed = np.array([0.6, 1.0])
    assert np.linalg.eigvalsh(np.rint(np.outer(mixed, mixed)))[0] < -0.5
