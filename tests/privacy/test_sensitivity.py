"""What one patient can move: every vault answer on neighbouring tables, without noise, in exact integers.

Neighbours: all records of one patient are replaced, the number of patients stays. The bound is the one that the
answer itself states, `Answer.sensitivity2`; the names of these tests are those in the `Guarantee` sections.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import yaml
from extremes import CAP, ENCODING, HIGH, LOW, MU2, NUMBERS, SCHEMA, Row, Rows, arrow, both, distance2, vault
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts, Values
from cohortmix.core.steps.anonymize import sum_query

FAR = [float("nan"), float("inf"), float("-inf"), 1e308, -1e308, -0.0, 0.0, 5e-324, -5e-324, 2.0**53 + 2, None]
ODD = ["nan", "inf", "1e308", "-0.0", "5e-324", "9007199254740993", "seven", "<7", "", "NA", "true", None]


def cells(as_text: bool) -> st.SearchStrategy[Row]:
    """A record with whatever a file may hold; a column has one type in both tables."""
    number = (
        st.one_of(st.sampled_from(ODD), st.floats(-60, 60).map(repr))
        if as_text
        else st.one_of(st.sampled_from(FAR), st.floats(-60, 60))
    )
    day = (
        st.sampled_from(["1991-01-01", "1990-12-31", "0001-01-01", "1995-06-07 10:00", "7/6/1995", None])
        if as_text
        else st.sampled_from([-(10**6), 0, 7670, 9500, 10**8, None])  # days after 1970-01-01
    )
    return st.fixed_dictionaries(
        dict.fromkeys(NUMBERS, number)
        | {"code": st.sampled_from(["a", " b ", "7.0", "1e16", "unseen", "", None])}
        | {"flag": st.sampled_from([True, False, None]), "day": day}
        | {"outcome": st.sampled_from(["well", "ill", "dead", "unknown", None])}
    )


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Two tables that differ in the records of one patient, in their batches, and in rows without a patient."""
    as_text = draw(st.booleans())
    patient = st.lists(cells(as_text), min_size=1, max_size=CAP + 2)
    others = draw(st.lists(patient, min_size=1, max_size=3))
    nobody = st.lists(cells(as_text), max_size=1)
    return tuple(
        arrow([draw(patient), *others], draw(nobody), as_text, draw(st.integers(0, 9)), draw(st.integers(1, 20)))
        for _ in range(2)
    )  # type: ignore[return-value]


@st.composite
def sum_queries(draw: st.DrawFn) -> ClassMarginals:
    blocks = []
    for column in draw(st.lists(st.integers(0, len(ENCODING.sizes) - 1), min_size=1, max_size=5)):
        slots = draw(maps(ENCODING.sizes[column]))
        blocks.append(Block(column, slots, draw(st.integers(1, 1 << 20))))
    return ClassMarginals(tuple(blocks), draw(st.integers(1, 1 << 20)), 1 << 10)


