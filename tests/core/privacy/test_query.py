"""Queries: which pairs one speaks of, and that its hash follows from all of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from vaults import CLASS_MOMENTS, LEVEL_MOMENTS, LEVEL_SUMS, LEVELS, MOMENTS, SCHEMA, SUMS

from cohortmix.core.privacy.query import (
    Block,
    ClassMoment,
    LevelMoment,
    LevelSum,
    MomentQuery,
    SumQuery,
    question_hash,
)


def test_pairs_are_the_upper_off_diagonal_blocks() -> None:
    np.testing.assert_array_equal(
        MomentQuery(((0, 1), (0, 0), (0,))).pairs.astype(int),
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    )


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
