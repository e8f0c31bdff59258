"""What a question may hold: plain data that fits the schema, refused before it is paid."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import pytest
from vaults import ENCODING, LEVELS, MOMENTS, MU2, QUERIES, SCHEMA, SIGNS, SUMS, NoNoise, Rows, ask, table

from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts, Values
from cohortmix.core.privacy.vault import Vault


@dataclass(frozen=True)
class Spy(ClassMarginals):
    """A question with code in it."""

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
        (None, TypeError),
        (ClassMarginals([*SUMS.blocks], 1, 1), TypeError),  # type: ignore[arg-type]
        (ClassMarginals((SpyBlock(0, SLOTS, 1),), 1, 1), TypeError),
        (ClassMarginals((Block(0, list(SLOTS), 1),), 1, 1), TypeError),  # type: ignore[arg-type]
        (ClassMarginals((Block(0, SLOTS[:-1], 1),), 1, 1), ValueError),
        (ClassMarginals((Block(1, SLOTS, 1),), 1, 1), ValueError),
        (ClassMarginals((Block(9, SLOTS, 1),), 1, 1), ValueError),
        (ClassMarginals((Block(-1, SLOTS, 1),), 1, 1), ValueError),
        (ClassMarginals((Block(0, (-1, *SLOTS[1:]), 1),), 1, 1), ValueError),
        (ClassMarginals((Block(0, SLOTS, -1),), 1, 1), ValueError),
        (ClassMarginals((Block(0, SLOTS, 0.7),), 1, 1), TypeError),  # type: ignore[arg-type]
        (ClassMarginals((Block(0, SLOTS, True),), 1, 1), TypeError),
        (ClassMarginals((Coordinate(0, SLOTS),), 1, 1), TypeError),  # type: ignore[arg-type]
        (ClassMarginals(SUMS.blocks, 1, (1,)), TypeError),  # type: ignore[arg-type]
        (ClassMarginals((), 0, 1), ValueError),
        (ClassMarginals((), 1, 0), ValueError),
    ],
)
def test_a_sum_is_asked_for_by_plain_data_that_fits_the_schema(query: Any, error: type[Exception]) -> None:
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        Vault(Rows(table()), SCHEMA, NoNoise().add, meter).answer(query, MU2)
    assert meter.spent == 0


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (PairTables(list(MOMENTS.groups)), TypeError),  # type: ignore[arg-type]
        (PairTables((*MOMENTS.groups, (0,))), ValueError),
        (PairTables((MOMENTS.groups[0][:-1], *MOMENTS.groups[1:])), ValueError),
        (PairTables(MOMENTS.groups[:1]), ValueError),
    ],
)
def test_a_second_moment_is_asked_for_by_plain_data_that_fits_the_schema(
    query: Any, error: type[Exception]
) -> None:
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        Vault(Rows(table()), SCHEMA, NoNoise().add, meter).answer(query, MU2)
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
        *((ScoreMoment(LEVELS, *(int(at != k) for k in range(3))), ValueError) for at in range(3)),
        (ScoreMoment((), 1, 1, 1), ValueError),
        (ScoreMoment((Coordinate(1, SLOTS),), 1, 1, 1), ValueError),
        (ScoreMoment((Coordinate(0, tuple(map(float, SLOTS))),), 1, 1, 1), TypeError),  # type: ignore[arg-type]
        (ScoreMoment(LEVELS, 1, True, 1), TypeError),
        (ScoreMoment(LEVELS, 1 << 27, 1, 1), OverflowError),
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


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (ValueCounts([Values(0, (1,), 1, (0, 1))]), TypeError),  # type: ignore[arg-type]
        (ValueCounts((Values(0, [1], 1, (0, 1)),)), TypeError),  # type: ignore[arg-type]
        (ValueCounts((Values(0, (1.0,), 1, (0, 1)),)), TypeError),  # type: ignore[arg-type]
        (ValueCounts((Values(0, (1,), True, (0, 1)),)), TypeError),
        (ValueCounts((Values(False, (1,), 1, (0, 1)),)), TypeError),
        (ValueCounts(()), ValueError),
        (ValueCounts((Values(3, (1,), 1, (0, 1)),)), ValueError),
        (ValueCounts((Values(-1, (1,), 1, (0, 1)),)), ValueError),
        (ValueCounts((Values(0, (1,), 1, (0, 1)),) * 2), ValueError),
        (ValueCounts((Values(0, (1,), 0, (0, 1)),)), ValueError),
        (ValueCounts((Values(0, (1,), 1, (0, -2)),)), ValueError),
        (ValueCounts((Values(0, (1,), 1, (-1, -1)),)), ValueError),
        (ValueCounts((Values(0, (1,), 1, (0, 2)),)), ValueError),  # more slots than intervals
        (ValueCounts((Values(0, (1,), 1, (0, 2**40)),)), ValueError),
        (ValueCounts((Values(0, (1,), 1, (0,)),)), ValueError),
        (ValueCounts((Values(0, (1,), 1, (0, 1, 2)),)), ValueError),
        (ValueCounts((Values(0, (), 1, (0,)),)), ValueError),
        (ValueCounts((Values(0, (2, 1), 1, (0, 1, 2)),)), ValueError),
        (ValueCounts((Values(0, (1, 1), 1, (0, 1, 2)),)), ValueError),
        (ValueCounts((Values(0, (1 << 60, (1 << 60) + 1), 1, (0, 1, 2)),)), ValueError),  # one number, as floats
        (ValueCounts((Values(0, (10**400,), 1, (0, 1)),)), OverflowError),
        (ValueCounts((Values(2, (1,), 1, (0, 1)),)), ValueError),  # a category has no edges
    ],
)
def test_values_are_asked_for_by_plain_data_on_edges_that_ascend(query: Any, error: type[Exception]) -> None:
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        ask(Vault(Rows(table()), SCHEMA, NoNoise().add, meter), query)
    assert meter.spent == 0


ALL = (0, 1, 2)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (SignProducts([*SIGNS], (ALL,)), TypeError),  # type: ignore[arg-type]
        (SignProducts(SIGNS, [ALL]), TypeError),  # type: ignore[arg-type]
        (SignProducts(SIGNS, ([0, 1, 2],)), TypeError),  # type: ignore[arg-type]
        (SignProducts((tuple(map(float, SIGNS[0])), *SIGNS[1:]), (ALL,)), TypeError),  # type: ignore[arg-type]
        (SignProducts((tuple(sign == 1 for sign in SIGNS[0]), *SIGNS[1:]), (ALL,)), TypeError),
        (SignProducts((*SIGNS, (1,)), (ALL,)), ValueError),
        (SignProducts((SIGNS[0][:-1], *SIGNS[1:]), (ALL,)), ValueError),
        *((SignProducts(((sign, *SIGNS[0][1:]), *SIGNS[1:]), (ALL,)), ValueError) for sign in (2, -2)),
        (SignProducts(SIGNS, ()), ValueError),
        (SignProducts(SIGNS, ((),)), ValueError),
        (SignProducts(SIGNS, ((0, 1, 3),)), ValueError),
        (SignProducts(SIGNS, ((-1, 0, 1),)), ValueError),
        (SignProducts(SIGNS, ((0, 2, 1),)), ValueError),
        (SignProducts(SIGNS, ((0, 1, 1),)), ValueError),
        (SignProducts(SIGNS, (ALL, ALL)), ValueError),
        (SignProducts(SIGNS, (ALL, (0, 1))), ValueError),
    ],
)
def test_products_are_asked_for_by_plain_data_that_fits_the_schema(query: Any, error: type[Exception]) -> None:
    """A sign of 2 would make products longer than the bound says."""
    meter = MemoryMeter(Fraction(100))
    with pytest.raises(error):
        ask(Vault(Rows(table()), SCHEMA, NoNoise().add, meter), query)
    assert meter.spent == 0


@pytest.mark.parametrize("question", QUERIES, ids=lambda question: type(question).__name__)
def test_a_subclass_of_a_question_is_none(question: Any) -> None:
    """It could state a smaller sensitivity than its answer has."""
    kind = type(question)
    code = type(kind.__name__, (kind,), {"sensitivity2": lambda self, cap: 1})
    fake: Any = object.__new__(code)
    meter = MemoryMeter(Fraction(100))
    for field in fields(kind):
        object.__setattr__(fake, field.name, getattr(question, field.name))
    assert fake.sensitivity2(1) < question.sensitivity2(1)
    with pytest.raises(TypeError, match="expected a question"):
        ask(Vault(Rows(table()), SCHEMA, NoNoise().add, meter), fake)
    assert meter.spent == 0


@pytest.mark.parametrize("question", [*QUERIES, SUMS.blocks[0], LEVELS[0]], ids=lambda each: type(each).__name__)
def test_a_question_has_no_method_of_its_own(question: Any) -> None:
    """Set on an instance, a function would hide its type's; there is no room for one."""
    assert not hasattr(question, "__dict__")
    for name in ("sensitivity2", "check", "contribution", "extra"):
        with pytest.raises(AttributeError):
            object.__setattr__(question, name, lambda *arguments: 1)
