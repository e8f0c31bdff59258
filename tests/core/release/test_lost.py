"""What a release says it could not carry: nothing where nothing was lost, and each kind of loss by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.release.lost import Lost
from cohortmix.core.release.lost_in_words import paragraph
from cohortmix.core.steps.centroids import Common, Margins, SiteCentroids

SCHEMA = Schema.from_yaml(
    """
name: t
target: outcome
columns:
  visits: {type: number, min: 0, max: 3, integer: true, missing: true}
  sex: {type: category, values: [F, M]}
  only: {type: category, values: [same]}
  code: {type: category, values: [a, b, c, d], missing: true}
  outcome: {type: category, values: [well, ill, dead]}
"""
)
MERGED = ((0, 1, 2, 3, 4), (0, 1), (0,), (0, 1, 2, 3, 4))  # nothing is
SHARES = ((0.3, 0.3, 0.2, 0.1, 0.1), (0.5, 0.5), (1.0,), (0.3, 0.3, 0.2, 0.1, 0.1))
SCORES = tuple(Coordinate(column, (1,) * size) for column, size in enumerate(Encoding.of(SCHEMA).sizes))


def released(
    *masses: float,
    kind: str = "mixture",
    noise: float = 2.0,
    merged: tuple[tuple[int, ...], ...] = MERGED,
    shares: tuple[tuple[float, ...], ...] = SHARES,
) -> SiteCentroids:
    """A centroid for each class with these patients, all of the same shares; a class without any has none."""
    some = [number for number, mass in enumerate(masses) if mass]
    return SiteCentroids(
        masses=np.array(masses)[some],
        means=np.tile(Groups(merged).sums(np.concatenate(shares)), (len(some), 1)),
        labels=np.eye(len(masses))[some],
        kind=(kind,) * len(some),
        noise_std=noise,
        support_points=np.zeros((0, 1)),
        support_labels=np.zeros((0, len(masses))),
    )


def lost(
    *sites: SiteCentroids,
    merged: tuple[tuple[int, ...], ...] = MERGED,
    shares: tuple[tuple[float, ...], ...] = SHARES,
    masses: tuple[float, ...] = (300.0, 200.0, 100.0),
    s_a: float = 2.0,
    scores: tuple[Coordinate, ...] = (),
    asked: bool = True,
) -> Lost:
    cells = np.tile(np.concatenate(shares), (len(masses), 1))
    common = Common(Groups(merged), Margins(cells=cells, masses=np.array(masses), s_a=s_a), scores)
    own = sites or (released(*masses, merged=merged, shares=shares),)
    return Lost.of(SCHEMA, common, {f"site {n}": site for n, site in enumerate(own)}, pairs_asked=asked)


NOTHING = Lost(target="outcome")


def test_a_release_that_loses_nothing_says_nothing() -> None:
    assert lost() == NOTHING
    assert lost(scores=SCORES) == NOTHING
    assert paragraph(NOTHING) == ""
    assert not any(NOTHING.facts.values())


def test_pairs_that_were_not_measured_or_drowned() -> None:
    single = released(300, 200, 100, kind="class")
    assert lost(single, asked=False) == replace(NOTHING, pairs="not measured")
    assert lost(single, asked=True) == replace(NOTHING, pairs="too noisy")
    assert lost(single, released(300, 200, 100)) == NOTHING  # another site has told them
    assert "was not measured" in paragraph(lost(single, asked=False))
    assert "the noise is too large" in paragraph(lost(single))
    assert paragraph(lost(single), pairs=False) == ""


def test_classes_that_the_noise_hides() -> None:
    """Fewer than four standard deviations, of the least noisy answer or of the class's own count."""
    assert lost(masses=(300, 200, 9), s_a=2.0) == NOTHING
    assert lost(masses=(300, 200, 7), s_a=2.0) == replace(NOTHING, classes_in_noise=("dead",))
    noisy = released(300, 200, 30, kind="class", noise=10)
    assert lost(noisy, masses=(300, 200, 30), s_a=10.0).classes_in_noise == ("dead",)
    assert lost(masses=(300, 200, 30), s_a=7.4).classes_in_noise == ()  # pairs were measured with a noise of 2
    assert lost(masses=(300, 200, 30), s_a=7.4, scores=SCORES).classes_in_noise == ()
    assert lost(masses=(300, 200, 30), s_a=7.6, scores=SCORES).classes_in_noise == ("dead",)
    text = paragraph(lost(masses=(300, 200, 7)))
    assert text.startswith("Classes of outcome with so few patients that noise hides what sets them apart: dead;")
    assert "merging rare classes" in text


