"""Many columns: their groups stay within the limit that sites check, or are refused before anything is paid."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.client.ledger.policy import Refused
from cohortmix.client.site.request import require_common
from cohortmix.client.site.room import require_room
from cohortmix.core.data.dictionary.columns import Category, Date, Number
from cohortmix.core.data.encoding import Encoding, blocks_of
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.joint import Terms
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.reduced import require_groups
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.anonymize import noise_a, sum_query
from cohortmix.core.steps.bins import (
    LARGEST_GROUP,
    MAX_GROUPS,
    MAX_PAIRS,
    choose_groups,
    fits_pairs,
    most_groups_together,
)
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import CommonMessage, SiteEntry, StudySpec

PATIENTS = 20_000


def schema(numbers: int, categories: int = 0, *, missing: bool = False, classes: int = 2) -> Schema:
    columns: dict[str, Number | Date | Category] = {
        "y": Category(type="category", values=tuple(f"c{k}" for k in range(classes)))
    }
    columns |= {f"x{k}": Number(type="number", min=0, max=100, missing=missing) for k in range(numbers)}
    columns |= {
        f"z{k}": Category(type="category", values=tuple(f"v{v}" for v in range(100))) for k in range(categories)
    }
    return Schema(name="wide", target="y", columns=columns)


def uniform(encoding: Encoding) -> Margins:
    """Every value alike: as many groups as there can be for a share."""
    parts = [
        np.full(cells.size, 1 / cells.size) if cells.edges is None else np.diff([0, *cells.edges, 100]) / 100
        for cells in encoding.features
    ]
    return Margins(cells=np.tile(np.concatenate(parts), (2, 1)), masses=np.full(2, PATIENTS / 2), s_a=1.0)


def number_of(groups: Groups) -> int:
    return sum(groups.sizes)


WIDE = schema(90)
ENCODING = Encoding.of(WIDE)
MARGINS = uniform(ENCODING)
MIXED = Encoding.of(schema(40, 30, missing=True))


def test_the_groups_of_many_columns_are_as_many_as_sites_accept_and_hardly_fewer() -> None:
    assert number_of(choose_groups(ENCODING, MARGINS, 0.0, most=10**6)) > MAX_GROUPS
    assert 0.85 * MAX_GROUPS < number_of(choose_groups(ENCODING, MARGINS, 0.0)) <= MAX_GROUPS


def test_within_the_limit_nothing_changes() -> None:
    narrow = Encoding.of(schema(20))
    for smallest in (0.0, LARGEST_GROUP, 0.2):
        limited = choose_groups(narrow, uniform(narrow), smallest)
        assert limited == choose_groups(narrow, uniform(narrow), smallest, most=10**6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.1, 1.0, 100.0]), st.sampled_from([140, 700, 10**6]))
def test_no_margins_give_more_groups_than_the_limit(seed: int, spread: float, most: int) -> None:
    rng = np.random.default_rng(seed)
    cells = np.concatenate([rng.dirichlet(np.full(size, spread), 2) for size in MIXED.sizes], axis=1)
    assert number_of(choose_groups(MIXED, Margins(cells=cells, masses=np.ones(2), s_a=1.0), 0.0, most)) <= most


def test_more_classes_leave_room_for_fewer_groups() -> None:
    """Whatever the classes, a step of the ledger can hold answer B: what is checked beside the limit passes."""
    for classes in (2, 24, 25, 200):
        wide = schema(150, classes=classes)
        most = most_groups_together(Encoding.of(wide))
        assert classes * most**2 / 2 <= MAX_PAIRS
        assert (most == MAX_GROUPS) == (classes <= 24)
        plan = Plan(wide, Fraction(100), 10**7)
        groups = tuple(tuple(range(most // 150)) for _ in range(150))
        cells, masses = Array.of(np.ones((classes, most // 150 * 150))), Array.of(np.ones(classes))
        require_room(plan, CommonMessage(groups=groups, cells=cells, masses=masses, s_a=Decimal(1)))


def test_what_the_coordinator_chooses_every_site_accepts() -> None:
    """Ninety numbers and little noise: without the limit, round 1 was paid, and every site refused round 2."""
    plan = Plan(WIDE, Fraction(400), PATIENTS)
    common = pipeline.common([plan], [answer(plan)])
    assert number_of(common.groups) <= MAX_GROUPS
    entry = SiteEntry(name="UK", key="a" * 64, patients=PATIENTS)
    spec = StudySpec.model_construct(sites=(entry,))
    require_common(CommonMessage.of(common), spec, WIDE)


def test_where_nobody_measures_pairs_groups_are_as_fine_as_ever() -> None:
    plan = Plan(WIDE, Fraction(400), PATIENTS)
    assert number_of(pipeline.common([plan], [answer(plan)], pairs=False).groups) > MAX_GROUPS


def answer(plan: Plan) -> Answer:
    """Answer A of a uniform table, without noise to speak of."""
    query, features = sum_query(ENCODING), blocks_of(ENCODING.sizes)
    counts = [
        np.bincount(block.slots, MARGINS.pooled[features[block.column]]) * block.weight for block in query.blocks
    ]
    row = np.concatenate([*counts, [query.label_weight]]) * PATIENTS / 2
    values = np.tile(row, 2).astype(np.int64)
    sigma = int(noise_a(ENCODING, float(plan.mu2_sums)) * query.unit)
    return Answer(values, sigma, query.unit, query.bound2, plan.mu2_sums, "0" * 64)


# --- so many columns that no grouping fits


@pytest.mark.parametrize(("columns", "missing"), [(1000, False), (666, True)])
def test_columns_beyond_every_grouping_are_named_before_anything_is_paid(columns: int, missing: bool) -> None:
    require_groups(schema(columns, missing=missing))
    more = schema(columns + 1, missing=missing)
    assert not fits_pairs(Encoding.of(more))
    with pytest.raises(InputError, match=rf"leave out columns until {columns:,} are left"):
        require_groups(more)


def test_a_site_refuses_them_in_round_1_where_it_would_measure_pairs() -> None:
    wide = schema(1001)
    require_room(Plan(wide, Fraction(1, 100), 1000), None)
    with pytest.raises(Refused, match="too many columns for pairs"):
        require_room(Plan(wide, Fraction(10**4), 10**6), None)


def test_sums_beyond_62_bits_are_refused_before_anything_is_paid() -> None:
    """Spare noise of 2^32 steps, for one of a thousand sites, leaves fewer bits for the sums."""
    plan, one_out = Plan(schema(3), Fraction(1, 16), 9_000_000, surplus=Fraction(1000, 999)), (1000, 1, 1)
    assert plan.fits_mixture
    require_room(plan, None, Terms(1000, 1, 0, patients=plan.patients))
    require_room(replace(plan, patients=4_000_000), None, Terms(*one_out, patients=4_000_000))
    with pytest.raises(Refused, match="No exact answer is possible: 9000000 patients are too many"):
        require_room(plan, None, Terms(*one_out, patients=plan.patients))
