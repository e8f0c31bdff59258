"""Tables in pieces: the exact sums of the pieces add up to that of the table, bit for bit, in any pieces."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vaults import BY_ROW, ENCODING, QUERIES, SCHEMA, SIGN_PRODUCTS, Rows, ask, open_vault, table

from cohortmix.core import Schema
from cohortmix.core.data.patients import count_by_piece, count_patients, shares
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals


@dataclass
class Pieces:
    """A table in pieces. All that is computed of one is sent, as it is to another process, and so is the result.

    `forgetful` pieces are given what is known of them alone.
    """

    pieces: list[Rows]
    forgetful: bool = False
    asked: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return self.pieces[0].names

    def batches(self) -> Iterator[pa.RecordBatch]:
        for piece in self.pieces:
            yield from piece.batches()

    def each(self, function: Callable[..., Any], own: Iterable[Any], *common: Any) -> Iterator[Any]:
        self.asked.append(f"{function.__module__}.{function.__qualname__}")
        for piece, its_own in zip(self.pieces, own, strict=False):
            if self.forgetful and its_own:
                (its_own,) = shares(count_by_piece(piece, SCHEMA), SCHEMA.cap)
            sent = pickle.loads(pickle.dumps((function, its_own, common)))
            yield pickle.loads(pickle.dumps(sent[0](piece, *sent[1], *sent[2])))


def cut(whole: pa.Table, *ends: int, size: int = 7, forgetful: bool = False) -> Pieces:
    """The table in pieces that end at these rows."""
    at = sorted({0, len(whole), *ends})
    return Pieces([Rows(whole.slice(first, last - first), size) for first, last in pairwise(at)], forgetful)


def answers(source: Any, schema: Schema) -> list[NDArray[np.int64]]:
    opened = open_vault(source, schema)
    return [ask(opened, query).values for query in QUERIES]


@pytest.mark.parametrize("cap", [1, 2, 6])
@pytest.mark.parametrize("ends", [(), (30,), (1, 2, 59), tuple(range(0, 60, 4))])
def test_the_sums_of_pieces_are_the_sums_of_the_table(ends: tuple[int, ...], cap: int) -> None:
    for schema in (SCHEMA.model_copy(update={"max_rows_per_patient": cap}), BY_ROW):
        for answer, whole in zip(
            answers(cut(table(), *ends), schema), answers(Rows(table()), schema), strict=True
        ):
            assert answer.dtype == whole.dtype == np.int64
            np.testing.assert_array_equal(answer, whole)


def test_pieces_that_know_nothing_of_each_other_add_up_to_something_else() -> None:
    """The negation: a patient who is in two pieces would weigh what two patients weigh."""
    for answer, whole in zip(
        answers(cut(table(), 30, forgetful=True), SCHEMA), answers(Rows(table()), SCHEMA), strict=True
    ):
        assert (answer != whole).any()


def test_a_piece_without_a_row_changes_nothing() -> None:
    source = cut(table(), 30)
    source.pieces[1:1] = [Rows(table().slice(0, 0))] * 2
    for answer, whole in zip(answers(source, SCHEMA), answers(Rows(table()), SCHEMA), strict=True):
        np.testing.assert_array_equal(answer, whole)


def test_what_is_computed_of_a_piece_has_a_name() -> None:
    """Two functions, and what is sent to them is no vault, which cannot be sent."""
    source = cut(table(), 30)
    answers(source, SCHEMA)
    names = ["cohortmix.core.data.patients.count"] + ["cohortmix.core.privacy.vault.contributions"] * len(QUERIES)
    assert source.asked == names


@pytest.mark.parametrize("schema", [SCHEMA, BY_ROW])
def test_patients_of_pieces_are_those_of_the_table(schema: Schema) -> None:
    one, other = (count_patients(source, schema) for source in (Rows(table()), cut(table(), 5, 40)))
    assert one.number == other.number
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.rows, other.rows)


KEYS = st.lists(st.sampled_from([None, "p", "q", "7", "new"]), max_size=9)


def of_keys(keys: list[str | None]) -> pa.Table:
    one = {"age": 50, "dose": 4.0, "sex": "F", "outcome": "ill"}
    cells = {name: [cell] * len(keys) for name, cell in one.items()}
    return pa.table({"pid": pa.array(keys, pa.string())} | cells)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 9))
def test_which_rows_of_a_piece_count_is_as_counted_one_by_one(
    contents: list[tuple[list[str | None], list[str | None]]], cap: int, size: int
) -> None:
    """Whatever a piece holds by then, a patient weighs no more than as first counted, over all pieces together."""
    m = {key: min(number, cap) for key, number in Counter(key for keys, _ in contents for key in keys).items()}
    left, expected = dict(m), 0
    for before, after in contents:
        for key in set(before) - {None}:
            count = min(before.count(key), left[key])
            left[key] -= count
            expected += SIGN_PRODUCTS.unit // m[key] * min(count, after.count(key))
    source = Pieces([Rows(of_keys(before), size, grown=of_keys(after)) for before, after in contents])
    schema = SCHEMA.model_copy(update={"max_rows_per_patient": cap})
    opened = open_vault(source, schema)
    answer = ask(opened, ClassMarginals((Block(0, (0,) * ENCODING.sizes[0], 1),), SIGN_PRODUCTS.unit, 1))
    assert answer.estimate[-1] == expected
    assert expected <= SIGN_PRODUCTS.unit * opened.patients
