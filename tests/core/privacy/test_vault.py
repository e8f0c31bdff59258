"""The vault: exact sums in any order and batching, weights, the meter, and what it refuses before it pays."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import isqrt, prod
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vaults import (
    BY_ROW,
    CLASS_MOMENTS,
    ENCODING,
    LEVELS,
    MOMENTS,
    MU2,
    QUERIES,
    SCHEMA,
    SIGN_PRODUCTS,
    SUMS,
    VALUE_COUNTS,
    NoNoise,
    Rows,
    ask,
    open_vault,
    table,
)

from cohortmix.core import Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA
from cohortmix.core.privacy.questions import lattice as lattice_module
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import DIAGONAL, OFF_DIAGONAL, Coordinate
from cohortmix.core.privacy.questions.lattice import MOMENT_UNIT
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.vault import Vault


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


def one_hot_values(age: int | None, dose: float) -> NDArray[np.float64]:
    """Ages of 40 to 58 one by one, those from 59 on together; doses below 0, of 0 to 1/4, and of 9/4 to 11/4."""
    out = np.zeros(23)
    if age is not None and age >= 40:
        out[min(age - 40, 19)] = 1
    within = dose < 0, 0 <= dose < 1 / 4, 9 / 4 <= dose < 11 / 4
    out[20:] = within
    return out


def by_hand(data: pa.Table) -> list[NDArray[np.float64]]:
    """All answers, record by record in Python; weights 1/m of the sums, and the square root for the moments."""
    rows = data.to_pylist()
    count = {key: sum(row["pid"] == key for row in rows) for key in data["pid"].to_pylist()}
    sums = np.zeros((2, SUMS.width))
    pairs = np.zeros((2, sum(MOMENTS.sizes), sum(MOMENTS.sizes)))
    levels, squares = np.zeros((2, len(LEVELS) + 1)), np.zeros((len(LEVELS), len(LEVELS)))
    of_class = np.zeros((2, CLASS_MOMENTS.width, CLASS_MOMENTS.width))
    by_class = np.zeros((2, len(LEVELS)))
    signed = np.zeros((2, len(SIGN_PRODUCTS.subsets)))
    counted = np.zeros(20 + 3)
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
        by_class[label] += short * int(7 * root)
        products = [sum(a * each for a, each in zip(row, x, strict=True)) for row in CLASS_MOMENTS.directions]
        projected = clipped([int(Fraction(each, CLASS_MOMENTS.divisor)) for each in products], 21)
        short = np.array([int(each * root) for each in (*projected, 13)])
        of_class[label] += np.outer(short, short)
        signs = [each[code] if code >= 0 else 0 for each, code in zip(SIGN_PRODUCTS.signs, codes, strict=True)]
        share = SIGN_PRODUCTS.unit // m / SIGN_PRODUCTS.unit
        signed[label] += [share * prod(signs[j] for j in subset) for subset in SIGN_PRODUCTS.subsets]
        counted += share * one_hot_values(row["age"], row["dose"])
    squares *= np.where(np.eye(len(LEVELS), dtype=bool), 1, OFF_DIAGONAL / DIAGONAL)
    of_class *= np.where(np.eye(CLASS_MOMENTS.width, dtype=bool), 1, OFF_DIAGONAL / DIAGONAL)
    upper = np.triu_indices(len(LEVELS))
    return [
        sums.ravel(),
        pairs[:, MOMENTS.pairs].ravel(),
        levels.ravel() / 8,
        levels.sum(axis=0)[:-1] / 8,
        squares[upper] / 8**2,
        np.concatenate([each[np.triu_indices(CLASS_MOMENTS.width)] for each in of_class]) / 8**2,
        np.concatenate([squares[upper], by_class.ravel() * OFF_DIAGONAL / DIAGONAL]) / 8**2,
        signed.ravel(),
        counted,
    ]


def test_the_answers_are_the_sums_of_the_records() -> None:
    for answer, expected in zip(exact(Rows(table())), by_hand(table()), strict=True):
        np.testing.assert_allclose(answer, expected, rtol=1e-15)
        assert np.abs(answer).sum() > 4  # products cancel


@pytest.mark.parametrize("size", [1, 2, 7, 59, 60])
def test_batches_do_not_change_an_answer(size: int) -> None:
    for whole, parts in zip(exact(Rows(table())), exact(Rows(table(), size)), strict=True):
        np.testing.assert_array_equal(whole, parts)


KEYS = [None, "p", " p", "q", "7", "7.0", "", "new"]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from(KEYS[:-1]), max_size=25),
    st.lists(st.sampled_from(KEYS), max_size=25),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_which_rows_count_is_as_counted_one_by_one(
    before: list[str | None], after: list[str | None], size: int, cap: int
) -> None:
    """m rows of a patient as first counted, or the cap; the first that are met, whatever there is by then."""
    rows, met, expected = (Counter(key and key.strip() for key in before), Counter[str | None](), 0)
    for key in (key and key.strip() for key in after):
        m = min(rows[key], cap) if key else 0
        met[key] += 1
        expected += SIGN_PRODUCTS.unit // m if met[key] <= m else 0

    def records(keys: list[str | None]) -> pa.Table:
        count = len(keys)
        one = {"age": [50] * count, "dose": [4.0] * count, "sex": ["F"] * count, "outcome": ["ill"] * count}
        return pa.table({"pid": pa.array(keys, pa.string())} | one)

    schema = SCHEMA.model_copy(update={"max_rows_per_patient": cap})
    opened = open_vault(Rows(records(before), size, grown=records(after)), schema)
    answer = ask(opened, ClassMarginals((Block(0, (0,) * ENCODING.sizes[0], 1),), SIGN_PRODUCTS.unit, 1))
    assert opened.patients == len({key.strip() for key in before if key})
    assert answer.estimate[-1] == expected


@pytest.mark.parametrize("numbers", [1, 100, 2000])
def test_memory_does_not_change_an_answer(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    expected = exact(Rows(table()))
    monkeypatch.setattr(lattice_module, "BATCH_NUMBERS", numbers)
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
    masses = opened.answer(SUMS, MU2).estimate.reshape(2, -1)[:, -1] * SUMS.unit / SUMS.label_weight
    assert masses.sum() == pytest.approx(known)


# Who is a patient


def patients_of(keys: pa.Array) -> int:
    rows = len(keys)
    columns = {"age": [1] * rows, "dose": [1.0] * rows, "sex": ["F"] * rows, "outcome": ["unknown"] * rows}
    return open_vault(Rows(pa.table({"pid": keys} | columns))).patients


@pytest.mark.parametrize(
    ("keys", "patients"),
    [
        (pa.array(["1", "1.0", " 1 ", "01", "M\u00fc", "Mu\u0308"]), 4),
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
        Fraction(2 * (15**2 + 7**2) ** 2, 8**4),
        Fraction(4 * len(SIGN_PRODUCTS.subsets)),  # two patients can be opposite
        Fraction(2 * len(VALUE_COUNTS.values)),
    )
    for query, norm2 in zip(QUERIES, bounds2, strict=True):
        answer = ask(opened, query, mu2)
        assert answer.mu2 == Fraction(answer.sensitivity2, answer.sigma**2) <= mu2
        assert Fraction(answer.sensitivity2, answer.unit**2) == norm2
        assert answer.sigma >= MIN_SIGMA


# What it refuses: by public facts, before it pays


def lattice(weight: int) -> ClassMarginals:
    return ClassMarginals((), weight, 1)


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
        ask(Vault(Rows(data), SCHEMA, NoNoise().add, meter), query, mu2)
    assert meter.spent == 0


def test_just_below_the_limits_it_answers() -> None:
    """Of the weights, the levels, and of the sum over all patients."""
    open_vault(Rows(table())).answer(LevelSum(steep((1 << 30) - 1), 5, 5, 1), MU2)
    open_vault(Rows(table())).answer(LevelMoment(steep((1 << 30) - 1), 1 << 26, 1), Fraction(1))
    weight = isqrt((1 << 62) - 1)
    open_vault(Rows(table())).answer(lattice(weight), MU2)
    with pytest.raises(OverflowError, match="for 62 bits"):
        open_vault(Rows(table())).answer(lattice(weight + 1), MU2)
    largest = next(shift for shift in range(200) if open_vault(Rows(table())).patients << shift + 1 >= 1 << 62)
    mu2 = Fraction(2, MIN_SIGMA**2) * 4**largest  # needs this shift, and no more
    assert open_vault(Rows(table()), limit=1 << 99).answer(lattice(1), mu2).unit == 1 << largest
    with pytest.raises(OverflowError, match="patients are too many"):
        open_vault(Rows(table()), limit=1 << 99).answer(lattice(1), 4 * mu2)


HEAVY = 1 << 20


@pytest.mark.parametrize(
    "query",
    [
        ClassMarginals((Block(2, (0, 1, 1), HEAVY),), 1, 1),
        ClassMarginals((Block(2, (0, 1, 1), 1), Block(0, (0,) * ENCODING.sizes[0], HEAVY)), 1, 1),
        ClassMarginals((Block(2, (0, 1, 1), 1),), HEAVY, 1),
        LevelSum(LEVELS, HEAVY, 1, 1),
        LevelSum(LEVELS, 1, HEAVY, 1),
    ],
    ids=["block", "another block", "label of sums", "radius", "label of levels"],
)
def test_the_largest_entry_decides_whether_sums_fit(query: Any) -> None:
    """Were a lighter one taken, records would decide whether an int64 overflows, or the noise refuses."""
    for shift, fits in ((37, True), (38, False)):  # 17 patients x 2^20 << 37 is below 2^62
        mu2 = Fraction(query.sensitivity2(SCHEMA.cap), MIN_SIGMA**2) * 4**shift
        opened = open_vault(Rows(table()), limit=1 << 99)
        if fits:
            assert ask(opened, query, mu2).unit == 1 << shift
        else:
            with pytest.raises(OverflowError, match="patients are too many"):
                ask(opened, query, mu2)


@pytest.mark.parametrize("mu2", [Fraction(0), Fraction(-1)])
def test_no_budget_buys_no_answer(mu2: Fraction) -> None:
    with pytest.raises(ValueError, match="above zero"):
        open_vault(Rows(table())).answer(SUMS, mu2)


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
