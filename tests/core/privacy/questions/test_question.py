"""Questions: what they state of their answers, which pairs one speaks of, and what its hash follows from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from vaults import (
    CLASS_MOMENTS,
    ENCODING,
    LEVEL_MOMENTS,
    LEVEL_SUMS,
    LEVELS,
    MOMENTS,
    QUERIES,
    SCHEMA,
    SCORE_MOMENTS,
    SIGN_PRODUCTS,
    SIGNS,
    SUMS,
    VALUE_COUNTS,
    Rows,
    ask,
    open_vault,
    table,
)

from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.question import QUESTIONS, question_hash
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts


def test_pairs_are_the_upper_off_diagonal_blocks() -> None:
    np.testing.assert_array_equal(
        PairTables(((0, 1), (0, 0), (0,))).pairs.astype(int),
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    )


CLASS_PARTS: dict[str, Any] = {
    "level_unit": 8,  # as it is
    "coordinates": LEVELS[::-1],
    "directions": CLASS_MOMENTS.directions[::-1],
    "divisor": 5,
    "radius": 22,
    "label_weight": 14,
}
VALUE_PARTS: dict[str, Any] = {
    "column": 0,
    "edges": (0, 1, 9, 12),
    "denominator": 5,
    "slots": (0, 1, -1, -1, 2),
}
SCORE_PARTS = ("coordinates", "radius", "label_weight")


def test_the_order_in_which_fields_were_set_changes_nothing() -> None:
    """Made by hand in another order, a query is still the one that it says it is."""
    query = ClassMoment(LEVELS, ((1,) * 4,), 3, 50, 1, 1)
    shuffled = object.__new__(ClassMoment)
    for name in ("coordinates", "directions", "radius", "divisor", "label_weight", "level_unit"):
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
        question_hash(ClassMarginals(SUMS.blocks[1:], SUMS.label_weight, SUMS.unit), SCHEMA),
        question_hash(
            ClassMarginals((Block(0, slots, 1), *SUMS.blocks[1:]), SUMS.label_weight, SUMS.unit), SCHEMA
        ),
        question_hash(ClassMarginals(SUMS.blocks, SUMS.label_weight + 1, SUMS.unit), SCHEMA),
        question_hash(ClassMarginals(SUMS.blocks, SUMS.label_weight, SUMS.unit + 1), SCHEMA),
        question_hash(MOMENTS, SCHEMA),
        question_hash(PairTables(MOMENTS.groups[1:]), SCHEMA),
        question_hash(LEVEL_SUMS, SCHEMA),
        question_hash(LEVEL_MOMENTS, SCHEMA),
        question_hash(LevelSum(LEVELS[::-1], 15, 11, 8), SCHEMA),
        question_hash(LevelSum(LEVELS, 16, 11, 8), SCHEMA),
        question_hash(LevelSum(LEVELS, 15, 12, 8), SCHEMA),
        question_hash(LevelSum(LEVELS, 15, 11, 9), SCHEMA),
        question_hash(LevelMoment(LEVELS[:-1], 15, 8), SCHEMA),
        question_hash(LevelMoment(LEVELS, 16, 8), SCHEMA),
        question_hash(LevelMoment(LEVELS, 15, 9), SCHEMA),
        question_hash(SCORE_MOMENTS, SCHEMA),
        *(question_hash(replace(SCORE_MOMENTS, **{part: CLASS_PARTS[part]}), SCHEMA) for part in SCORE_PARTS),
        question_hash(SIGN_PRODUCTS, SCHEMA),
        question_hash(SignProducts(SIGNS, SIGN_PRODUCTS.subsets[1:]), SCHEMA),
        question_hash(SignProducts((*SIGNS[:-1], SIGNS[-1][::-1]), SIGN_PRODUCTS.subsets), SCHEMA),
        question_hash(VALUE_COUNTS, SCHEMA),
        question_hash(ValueCounts(VALUE_COUNTS.values[1:]), SCHEMA),
        *(
            question_hash(ValueCounts((replace(VALUE_COUNTS.values[1], **{part: value}),)), SCHEMA)
            for part, value in VALUE_PARTS.items()
        ),
        *(question_hash(replace(CLASS_MOMENTS, **{part: value}), SCHEMA) for part, value in CLASS_PARTS.items()),
    ]
    assert len(set(questions)) == len(questions)
    assert question_hash(SUMS, SCHEMA) == questions[0]


GOLDEN = (
    "c3c0c2bd760677133f40af6f98eeb558837542fd628b3ea0a848b18b9768e02c",
    "c29ae391b10a0a253686d7744a5423e70ac45afd8e1d20ed20b64a7d9a7257d1",
    "7732307c29f69ccdd3de23ada967aa76da40b23805e28a30e1fb5f97462df485",
    "35e5d94995b5e328437cb8ec2c5ac0b69db923638833e43cbdb2cfd2a01c8370",
    "89a6870e7a31b8345110516e424a269ab1f1a8a5c2ea1a29277d904fb034b14f",
    "7d0074c7b6a41be4a933f6cadf63d25e57895f842ebbcccbc2f002c5d8f327c0",
    "127649f29e60b6515ddf8e4098461c5160ea72ff945f23d5852c8c4832ccce78",
    "51c329ca0dba61a834b2dbb8b915c8d77acc77bfdb81fd76acda19f23c28f11f",
    "5dbe84c6d91e05c6dd6de14e7bff6176f9328f666ef26b3f3318c1247ceea96f",
)
"""Ledgers and receipts hold such hashes: no renamed class or field may change them."""


@pytest.mark.parametrize(("question", "golden"), [*zip(QUERIES, GOLDEN, strict=True)], ids=range(9))
def test_the_hash_of_a_question_stays(question: Any, golden: str) -> None:
    assert question_hash(question, SCHEMA) == golden


def test_every_type_of_the_set_is_tested_here() -> None:
    assert {type(question) for question in QUERIES} == set(QUESTIONS)
    assert len({kind.NAME for kind in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", QUERIES, ids=lambda question: type(question).__name__)
def test_an_answer_has_the_numbers_and_the_size_that_its_question_states(question: Any) -> None:
    """One patient with one record: no entry is larger than `largest`, and there are `dimension` of them."""
    everybody = open_vault(Rows(table()))
    values = ask(everybody, question).values
    assert len(values) == question.dimension(ENCODING.label.size)
    for row in range(60):
        alone = ask(open_vault(Rows(table().slice(row, 1))), question)
        shift = alone.unit // question.unit
        assert abs(alone.values).max() <= question.largest * shift


def test_the_entries_of_class_marginals_bound_them_one_by_one() -> None:
    """The coordinator holds estimates against them."""
    most = np.zeros(SUMS.width, dtype=np.int64)
    for row in range(60):
        alone = ask(open_vault(Rows(table().slice(row, 1))), SUMS)
        most = np.maximum(most, alone.values.reshape(2, -1).max(axis=0) // (alone.unit // SUMS.unit))
    assert (most <= SUMS.entries).all()
    assert most[-1] == SUMS.label_weight
    assert max(SUMS.entries) == SUMS.largest
