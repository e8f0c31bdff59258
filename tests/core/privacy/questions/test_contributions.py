"""Contributions: sums at the edge of what floating point holds: exact there, in whatever batches the rows come.

A product of two matrices of integers is exact in float64 as long as every partial sum is at most 2^53; the batches
are small enough for that. Here entries are so long that three rows in one product would be rounded.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.core.privacy.questions import pair_tables
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import DIAGONAL, OFF_DIAGONAL, Coordinate
from cohortmix.core.privacy.questions.lattice import EXACT, MOMENT_UNIT, Rows
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.sign_products import UNIT, SignProducts
from cohortmix.core.privacy.questions.value_counts import UNIT as VALUE
from cohortmix.core.privacy.questions.value_counts import ValueCounts, Values

LONG = 2**26 - 1  # odd, and three times its square needs 54 bits
ROWS = 7


def rows(cells: tuple[int, ...], parts: int = 1, count: int = ROWS) -> list[Rows]:
    """`count` rows of these cells in class 0, each with a weight of 1 / parts, all at once."""
    codes = np.tile(np.array(cells, dtype=np.int32), (count, 1))
    return [(codes, np.zeros(count, dtype=np.int32), np.full(count, parts, dtype=np.int64))]


def axis(column: int, level: int) -> Coordinate:
    return Coordinate(column, (level,))


def test_the_rows_of_these_tests_leave_floating_point() -> None:
    reals = np.full((ROWS, 1), float(LONG))
    assert LONG**2 <= EXACT < 3 * LONG**2
    assert int((reals.T @ reals)[0, 0]) != ROWS * LONG**2


def test_a_level_moment_is_exact_at_the_largest_radius() -> None:
    query = LevelMoment((axis(0, LONG),), LONG, 1)
    assert query.contribution(rows((0,)), 1).tolist() == [DIAGONAL * ROWS * LONG**2]
    two = LevelMoment((axis(0, LONG - 3), axis(1, -5)), LONG, 1)
    assert two.contribution(rows((0, 0)), 1).tolist() == [
        DIAGONAL * ROWS * (LONG - 3) ** 2,
        -OFF_DIAGONAL * ROWS * 5 * (LONG - 3),
        DIAGONAL * ROWS * 25,
    ]


def test_a_class_moment_is_exact_at_the_largest_radius() -> None:
    query = ClassMoment((axis(0, LONG - 2),), ((1,),), 1, LONG, 3, 1)
    assert query.bound2 <= EXACT
    assert query.contribution(rows((0,)), 2).tolist() == [
        DIAGONAL * ROWS * (LONG - 2) ** 2,
        OFF_DIAGONAL * ROWS * 3 * (LONG - 2),
        DIAGONAL * ROWS * 9,
        *[0] * 3,  # nobody is in the other class
    ]


def test_a_pair_table_is_exact_on_a_finer_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the lattice of 2^14 steps a product would have to be of 2^25 rows before it is rounded."""
    monkeypatch.setattr(pair_tables, "MOMENT_UNIT", LONG)
    query = PairTables(((0,), (0,)))
    assert query.contribution(rows((0, 0)), 1).tolist() == [ROWS * LONG**2]


@pytest.mark.parametrize("m", [2, 3, 7])
def test_shares_of_long_rows_are_exact(m: int) -> None:
    """Division comes after the clip, and before the sum."""
    query = LevelSum((axis(0, -(2**30) - 1),), 2**30 + 1, 2**29 + 1, 1)
    short, label = -((2**30 + 1) // m), (2**29 + 1) // m
    assert query.contribution(rows((0,), m), 1).tolist() == [ROWS * short, ROWS * label]


def test_sums_of_the_largest_weights_are_exact() -> None:
    weight = 2**30 + 1
    query = ClassMarginals((Block(0, (0, 1), weight),), weight, 1)
    assert query.contribution(rows((1,)), 1).tolist() == [0, ROWS * weight, ROWS * weight]


@pytest.mark.parametrize("m", [1, 2, 3, 7])
def test_products_are_of_signs_and_shared_among_the_rows_of_a_patient(m: int) -> None:
    """Towards zero: rounded down, negative products would be longer than a patient. A missing sign makes it 0."""
    query = SignProducts(((-1, 0), (-1, 1), (1, -1)), ((0,), (0, 1), (0, 1, 2)))
    share = UNIT // m
    assert query.contribution(rows((0, 1, 0), m), 2).tolist() == [-ROWS * share] * 3 + [0] * 3
    assert query.contribution(rows((0, 0, 1), m), 1).tolist() == [-ROWS * share, ROWS * share, -ROWS * share]
    assert query.contribution(rows((0, -1, 0), m), 1).tolist() == [-ROWS * share, 0, 0]
    assert not query.contribution(rows((1, 0, 0), m), 1).any()


@pytest.mark.parametrize("m", [1, 2, 3, 7])
def test_a_value_is_counted_in_its_slot_or_nowhere(m: int) -> None:
    """The last cell of all is that of missing values, and an UNKNOWN one is -1: neither is counted."""
    query = ValueCounts((Values(0, (0, 5), 1, (-1, 0, 1)), Values(1, (3,), 2, (0, -1))))
    share = VALUE // m
    assert query.contribution(rows((1, 0), m), 2).tolist() == [ROWS * share, 0, ROWS * share]
    assert query.contribution(rows((2, 1), m), 2).tolist() == [0, ROWS * share, 0]
    assert not query.contribution(rows((0, 1), m), 2).any()
    assert not query.contribution(rows((3, 2), m), 2).any()
    assert not query.contribution(rows((-1, -1), m), 2).any()


CELLS = st.lists(
    st.tuples(st.lists(st.integers(-1, 4), min_size=3, max_size=3), st.integers(0, 1), st.integers(1, 9)),
    max_size=9,
)
GROUPS = st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5).map(tuple), min_size=3, max_size=3).map(
    tuple
)


