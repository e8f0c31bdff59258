"""Scores are functions of one column with mean 0 and variance 1 under its released distribution."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from wide_tables import SCHEMA, patients

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import source_of
from cohortmix.core.steps.scores.functions import (
    LONGEST,
    UNIT,
    choose,
    most_of_column,
    noise_of_correlations,
    question,
    usual_number,
)

ENCODING = Encoding.of(SCHEMA)


def shares() -> NDArray[np.float64]:
    """(F,) of 20,000 patients, without noise."""
    counts = [np.zeros(size) for size in ENCODING.sizes]
    for batch in source_of(patients(20_000), tuple(SCHEMA.columns)).batches():
        codes = ENCODING.feature_codes(batch)
        for column, count in enumerate(counts):
            count += np.bincount(codes[:, column], minlength=len(count))
    return np.concatenate([count / count.sum() for count in counts])


SHARES = shares()
SCORES = choose(ENCODING, SHARES, curved=False)


def of_column(name: str, curved: bool = False) -> list[NDArray[np.float64]]:
    column = SCHEMA.features.index(name)
    scores = choose(ENCODING, SHARES, curved)
    return [np.array(score.levels) / UNIT for score in scores if score.column == column]


@pytest.mark.parametrize("curved", [False, True])
def test_each_has_mean_0_and_variance_1(curved: bool) -> None:
    for score in choose(ENCODING, SHARES, curved):
        share, values = SHARES[ENCODING.blocks[score.column]], np.array(score.levels) / UNIT
        assert abs(share @ values) < 2e-3
        assert share @ values**2 == pytest.approx(1, abs=0.02)
        assert np.abs(values).max() <= LONGEST


def test_a_number_has_its_normal_score_and_an_indicator_of_missing_values() -> None:
    """In order of its values; at its mean where it is missing."""
    (plain,) = of_column("a3")
    assert (np.diff(plain) >= 0).all()
    normal, missing = of_column("b0")
    slot = ENCODING.features[SCHEMA.features.index("b0")].missing
    assert normal[slot] == 0
    assert (np.diff(np.delete(normal, slot)) >= 0).all()
    assert missing[slot] > 0 > np.delete(missing, slot).max()
    assert len(of_column("a3", curved=True)) == 2


def test_a_category_has_an_indicator_of_each_value_but_the_commonest_and_the_rare_ones() -> None:
    ward = SCHEMA.columns["ward"]
    assert isinstance(ward, Category)
    north, east, south = (ward.values.index(value) for value in ("north", "east", "south"))
    of_ward = of_column("ward")
    assert [int(values.argmax()) for values in of_ward] == sorted((south, east))
    assert all(values.argmax() != north for values in of_ward), "the commonest one has none"
    assert of_column("rare") == []


def test_they_are_as_many_as_was_known_beforehand_but_for_what_is_rare() -> None:
    assert len(SCORES) == usual_number(SCHEMA) - 1 == 20


def test_they_are_as_few_as_is_asked_for_and_never_none() -> None:
    """The rarest go first; of a table that says nothing there is one that says nothing."""
    few = choose(ENCODING, SHARES, curved=False, most=19)
    assert len(few) <= 19 < len(SCORES)
    assert {score.column for score in few if ENCODING.features[score.column].edges} == set(range(16))
    constant = np.concatenate([np.eye(size)[0] for size in ENCODING.sizes])
    (nothing,) = choose(ENCODING, constant, curved=True)
    assert set(nothing.levels) == {0}
    for curved in (False, True):
        counts = Counter(score.column for score in choose(ENCODING, SHARES, curved))
        assert all(counts[at] <= most_of_column(cells) for at, cells in enumerate(ENCODING.features))


def test_a_record_is_about_as_long_as_the_bound_allows() -> None:
    """CLIP2 is below 1: most records are clipped, and none is longer."""
    asked = question(SCORES)
    assert asked.radius**2 == pytest.approx(0.6 * len(SCORES) * UNIT**2, rel=1e-3)
    assert 0.3 * asked.radius < asked.label_weight < 0.4 * asked.radius
    asked.check(ENCODING.sizes)


def test_noise_grows_with_the_scores_and_falls_with_patients_and_budget() -> None:
    assert noise_of_correlations(40, 0.5, 1000) == 2 * noise_of_correlations(20, 0.5, 1000)
    assert noise_of_correlations(20, 0.5, 2000) == noise_of_correlations(20, 0.5, 1000) / 2
    assert noise_of_correlations(20, 1.0, 1000) == noise_of_correlations(20, 0.5, 1000) / 2