def maps(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Fine cells to a few groups: not in order, and groups may stay empty."""
    return st.tuples(st.integers(1, 9), st.integers(1, 6)).map(
        lambda pair: tuple(cell * pair[0] // 3 % pair[1] for cell in range(size))
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), st.one_of(st.just(sum_query(ENCODING)), sum_queries()))
def test_sensitivity_of_class_marginals(tables: tuple[Rows, Rows], query: ClassMarginals) -> None:
    one, other = (vault(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 * query.unit**2 == 2 * query.bound2 * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


def of_target(target: str | dict[str, str] | None) -> Schema:
    """The schema with another outcome, for whose time one of its numbers begins above zero."""
    plain = yaml.safe_load(SCHEMA.to_yaml())
    plain["target"], plain["columns"]["halves"]["min"] = target, 0.1
    return Schema.from_yaml(yaml.safe_dump(plain, sort_keys=False))


OUTCOMES = [
    of_target(target) for target in ("whole", {"time": "halves", "event": "outcome", "happened": "dead"}, None)
]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), st.sampled_from(OUTCOMES))
def test_sensitivity_whatever_the_classes_are_read_from(tables: tuple[Rows, Rows], schema: Schema) -> None:
    """A row is in one class or none, be they slices of a number, a time and its event, or all of the table."""
    query = sum_query(Encoding.of(schema))
    one, other = (vault(source, schema).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 * query.unit**2 == 2 * query.bound2 * one.unit**2


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), st.tuples(*(maps(size) for size in ENCODING.sizes)))
def test_sensitivity_of_pair_tables(tables: tuple[Rows, Rows], groups: tuple[Any, ...]) -> None:
    one, other = (vault(source).answer(PairTables(groups), MU2) for source in tables)
    q = len(groups)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 == q * (q - 1) * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


ORDERED = {
    at: date(1993, 1, 1).toordinal() if cells.name == "day" else 0
    for at, cells in enumerate(ENCODING.features)
    if cells.edges is not None
}
"""Numbers and dates, which can be read on other edges, and a value between those of LOW and HIGH."""


@st.composite
def products(draw: st.DrawFn) -> SignProducts:
    """Any signs, of any subsets of one feature or more."""
    signs = tuple(
        tuple((cell * step // 2 + first) % 3 - 1 for cell in range(size))
        for size in ENCODING.sizes
        for step, first in [draw(st.tuples(st.integers(1, 9), st.integers(0, 2)))]
    )
    features = st.lists(st.integers(0, len(signs) - 1), min_size=1, max_size=5, unique=True)
    subsets = draw(st.lists(features.map(sorted).map(tuple), min_size=1, max_size=9, unique=True))
    return SignProducts(signs, tuple(sorted(subsets)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), products())
def test_sensitivity_of_sign_products(tables: tuple[Rows, Rows], query: SignProducts) -> None:
    one, other = (vault(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 == 4 * len(query.subsets) * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


@st.composite
def value_counts(draw: st.DrawFn) -> ValueCounts:
    """Any edges, of any columns that have some, and any slots."""
    found = []
    for column in draw(st.lists(st.sampled_from([*ORDERED]), min_size=1, max_size=5, unique=True)):
        edges = sorted(
            draw(st.sets(st.integers(-100, 100 * 10 ** draw(st.integers(0, 5))), min_size=1, max_size=9))
        )
        slots = draw(st.lists(st.integers(-1, len(edges)), min_size=len(edges) + 1, max_size=len(edges) + 1))
        slots[draw(st.integers(0, len(edges)))] = 0
        found.append(Values(column, tuple(edges), draw(st.integers(1, 1000)), tuple(slots)))
    return ValueCounts(tuple(found))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), value_counts())
def test_sensitivity_of_value_counts(tables: tuple[Rows, Rows], query: ValueCounts) -> None:
    one, other = (vault(source).answer(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 == 2 * len(query.values) * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


# The bound is reached, so that it could not be smaller, and the tests above cannot pass for want of movement.


def extremes(rows: int) -> tuple[Rows, Rows]:
    """One patient with `rows` records: all of one kind, or all of another."""
    return tuple(
        arrow([[row | {"outcome": outcome}] * rows], [], True, 0, 7)
        for row, outcome in ((LOW, "well"), (HIGH, "dead"))
    )  # type: ignore[return-value]


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_the_bound_is_reached_however_many_rows_a_patient_has(rows: int) -> None:
    schema = SCHEMA.model_copy(update={"max_rows_per_patient": 100})
    for one, other in both(extremes(rows), schema):
        assert 0.999 * one.sensitivity2 <= distance2(one, other) <= one.sensitivity2


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_values_at_opposite_ends_reach_the_bound(rows: int) -> None:
    schema = SCHEMA.model_copy(update={"max_rows_per_patient": 100})
    wide = ValueCounts(tuple(Values(column, (2 * days + 1,), 2, (0, 1)) for column, days in ORDERED.items()))
    one, other = (vault(source, schema).answer(wide, MU2) for source in opposite(rows))
    assert 0.999 * one.sensitivity2 <= distance2(one, other) <= one.sensitivity2


HALVES = tuple(tuple(1 if 2 * cell >= size else -1 for cell in range(size)) for size in ENCODING.sizes)
OF_THREE = SignProducts(HALVES, ((0, 1, 2), (0, 1, 3), (1, 2, 3)))


def opposite(rows: int) -> tuple[Rows, Rows]:
    """One patient of one class with `rows` records, with all signs or with their opposites."""
    return tuple(arrow([[row | {"outcome": "well"}] * rows], [], True, 0, 7) for row in (LOW, HIGH))  # type: ignore[return-value]


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_products_of_opposite_signs_reach_the_bound(rows: int) -> None:
    schema = SCHEMA.model_copy(update={"max_rows_per_patient": 100})
    one, other = (vault(source, schema).answer(OF_THREE, MU2) for source in opposite(rows))
    assert 0.999 * one.sensitivity2 <= distance2(one, other) <= one.sensitivity2


def test_products_of_rows_that_are_taken_for_patients_exceed_it() -> None:
    schema = SCHEMA.model_copy(update={"patient_key": None})
    one, other = (vault(source, schema).answer(OF_THREE, MU2) for source in opposite(50))
    assert distance2(one, other) > 2000 * one.sensitivity2


def test_fifty_rows_that_are_taken_for_fifty_patients_exceed_it() -> None:
    """What the weights 1/m are for: without a patient key each row counts whole."""
    schema = SCHEMA.model_copy(update={"patient_key": None})
    for one, other in both(extremes(50), schema):
        assert distance2(one, other) > 2000 * one.sensitivity2


def test_rows_over_the_cap_are_not_read() -> None:
    """The first CAP rows count, with 1/CAP each; what comes later changes nothing."""
    low, high = LOW | {"outcome": "well"}, HIGH | {"outcome": "dead"}
    for index in range(2):
        capped, longer = (
            both((arrow([patient], [], True, 0, 3),) * 2, SCHEMA)[index][0]
            for patient in ([low] * CAP, [low] * CAP + [high] * 46)
        )
        np.testing.assert_array_equal(capped.values, longer.values)