def test_classes_without_a_component_of_the_mixture() -> None:
    fitted, rest = released(300, 200, 0), released(0, 0, 100, kind="class")
    assert lost(fitted, rest) == replace(NOTHING, classes_without_pairs=("dead",))
    assert lost(fitted, released(300, 200, 100)) == NOTHING
    assert "too few patients for pairs of columns: dead;" in paragraph(lost(fitted, rest))


def test_columns_of_which_only_a_distribution_is_left() -> None:
    one_bin = ((0, 0, 0, 0, 1), (0, 0), (0,), (0, 0, 0, 0, 1))
    assert lost(merged=one_bin) == replace(NOTHING, columns_alone=("visits", "sex", "code"))
    few = ((0.89, 0.01, 0.0, 0.0, 0.1), (0.99, 0.01), (1.0,), SHARES[3])  # 6 of 600 patients
    assert lost(shares=few) == replace(NOTHING, columns_alone=("visits", "sex"))
    assert lost(shares=few, s_a=0.5) == NOTHING
    apart = ((0, 0, 0, 0, 1), (0, 1), (0,), (0, 0, 0, 0, 1))  # missing or not may go with something, values do not
    assert lost(merged=apart).columns_alone == ("visits", "code")
    never = ((0.0, 0.0, 0.0, 0.0, 1.0), *SHARES[1:])  # always missing
    assert lost(shares=never).columns_alone == ("visits",)
    assert paragraph(lost(merged=one_bin)).startswith(
        "Too few patients differ in visits, sex and code: the records"
    )


def test_columns_without_a_score() -> None:
    silent = Coordinate(1, (0, 0))
    assert lost(scores=(SCORES[0], silent, SCORES[3])) == replace(NOTHING, columns_without_pairs=("sex",))
    assert lost(scores=(silent,)).columns_without_pairs == ("visits", "sex", "code")
    classes = released(300, 200, 100, kind="class")
    assert lost(classes, scores=(silent,)).columns_without_pairs == ()  # no pairs at all is said instead


def test_values_that_were_counted_together() -> None:
    rest = (*MERGED[:3], (0, 1, 2, 2, 2))
    found = lost(merged=rest)
    assert found == replace(NOTHING, values_merged={"code": 2})  # missing is no value
    assert lost(merged=((0, 0, 1, 1, 2), *MERGED[1:])) == NOTHING  # ranges of a number are as they should be
    assert "counted together in code (2 values)" in paragraph(found)


def test_one_column_has_no_pairs_to_lose() -> None:
    schema = SCHEMA.model_copy(update={"columns": {name: SCHEMA.columns[name] for name in ("sex", "outcome")}})
    margins = Margins(cells=np.full((3, 2), 0.5), masses=np.array([300.0, 200, 100]), s_a=2.0)
    own = {"": released(300, 200, 100, kind="class", merged=((0, 1),), shares=((0.5, 0.5),))}
    found = Lost.of(schema, Common(Groups(((0, 1),)), margins), own, pairs_asked=False)
    assert found == NOTHING


def test_facts_are_plain_and_have_all_names_where_words_have_a_few() -> None:
    names = tuple(f"x{number}" for number in range(300))
    found = Lost(target="y", columns_alone=names, values_merged={"code": 3, "zip": 1200})
    read: dict[str, Any] = json.loads(json.dumps(found.facts))
    assert read["columns_alone"] == list(names)
    assert read["values_merged"] == {"code": 3, "zip": 1200}
    text = paragraph(found)
    assert "x4 and 295 more" in text
    assert "code (3 values) and zip (1,200 values)" in text
    assert len(text) < 600
    assert "\n" not in text


@pytest.mark.parametrize("kind", ["pairs", "classes_in_noise", "classes_without_pairs", "columns_alone"])
def test_words_say_what_would_help(kind: str) -> None:
    found = Lost(target="y", **{kind: "too noisy" if kind == "pairs" else ("a",)})  # type: ignore[arg-type]
    assert "What would help: a larger epsilon, more patients" in paragraph(found)
    assert ("merging rare classes" in paragraph(found)) == kind.startswith("classes")
    sliced = replace(found, sliced="days")
    assert ("fewer `slices` of days" in paragraph(sliced)) == kind.startswith("classes")
    assert "merging rare classes" not in paragraph(sliced)
