"""The vault: exact sums in any order and batching, weights, the meter, and what it refuses before it pays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core import Schema, contributions
from cohortmix.core.anonymize import sum_query
from cohortmix.core.encoding import Encoding
from cohortmix.core.lattice import EXACT, clip_rows, divide, divide_by_root, floor_sqrt, project
from cohortmix.core.meter import Answer, BudgetExceeded, MemoryMeter
from cohortmix.core.noise import MAX_SIGMA, MIN_SIGMA
from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.query import (
    DIAGONAL,
    OFF_DIAGONAL,
    Block,
    ClassMoment,
    Coordinate,
    LevelMoment,
    LevelSum,
    MomentQuery,
    SumQuery,
    question_hash,
)
from cohortmix.core.vault import MOMENT_UNIT, Vault

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
MOMENTS = MomentQuery(tuple(tuple(cell % 3 for cell in range(size)) for size in ENCODING.sizes))
LEVELS = tuple(
    Coordinate(column, tuple(7 * cell % 23 - 9 for cell in range(ENCODING.sizes[column])))
    for column in (0, 2, 1, 0)
)
LEVEL_SUMS, LEVEL_MOMENTS = LevelSum(LEVELS, 15, 11, 8), LevelMoment(LEVELS, 15, 8)
CLASS_MOMENTS = ClassMoment(LEVELS, ((3, -5, 0, 7), (-2, 4, 6, 1)), 4, 21, 13, 8)
QUERIES = (SUMS, MOMENTS, LEVEL_SUMS, LevelSum(LEVELS, 15, 0, 8), LEVEL_MOMENTS, CLASS_MOMENTS)
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
    return Vault(source, schema, noise or NoNoise(), MemoryMeter(Fraction(limit)))


def ask(opened: Vault, query: Any, mu2: Fraction = MU2) -> Answer:
    """The question that a query is for."""
    questions: dict[type, Callable[[Any, Fraction], Answer]] = {
        SumQuery: opened.noisy_sum,
        MomentQuery: opened.noisy_second_moment,
        LevelSum: opened.noisy_level_sum,
        LevelMoment: opened.noisy_level_moment,
        ClassMoment: opened.noisy_class_moment,
    }
    return questions[type(query)](query, mu2)


def exact(source: Any, schema: Schema = SCHEMA) -> list[NDArray[np.float64]]:
    """All answers in patients."""
    opened = open_vault(source, schema)
    return [ask(opened, query).estimate for query in QUERIES]


# What is summed


def clipped(x: list[int], radius: int) -> list[int]:
    """x, or x scaled to the radius, each entry truncated towards zero."""
    norm2 = sum(each**2 for each in x)
    length = isqrt(norm2 - 1) + 1
    return x if norm2 <= radius**2 else [int(Fraction(each * radius, length)) for each in x]


def by_hand(data: pa.Table) -> list[NDArray[np.float64]]:
    """All answers, record by record in Python; weights 1/m of the sums, and the square root for the moments."""
    rows = data.to_pylist()
    count = {key: sum(row["pid"] == key for row in rows) for key in data["pid"].to_pylist()}
    sums = np.zeros((2, SUMS.width))
    pairs = np.zeros((2, sum(MOMENTS.sizes), sum(MOMENTS.sizes)))
    levels, squares = np.zeros((2, len(LEVELS) + 1)), np.zeros((len(LEVELS), len(LEVELS)))
    of_class = np.zeros((2, CLASS_MOMENTS.width, CLASS_MOMENTS.width))
    (batch,) = data.combine_chunks().to_batches()
    for row, codes in zip(rows, ENCODING.feature_codes(batch), strict=True):
        if row["pid"] is None or row["outcome"] == "unknown":
            continue
        label, m = ("well", "ill").index(row["outcome"]), count[row["pid"]]
        z = []
        for block in SUMS.blocks:
            slots = np.zeros(block.size)
            if codes[block.column] >= 0:
                slots[block.slots[codes[block.column]]] = block.weight
            z.append(slots)
        sums[label] += np.concatenate([*z, [SUMS.label_weight]]) // m / SUMS.unit
        psi = [
            np.eye(size)[groups[code]] if code >= 0 else np.zeros(size)
            for groups, size, code in zip(MOMENTS.groups, MOMENTS.sizes, codes, strict=True)
        ]
        root = isqrt(MOMENT_UNIT**2 // m) / MOMENT_UNIT
        pairs[label] += np.outer(root * np.concatenate(psi), root * np.concatenate(psi))
        cells = [int(codes[each.column]) for each in LEVELS]
        x = [each.levels[cell] if cell >= 0 else 0 for each, cell in zip(LEVELS, cells, strict=True)]
        levels[label] += [int(Fraction(each, m)) for each in (*clipped(x, 15), 11)]
        short = np.array([int(each * root) for each in clipped(x, 15)])
        squares += np.outer(short, short)
        products = [sum(a * each for a, each in zip(row, x, strict=True)) for row in CLASS_MOMENTS.directions]
        projected = clipped([int(Fraction(each, CLASS_MOMENTS.divisor)) for each in products], 21)
        short = np.array([int(each * root) for each in (*projected, 13)])
        of_class[label] += np.outer(short, short)
    squares *= np.where(np.eye(len(LEVELS), dtype=bool), 1, OFF_DIAGONAL / DIAGONAL)
    of_class *= np.where(np.eye(CLASS_MOMENTS.width, dtype=bool), 1, OFF_DIAGONAL / DIAGONAL)
    return [
        sums.ravel(),
        pairs[:, MOMENTS.pairs].ravel(),
        levels.ravel() / 8,
        levels.sum(axis=0)[:-1] / 8,
        squares[np.triu_indices(len(LEVELS))] / 8**2,
        np.concatenate([each[np.triu_indices(CLASS_MOMENTS.width)] for each in of_class]) / 8**2,
    ]


def test_the_answers_are_the_sums_of_the_records() -> None:
    for answer, expected in zip(exact(Rows(table())), by_hand(table()), strict=True):
        np.testing.assert_allclose(answer, expected, rtol=1e-15)
        assert np.abs(answer).sum() > 5


def test_pairs_are_the_upper_off_diagonal_blocks() -> None:
    np.testing.assert_array_equal(
        MomentQuery(((0, 1), (0, 0), (0,))).pairs.astype(int),
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    )


@pytest.mark.parametrize("size", [1, 2, 7, 59, 60])
def test_batches_do_not_change_an_answer(size: int) -> None:
    for whole, parts in zip(exact(Rows(table())), exact(Rows(table(), size)), strict=True):
        np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("numbers", [1, 100, 2000])
def test_memory_does_not_change_an_answer(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    expected = exact(Rows(table()))
    monkeypatch.setattr(contributions, "BATCH_NUMBERS", numbers)
    for answer, other in zip(exact(Rows(table())), expected, strict=True):
        np.testing.assert_array_equal(answer, other)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_rows_does_not_change_an_answer(seed: int) -> None:
    """No patient here has more records than the cap; which of them count would follow their order."""
    shuffled = table().take(np.random.default_rng(seed).permutation(60))
    for answer, other in zip(exact(Rows(shuffled, 13)), exact(Rows(table())), strict=True):
        np.testing.assert_array_equal(answer, other)


def test_one_record_changes_an_answer() -> None:
    """The negation of the three above."""
    for answer, other in zip(exact(Rows(table().slice(1))), exact(Rows(table())), strict=True):
        assert (answer != other).any()


def test_without_a_key_a_row_is_a_patient() -> None:
    opened = open_vault(Rows(table()), BY_ROW)
    assert opened.patients == 60
    known = sum(outcome != "unknown" for outcome in table()["outcome"].to_pylist())
    masses = opened.noisy_sum(SUMS, MU2).estimate.reshape(2, -1)[:, -1] * SUMS.unit / SUMS.label_weight
    assert masses.sum() == pytest.approx(known)


# Who is a patient


def patients_of(keys: pa.Array) -> int:
    rows = len(keys)
    columns = {"age": [1] * rows, "dose": [1.0] * rows, "sex": ["F"] * rows, "outcome": ["unknown"] * rows}
    return open_vault(Rows(pa.table({"pid": keys} | columns))).patients


@pytest.mark.parametrize(
    ("keys", "patients"),
    [
        (pa.array(["1", "1.0", " 1 ", "01"]), 2),
        (pa.array([1, 1, 2, None]), 2),
        (pa.array([1.0, 1.0, float("nan"), None]), 1),
        (pa.array(["a", None, "", " ", "NA", "nan", "null"]), 1),
        (pa.array([2**53, 2**53 + 1, -(2**62)]), 3),
        (pa.array(["a", "b", "a"]).dictionary_encode(), 2),
        (pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.int8()), pa.array(["a", None])), 1),
        (pa.array([10**8, 10**8, 0], pa.int32()).cast(pa.date32()), 1),
        (pa.nulls(3), 0),
        (pa.array([], pa.string()), 0),
    ],
    ids=["spelling", "int", "float", "texts of nothing", "large", "coded", "coded null", "no day", "null", "none"],
)
def test_a_patient_is_a_key_that_says_something(keys: pa.Array, patients: int) -> None:
    """N counts keys before any row is dropped: here every target is unknown."""
    assert patients_of(keys) == patients


def test_a_table_that_grew_gives_nobody_more_weight() -> None:
    one, many = table().slice(0, 1), pa.concat_tables([table().slice(0, 1)] * 5 + [table()])
    for answer, grown in zip(exact(Rows(one)), exact(Rows(one, grown=many)), strict=True):
        np.testing.assert_array_equal(answer, grown)


# Noise and lattice


def test_the_noise_is_what_the_answer_says() -> None:
    opened, silent = open_vault(Rows(table()), noise=KeyedNoise(4)), open_vault(Rows(table()))
    noise = []
    for index, query in enumerate((*QUERIES, SUMS)):
        answer, plain = ask(opened, query), ask(silent, query)
        purpose = f"{answer.question}:{index}"
        np.testing.assert_array_equal(answer.values, KeyedNoise(4).add(plain.values, answer.sigma, purpose))
        noise.append((answer.values - plain.values) / answer.sigma)
        assert MIN_SIGMA <= answer.sigma <= MAX_SIGMA
        assert MU2 * (1 - Fraction(1, 10**6)) < answer.mu2 <= MU2
        assert answer.std == answer.sigma / answer.unit
        np.testing.assert_array_equal(answer.estimate, answer.values / answer.unit)
        assert 0.4 < noise[-1].std() < 1.6  # of four numbers or more
    assert not np.array_equal(noise[0], noise[-1])  # asked twice, drawn twice


@pytest.mark.parametrize("mu2", [Fraction(1, 10**6), Fraction(1), Fraction(10**6)])
def test_the_cost_is_the_square_of_sensitivity_over_noise(mu2: Fraction) -> None:
    opened = open_vault(Rows(table()), limit=10**7)
    bounds2 = (
        Fraction(2 * SUMS.bound2, SUMS.unit**2),
        Fraction(6),  # Q(Q-1) of three features
        Fraction(4 * 15**2 + (6 - 1) ** 2, 8**2),  # 4 R^2 + (cap - 1)^2
        Fraction(4 * 15**2, 8**2),
        Fraction(2 * 15**4, 8**4),
        Fraction(2 * (21**2 + 13**2) ** 2, 8**4),
    )
    for query, norm2 in zip(QUERIES, bounds2, strict=True):
        answer = ask(opened, query, mu2)
        assert answer.mu2 == Fraction(answer.sensitivity2, answer.sigma**2) <= mu2
        assert Fraction(answer.sensitivity2, answer.unit**2) == norm2
        assert answer.sigma >= MIN_SIGMA


# What it refuses: by public facts, before it pays


def lattice(weight: int) -> SumQuery:
    return SumQuery((), weight, 1)


def steep(level: int) -> tuple[Coordinate, ...]:
    """Two coordinates, whose levels together have a squared norm of 2 level^2."""
    return (Coordinate(2, (0, -level, 0)), Coordinate(2, (level, 0, 0)))


@pytest.mark.parametrize("rows", [0, 60])
@pytest.mark.parametrize(
    ("query", "mu2", "fault"),
    [
        (lattice(1 << 31), MU2, "too large for 62 bits"),
        (LevelSum((), 1, 1 << 31, 1), MU2, "too large for 62 bits"),
        (LevelSum((), 1 << 31, 0, 1), MU2, "too large for 62 bits"),
        (LevelSum(steep(3 << 29), 1, 1, 1), MU2, "too large for 62 bits"),
        (LevelMoment(steep(3 << 29), 1, 1), MU2, "too large for 53 bits"),
        (LevelMoment(LEVELS, 1 << 27, 1), MU2, "too large for 53 bits"),
        (ClassMoment(LEVELS, ((1,) * 4,), 1, 1 << 26, 1 << 27, 1), MU2, "leave 53 bits"),
        (ClassMoment(LEVELS, ((1 << 50,) * 4,), 1 << 50, 1, 1, 1), MU2, "leave 53 bits"),
        (ClassMoment(steep(3 << 51), ((0, 0),), 1 << 52, 1, 1, 1), MU2, "leave 53 bits"),
        (ClassMoment(steep(1 << 31), ((1, 0),), 1, 1, 1, 1), MU2, "leave 53 bits"),
        (ClassMoment(LEVELS, ((1,) * 4,), 1 << 63, 1, 1, 1), MU2, "leave 53 bits"),
        (lattice(1), Fraction(1 << 80), "patients are too many for mu"),
        *((query, Fraction(1 << 80), "patients are too many for mu") for query in QUERIES[1:]),
        (lattice(1), Fraction(1, 1 << 120), "too small"),
        *((query, Fraction(1, 1 << 120), "too small") for query in QUERIES[1:]),
    ],
)
def test_what_would_leave_62_bits_is_refused_unpaid(query: Any, mu2: Fraction, fault: str, rows: int) -> None:
    """The refusal follows from N, the query and mu: records that count for nothing are refused alike."""
    data = table() if rows else table().set_column(4, "outcome", pa.array(["unknown"] * 60))
    meter = MemoryMeter(Fraction(1 << 90))
    with pytest.raises(OverflowError, match=fault):
        ask(Vault(Rows(data), SCHEMA, NoNoise(), meter), query, mu2)
    assert meter.spent == 0


def test_just_below_the_limits_it_answers() -> None:
    """Of the weights, the levels, and of the sum over all patients."""
    open_vault(Rows(table())).noisy_level_sum(LevelSum(steep((1 << 30) - 1), 5, 5, 1), MU2)
    open_vault(Rows(table())).noisy_level_moment(LevelMoment(steep((1 << 30) - 1), 1 << 26, 1), Fraction(1))
    weight = isqrt((1 << 62) - 1)
    open_vault(Rows(table())).noisy_sum(lattice(weight), MU2)
    with pytest.raises(OverflowError, match="for 62 bits"):
        open_vault(Rows(table())).noisy_sum(lattice(weight + 1), MU2)
    largest = next(shift for shift in range(200) if open_vault(Rows(table())).patients << shift + 1 >= 1 << 62)
    mu2 = Fraction(2, MIN_SIGMA**2) * 4**largest  # needs this shift, and no more
    assert open_vault(Rows(table()), limit=1 << 99).noisy_sum(lattice(1), mu2).unit == 1 << largest
    with pytest.raises(OverflowError, match="patients are too many"):
        open_vault(Rows(table()), limit=1 << 99).noisy_sum(lattice(1), 4 * mu2)


@dataclass(frozen=True)
class Spy(SumQuery):
    """A query with code in it."""

    @property
    def bound2(self) -> int:
        return 1


class SpyBlock(Block):
    @property
    def size(self) -> int:
        return 10**6


SLOTS = tuple(range(ENCODING.sizes[0]))


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (Spy(SUMS.blocks, 1, 1), TypeError),
        (lambda batch: batch, TypeError),
        (MOMENTS, TypeError),
        (None, TypeError),
        (SumQuery([*SUMS.blocks], 1, 1), TypeError),  # type: ignore[arg-type]
        (SumQuery((SpyBlock(0, SLOTS, 1),), 1, 1), TypeError),
        (SumQuery((Block(0, list(SLOTS), 1),), 1, 1), TypeError),  # type: ignore[arg-type]
        (SumQuery((Block(0, SLOTS[:-1], 1),), 1, 1), ValueError),
        (SumQuery((Block(1, SLOTS, 1),), 1, 1), ValueError),
        (SumQuery((Block(9, SLOTS, 1),), 1, 1), ValueError),
        (SumQuery((Block(-1, SLOTS, 1),), 1, 1), ValueError),
        (SumQuery((Block(0, (-1, *SLOTS[1:]), 1),), 1, 1), ValueError),
        (SumQuery((Block(0, SLOTS, -1),), 1, 1), ValueError),
        (SumQuery((Block(0, SLOTS, 0.7),), 1, 1), TypeError),  # type: ignore[arg-type]
        (SumQuery((Block(0, SLOTS, True),), 1, 1), TypeError),
        (SumQuery((Coordinate(0, SLOTS),), 1, 1), TypeError),  # type: ignore[arg-type]
        (SumQuery(SUMS.blocks, 1, (1,)), TypeError),  # type: ignore[arg-type]
        (SumQuery((), 0, 1), ValueError),
        (SumQuery((), 1, 0), ValueError),
    ],
)
def test_a_sum_is_asked_for_by_plain_data_that_fits_the_schema(query: Any, error: type[Exception]) -> None:
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        Vault(Rows(table()), SCHEMA, NoNoise(), meter).noisy_sum(query, MU2)
    assert meter.spent == 0


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (SUMS, TypeError),
        (MomentQuery(list(MOMENTS.groups)), TypeError),  # type: ignore[arg-type]
        (MomentQuery((*MOMENTS.groups, (0,))), ValueError),
        (MomentQuery((MOMENTS.groups[0][:-1], *MOMENTS.groups[1:])), ValueError),
        (MomentQuery(MOMENTS.groups[:1]), ValueError),
    ],
)
def test_a_second_moment_is_asked_for_by_plain_data_that_fits_the_schema(
    query: Any, error: type[Exception]
) -> None:
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        Vault(Rows(table()), SCHEMA, NoNoise(), meter).noisy_second_moment(query, MU2)
    assert meter.spent == 0


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (LevelSum([*LEVELS], 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (LevelSum((Block(0, SLOTS, 1),), 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (LevelSum((Coordinate(0, tuple(map(float, SLOTS))),), 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (LevelSum((Coordinate(0, (SLOTS,)),), 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (LevelSum((Coordinate(0, SLOTS[:-1]),), 1, 1, 1), ValueError),
        (LevelSum((Coordinate(-1, SLOTS),), 1, 1, 1), ValueError),
        (LevelSum((Coordinate(3, SLOTS),), 1, 1, 1), ValueError),
        (LevelSum(LEVELS, 0, 1, 1), ValueError),
        (LevelSum(LEVELS, 1, -1, 1), ValueError),
        (LevelSum(LEVELS, 1, 1, 0), ValueError),
        (LevelSum(LEVELS, 1.0, 1, 1), TypeError),  # type: ignore[arg-type]
        (LevelSum(LEVELS, True, 1, 1), TypeError),
        (LevelMoment(LEVELS, 0, 1), ValueError),
        (LevelMoment(LEVELS, 1, 0), ValueError),
        (LevelMoment((), 1, 1), ValueError),
        (LevelMoment((Coordinate(1, SLOTS),), 1, 1), ValueError),
        (ClassMoment(LEVELS, (), 1, 1, 1, 1), ValueError),
        (ClassMoment(LEVELS, ((1,) * 4, (1,) * 3), 1, 1, 1, 1), ValueError),
        (ClassMoment(LEVELS, ((1.0,) * 4,), 1, 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (ClassMoment(LEVELS, [(1,) * 4], 1, 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (ClassMoment((Coordinate(0, SLOTS[:-1]),), ((1,),), 1, 1, 1, 1), ValueError),
        *((ClassMoment(LEVELS, ((1,) * 4,), *(int(at != k) for k in range(4))), ValueError) for at in range(4)),
    ],
)
def test_levels_are_asked_for_by_plain_data_that_fits_the_schema(query: Any, error: type[Exception]) -> None:
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        ask(Vault(Rows(table()), SCHEMA, NoNoise(), meter), query)
    assert meter.spent == 0


def test_one_kind_of_question_is_not_another() -> None:
    opened = open_vault(Rows(table()))
    for question in (
        opened.noisy_sum,
        opened.noisy_second_moment,
        opened.noisy_level_sum,
        opened.noisy_level_moment,
        opened.noisy_class_moment,
    ):
        kinds = 0
        for query in QUERIES:
            try:
                question(query, MU2)  # type: ignore[arg-type]
                kinds += 1
            except TypeError:
                pass
        assert kinds == (2 if question == opened.noisy_level_sum else 1)


@pytest.mark.parametrize("mu2", [Fraction(0), Fraction(-1)])
def test_no_budget_buys_no_answer(mu2: Fraction) -> None:
    with pytest.raises(ValueError, match="above zero"):
        open_vault(Rows(table())).noisy_sum(SUMS, mu2)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_vault_cannot_be_copied(copied: Callable[[Vault], object]) -> None:
    with pytest.raises(TypeError, match="holds records"):
        copied(open_vault(Rows(table())))


def test_a_vault_shows_the_number_of_patients_and_nothing_else() -> None:
    opened = open_vault(Rows(table()))
    assert repr(opened) == "Vault(17 patients)"
    public = {name: getattr(opened, name) for name in dir(opened) if not name.startswith("_")}
    assert {name for name, value in public.items() if not callable(value)} == {"patients"}
    assert 60 not in [value for value in vars(opened).values() if isinstance(value, int)]


# The meter


@dataclass
class BrokenMeter(MemoryMeter):
    """Fails when an answer is to be stored."""

    def __init__(self) -> None:
        super().__init__(Fraction(1))

    def store(self, index: int, answer: Answer) -> None:
        raise OSError("no space left")


class CountingNoise(NoNoise):
    draws = 0

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        self.draws += 1
        return values


def test_over_the_limit_nothing_is_drawn() -> None:
    meter, noise = MemoryMeter(Fraction(1, 100)), CountingNoise()
    opened = Vault(Rows(table()), SCHEMA, noise, meter)
    opened.noisy_sum(SUMS, Fraction(64, 10_000))
    with pytest.raises(BudgetExceeded, match=r"spent mu=0\.08, asked mu=0\.08, cap mu=0\.1"):
        opened.noisy_sum(SUMS, Fraction(64, 10_000))
    assert noise.draws == 1
    assert Fraction(639, 100_000) < meter.spent <= Fraction(64, 10_000)


def test_the_whole_limit_can_be_spent() -> None:
    meter = MemoryMeter(Fraction(1))
    meter.debit(0, "a", Fraction(1, 4))
    meter.debit(1, "b", Fraction(3, 4))
    with pytest.raises(BudgetExceeded):
        meter.debit(2, "c", Fraction(1, 10**9))
    opened = open_vault(Rows(table()), limit=1)
    opened.noisy_sum(SUMS, Fraction(1, 4))
    opened.noisy_second_moment(MOMENTS, Fraction(3, 4))


def test_a_stored_answer_is_not_drawn_again() -> None:
    meter, noise = MemoryMeter(Fraction(1)), CountingNoise()
    first, again = (Vault(Rows(table()), SCHEMA, noise, meter).noisy_sum(SUMS, MU2) for _ in range(2))
    assert again is first
    assert noise.draws == 1
    assert meter.spent == first.mu2


def test_another_question_under_the_same_index_is_refused() -> None:
    meter, noise = MemoryMeter(Fraction(1)), CountingNoise()
    Vault(Rows(table()), SCHEMA, noise, meter).noisy_sum(SUMS, MU2)
    others: list[Callable[[Vault], Answer]] = [
        lambda v: v.noisy_second_moment(MOMENTS, MU2),
        lambda v: v.noisy_sum(SumQuery(SUMS.blocks[1:], SUMS.label_weight, SUMS.unit), MU2),
    ]
    for ask in others:
        with pytest.raises(BudgetExceeded, match="another one"):
            ask(Vault(Rows(table()), SCHEMA, noise, meter))
    assert noise.draws == 1


def test_a_question_that_was_paid_for_is_drawn_once_and_for_that_price() -> None:
    """After a crash between paying and storing: the same question is free, another one is refused."""
    meter = MemoryMeter(Fraction(1))
    meter.debit(0, "a", Fraction(1, 2))
    meter.debit(0, "a", Fraction(1, 2))
    assert meter.spent == Fraction(1, 2)
    for question, mu2 in (("b", Fraction(1, 2)), ("a", Fraction(1, 4))):
        with pytest.raises(BudgetExceeded, match="already paid for and differs"):
            meter.debit(0, question, mu2)


def test_an_answer_that_cannot_be_stored_is_not_given() -> None:
    meter = BrokenMeter()
    with pytest.raises(OSError, match="no space"):
        Vault(Rows(table()), SCHEMA, NoNoise(), meter).noisy_sum(SUMS, MU2)
    assert meter.spent > 0


def test_what_is_given_is_what_was_stored() -> None:
    class Other(MemoryMeter):
        def store(self, index: int, answer: Answer) -> None:
            kept = Answer(answer.values * 0, answer.sigma, answer.unit, 1, answer.mu2, answer.question)
            super().store(index, kept)

    given_ = Vault(Rows(table()), SCHEMA, NoNoise(), Other(Fraction(1))).noisy_sum(SUMS, MU2)
    assert not given_.values.any()


CLASS_PARTS: dict[str, Any] = {
    "unit": 8,  # as it is
    "coordinates": LEVELS[::-1],
    "directions": CLASS_MOMENTS.directions[::-1],
    "divisor": 5,
    "radius": 22,
    "label_weight": 14,
}


def test_the_order_in_which_fields_were_set_changes_nothing() -> None:
    """Made by hand in another order, a query is still the one that it says it is."""
    query = ClassMoment(LEVELS, ((1,) * 4,), 3, 50, 1, 1)
    shuffled = object.__new__(ClassMoment)
    for name in ("coordinates", "directions", "radius", "divisor", "label_weight", "unit"):
        object.__setattr__(shuffled, name, getattr(query, name))
    assert shuffled == query
    assert question_hash(shuffled, SCHEMA) == question_hash(query, SCHEMA)
    other = ClassMoment(LEVELS, ((1,) * 4,), 50, 3, 1, 1)
    assert question_hash(shuffled, SCHEMA) != question_hash(other, SCHEMA)


def test_the_question_is_the_query_and_the_schema() -> None:
    moved = SCHEMA.model_copy(update={"name": "another"})
    slots = (1, *SUMS.blocks[0].slots[1:])
    questions = [
        question_hash(SUMS, SCHEMA),
        question_hash(SUMS, moved),
        question_hash(SumQuery(SUMS.blocks[1:], SUMS.label_weight, SUMS.unit), SCHEMA),
        question_hash(SumQuery((Block(0, slots, 1), *SUMS.blocks[1:]), SUMS.label_weight, SUMS.unit), SCHEMA),
        question_hash(SumQuery(SUMS.blocks, SUMS.label_weight + 1, SUMS.unit), SCHEMA),
        question_hash(SumQuery(SUMS.blocks, SUMS.label_weight, SUMS.unit + 1), SCHEMA),
        question_hash(MOMENTS, SCHEMA),
        question_hash(MomentQuery(MOMENTS.groups[1:]), SCHEMA),
        question_hash(LEVEL_SUMS, SCHEMA),
        question_hash(LEVEL_MOMENTS, SCHEMA),
        question_hash(LevelSum(LEVELS[::-1], 15, 11, 8), SCHEMA),
        question_hash(LevelSum(LEVELS, 16, 11, 8), SCHEMA),
        question_hash(LevelSum(LEVELS, 15, 12, 8), SCHEMA),
        question_hash(LevelSum(LEVELS, 15, 11, 9), SCHEMA),
        question_hash(LevelMoment(LEVELS[:-1], 15, 8), SCHEMA),
        question_hash(LevelMoment(LEVELS, 16, 8), SCHEMA),
        question_hash(LevelMoment(LEVELS, 15, 9), SCHEMA),
        *(question_hash(replace(CLASS_MOMENTS, **{part: value}), SCHEMA) for part, value in CLASS_PARTS.items()),
    ]
    assert len(set(questions)) == len(questions)
    assert question_hash(SUMS, SCHEMA) == questions[0]


# Clipping. Rows of one-hot cells never exceed the bound, so only this shows that the clip holds.

ROWS = st.lists(st.lists(st.integers(-(1 << 30), 1 << 30), min_size=3, max_size=3), min_size=1, max_size=5)


@given(ROWS, st.integers(1, 1 << 62))
def test_clipped_rows_keep_the_bound_in_integers(rows: list[list[int]], bound2: int) -> None:
    before = np.array(rows, dtype=np.int64)
    after = clip_rows(before, bound2)
    for old, new in zip(rows, after.tolist(), strict=True):
        norm2 = sum(x * x for x in old)
        assert sum(x * x for x in new) <= bound2
        assert all(abs(n) <= abs(o) and n * o >= 0 for o, n in zip(old, new, strict=True))
        if norm2 <= bound2:
            assert new == old
        else:  # no entry is smaller than scaled and truncated, give or take the two roundings of the factor
            factor = isqrt(bound2) / (isqrt(norm2) + 1)
            assert all(abs(n) > abs(o) * factor - 1 - 1e-6 for o, n in zip(old, new, strict=True))
    assert before.tolist() == rows


LONG = st.lists(st.integers(-(1 << 31), 1 << 31), min_size=2, max_size=2)


@given(st.lists(LONG | ROWS.map(lambda rows: rows[0][:2]), min_size=1, max_size=5), st.data())
def test_rows_are_clipped_as_by_python_s_own_integers(rows: list[list[int]], data: st.DataObject) -> None:
    """Up to 63 bits, and at every bound near a row's own norm."""
    rows = [row for row in rows if sum(x * x for x in row) < 1 << 63] or [[3, 4]]
    near = [max(1, sum(x * x for x in row) + step) for row in rows for step in (-1, 0, 1)]
    bound2 = data.draw(st.integers(1, (1 << 63) - 1) | st.sampled_from(near))
    expected = []
    for row in rows:
        norm2 = sum(x * x for x in row)
        length = isqrt(norm2 - 1) + 1 if norm2 > bound2 else isqrt(bound2)
        expected.append([int(Fraction(x * isqrt(bound2), length)) for x in row])
    assert clip_rows(np.array(rows, dtype=np.int64), bound2).tolist() == expected


