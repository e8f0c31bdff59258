"""What a query may hold: plain data that fits the schema, refused before it is paid."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from vaults import ENCODING, LEVELS, MOMENTS, MU2, QUERIES, SCHEMA, SUMS, NoNoise, Rows, ask, open_vault, table

from cohortmix.core.privacy.meter import MemoryMeter
from cohortmix.core.privacy.query import (
    Block,
    ClassMoment,
    Coordinate,
    LevelMoment,
    LevelSum,
    MomentQuery,
    SumQuery,
)
from cohortmix.core.privacy.vault import Vault


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
        Vault(Rows(table()), SCHEMA, NoNoise().add, meter).noisy_sum(query, MU2)
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
        Vault(Rows(table()), SCHEMA, NoNoise().add, meter).noisy_second_moment(query, MU2)
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
        ask(Vault(Rows(table()), SCHEMA, NoNoise().add, meter), query)
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