@given(CELLS, GROUPS, st.integers(1, 9))
def test_counted_pairs_are_products_of_one_hot_blocks(
    records: list[tuple[list[int], int, int]], groups: tuple[tuple[int, ...], ...], size: int
) -> None:
    """The same as the product of which the guarantee speaks, in Python's integers, in batches of any size."""
    query, width = PairTables(groups), sum(map(max, groups)) + 3
    expected = np.zeros((2, width, width), object)
    for cells, label, m in records:
        psi = np.zeros(width, object)
        firsts = np.cumsum([0, *query.sizes]).tolist()
        for at, slots, cell in zip(firsts, groups, cells, strict=False):
            psi[at + slots[cell]] += isqrt(MOMENT_UNIT**2 // m) if cell >= 0 else 0
        expected[label] += np.outer(psi, psi)
    codes = np.array([record[0] for record in records], np.int32).reshape(-1, 3)
    labels, parts = (np.array([record[at] for record in records], np.int64) for at in (1, 2))
    batches = [
        (codes[at : at + size], labels[at : at + size].astype(np.int32), parts[at : at + size])
        for at in range(0, len(records), size)
    ]
    assert query.contribution(batches, 2).tolist() == expected[:, query.pairs].ravel().tolist()


ALONE = ((1, 0), (0, 1))  # directions of which z = x


def added(query: Any, parts: int = 1) -> list[int]:
    """What one row of the first cells adds, in class 0."""
    total = query.contribution(rows((0, 0), parts, 1), 2)
    of_class: list[int] = total[: len(total) // (1 if isinstance(query, LevelMoment) else 2)].tolist()
    return of_class


def squares(*psi: int) -> list[int]:
    """The weighted upper triangle of psi psi^T."""
    pairs = [(i, j) for i in range(len(psi)) for j in range(i, len(psi))]
    return [(DIAGONAL if i == j else OFF_DIAGONAL) * psi[i] * psi[j] for i, j in pairs]


@pytest.mark.parametrize(("second", "kept"), [(0, [5, 0]), (1, [4, 0]), (-1, [4, 0])])
def test_a_row_one_step_beyond_the_radius_is_clipped(second: int, kept: list[int]) -> None:
    """(5, 0) lies on the radius of 5; (5, 1) is longer, and becomes 5 / 6 of itself, truncated."""
    x = (axis(0, 5), axis(1, second))
    assert added(LevelSum(x, 5, 3, 1)) == [*kept, 3]
    assert added(LevelMoment(x, 5, 1)) == squares(*kept)
    assert added(ClassMoment(x, ALONE, 1, 5, 3, 1)) == squares(*kept, 3)


def test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows() -> None:
    """The other way round, m rows of a patient would be m times as long together, or sqrt(m) times."""
    x = (axis(0, -40), axis(1, 0))
    assert added(LevelSum(x, 8, 4, 1), parts=4) == [-2, 0, 1]
    assert added(LevelMoment(x, 8, 1), parts=4) == squares(-4, 0)
    assert added(ClassMoment(x, ALONE, 1, 8, 4, 1), parts=4) == squares(-4, 0, 2)


def test_a_projection_is_clipped_to_its_radius_and_not_to_the_bound_with_its_label() -> None:
    assert added(ClassMoment((axis(0, 40), axis(1, 0)), ALONE, 1, 5, 12, 1)) == squares(5, 0, 12)


Q: list[Any] = [
    LevelMoment((axis(0, 5), axis(1, -7)), 9, 1),
    LevelSum((axis(0, 5), axis(1, -7)), 9, 2, 1),
    ClassMoment((axis(0, 5), axis(1, -7)), ((1, 2), (3, 4)), 2, 9, 2, 1),
    PairTables(((0,), (0,))),
    SignProducts(((1,), (-1,)), ((0, 1),)),
    ValueCounts((Values(0, (5,), 1, (0, 1)),)),
    ClassMarginals((Block(0, (0,), 3), Block(1, (0,), 2)), 4, 1),
]


@pytest.mark.parametrize("query", Q, ids=lambda query: type(query).__name__)
def test_nobody_adds_nothing(query: Any) -> None:
    assert not query.contribution([], 2).any()
    assert not query.contribution(rows((0, 0), count=0), 2).any()
    assert query.contribution(rows((0, 0)), 2).any()
