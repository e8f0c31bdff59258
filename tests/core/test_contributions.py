"""Sums at the edge of what floating point holds: exact there, in whatever batches the rows come.

A product of two matrices of integers is exact in float64 as long as every partial sum is at most 2^53; the batches
are small enough for that. Here entries are so long that three rows in one product would be rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cohortmix.core import contributions
from cohortmix.core.contributions import Rows, exact
from cohortmix.core.lattice import EXACT
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
)

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
    assert exact(query, rows((0,)), 1).tolist() == [DIAGONAL * ROWS * LONG**2]
    two = LevelMoment((axis(0, LONG - 3), axis(1, -5)), LONG, 1)
    assert exact(two, rows((0, 0)), 1).tolist() == [
        DIAGONAL * ROWS * (LONG - 3) ** 2,
        -OFF_DIAGONAL * ROWS * 5 * (LONG - 3),
        DIAGONAL * ROWS * 25,
    ]


def test_a_class_moment_is_exact_at_the_largest_radius() -> None:
    query = ClassMoment((axis(0, LONG - 2),), ((1,),), 1, LONG, 3, 1)
    assert query.bound2 <= EXACT
    assert exact(query, rows((0,)), 2).tolist() == [
        DIAGONAL * ROWS * (LONG - 2) ** 2,
        OFF_DIAGONAL * ROWS * 3 * (LONG - 2),
        DIAGONAL * ROWS * 9,
        *[0] * 3,  # nobody is in the other class
    ]


def test_a_pair_table_is_exact_on_a_finer_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the lattice of 2^14 steps a product would have to be of 2^25 rows before it is rounded."""
    monkeypatch.setattr(contributions, "MOMENT_UNIT", LONG)
    query = MomentQuery(((0,), (0,)))
    assert exact(query, rows((0, 0)), 1).tolist() == [ROWS * LONG**2]


@pytest.mark.parametrize("m", [2, 3, 7])
def test_shares_of_long_rows_are_exact(m: int) -> None:
    """Division comes after the clip, and before the sum."""
    query = LevelSum((axis(0, -(2**30) - 1),), 2**30 + 1, 2**29 + 1, 1)
    short, label = -((2**30 + 1) // m), (2**29 + 1) // m
    assert exact(query, rows((0,), m), 1).tolist() == [ROWS * short, ROWS * label]


def test_sums_of_the_largest_weights_are_exact() -> None:
    weight = 2**30 + 1
    query = SumQuery((Block(0, (0, 1), weight),), weight, 1)
    assert exact(query, rows((1,)), 1).tolist() == [0, ROWS * weight, ROWS * weight]


Q: list[Any] = [
    LevelMoment((axis(0, 5), axis(1, -7)), 9, 1),
    LevelSum((axis(0, 5), axis(1, -7)), 9, 2, 1),
    ClassMoment((axis(0, 5), axis(1, -7)), ((1, 2), (3, 4)), 2, 9, 2, 1),
    MomentQuery(((0,), (0,))),
    SumQuery((Block(0, (0,), 3), Block(1, (0,), 2)), 4, 1),
]


@pytest.mark.parametrize("query", Q, ids=lambda query: type(query).__name__)
def test_nobody_adds_nothing(query: Any) -> None:
    assert not exact(query, [], 2).any()
    assert not exact(query, rows((0, 0), count=0), 2).any()
    assert exact(query, rows((0, 0)), 2).any()