@given(st.integers(0, (1 << 63) - 1), st.integers(0, isqrt((1 << 63) - 1)))
def test_a_whole_root_is_exact_up_to_63_bits(value: int, root: int) -> None:
    values = [value, root**2, max(root**2 - 1, 0), (1 << 63) - 1]
    assert floor_sqrt(np.array(values, dtype=np.int64)).tolist() == [isqrt(each) for each in values]


@given(
    st.lists(st.lists(st.integers(-(1 << 20), 1 << 20), min_size=3, max_size=3), min_size=1, max_size=9), st.data()
)
def test_a_projection_is_exact_and_knows_no_other_row(rows: list[list[int]], data: st.DataObject) -> None:
    entries = st.lists(st.integers(-(1 << 31), 1 << 31), min_size=3, max_size=3)
    directions = data.draw(st.lists(entries, min_size=1, max_size=4))
    divisor = data.draw(st.integers(1, 1 << 30))
    assert max(sum(map(abs, row)) for row in directions) << 20 <= EXACT
    expected = [
        [int(Fraction(sum(a * x for a, x in zip(each, row, strict=True)), divisor)) for each in directions]
        for row in rows
    ]
    z, a = np.array(rows, dtype=np.int64), np.array(directions, dtype=np.int64)
    assert project(z, a, divisor).tolist() == expected
    assert [project(z[at : at + 1], a, divisor)[0].tolist() for at in range(len(z))] == expected


def test_a_row_at_the_bound_is_kept_and_one_step_over_it_is_clipped() -> None:
    rows = np.array([[3, 4], [3, 5], [0, 0]], dtype=np.int64)
    np.testing.assert_array_equal(clip_rows(rows, 25), [[3, 4], [2, 4], [0, 0]])


PARTS = st.integers(1, 1000)


@given(ROWS, PARTS)
def test_shares_of_a_row_are_truncated_towards_zero(rows: list[list[int]], m: int) -> None:
    """m shares together are never longer than the row, in any entry; and at most m - 1 steps short."""
    before, parts = np.array(rows, dtype=np.int64), np.full(len(rows), m)
    for old, new in zip(before.ravel().tolist(), divide(before, parts).ravel().tolist(), strict=True):
        assert new == int(Fraction(old, m))
    for old_row, new_row in zip(rows, divide_by_root(before, parts, MOMENT_UNIT).tolist(), strict=True):
        for old, new in zip(old_row, new_row, strict=True):
            assert m * new * new <= old * old
            assert new * old >= 0
            assert abs(new) + 1 > abs(old) * (1 / m**0.5 - 1 / MOMENT_UNIT) - 1e-6
