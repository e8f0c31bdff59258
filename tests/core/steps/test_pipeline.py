"""The three steps at a site and between sites: what is asked, what it costs, and what the answers become."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding, one_hot
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import pipeline, plan
from cohortmix.core.steps.anonymize import answer_b
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.plan import Plan, l_min

SCHEMA = Schema.from_yaml(
    """
name: study
target: outcome
columns:
  age: {type: number, min: 0, max: 99, integer: true}
  sex: {type: category, values: [F, M]}
  dose: {type: number, min: 0, max: 1, missing: true}
  outcome: {type: category, values: [well, ill, rare]}
"""
)
ENCODING = Encoding.of(SCHEMA)
CLEAR = Fraction(10**4)  # noise of less than a tenth of a patient


def cohort(n: int, seed: int, shift: float = 0.0, rare: int = 0) -> pd.DataFrame:
    """The ill are older and take more; `shift` makes a whole site older."""
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.4
    return pd.DataFrame(
        {
            "age": np.clip(rng.normal(np.where(ill, 60, 40) + shift, 10), 0, 99).round(),
            "sex": rng.choice(["F", "M"], n),
            "dose": np.where(rng.random(n) < 0.2, np.nan, rng.beta(np.where(ill, 4, 2), 3)),
            "outcome": np.where(np.arange(n) < rare, "rare", np.where(ill, "ill", "well")),
        }
    )


@dataclass
class Hospital:
    """One site of a study, with its vault and its meter."""

    table: pd.DataFrame
    mu2: Fraction = CLEAR
    seed: int = 1

    def __post_init__(self) -> None:
        self.meter = MemoryMeter(self.mu2)
        self.vault = Vault(TableSource(self.table), SCHEMA, KeyedNoise(self.seed).add, self.meter)
        self.plan = Plan(SCHEMA, self.mu2, self.vault.patients, support=10, scores=False)
        self.own: Answer = pipeline.class_sums(self.vault, self.plan)

    def finish(self, common: Common, seed: bytes = b"seed") -> SiteCentroids:
        return pipeline.centroids(self.vault, self.plan, common, self.own, seed)


def between(*sites: Hospital) -> Common:
    return pipeline.common([site.plan for site in sites], [site.own for site in sites])


def cells(table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Records on their fine cells, one-hot (n, F), and labels; the truth that answers are compared with."""
    (batch,) = TableSource(table).batches()
    features, label = ENCODING.codes(batch)
    return one_hot(features, ENCODING.sizes).astype(np.float64), label


# Budget


@pytest.mark.parametrize("mu2", [Fraction(1, 100), Fraction(4), Fraction(1, 3)])
@pytest.mark.parametrize("patients", [50, 10**4])
def test_the_parts_of_a_plan_make_its_budget(mu2: Fraction, patients: int) -> None:
    plan = Plan(SCHEMA, mu2, patients, scores=False)
    assert plan.mu2_sums + plan.mu2_moments == mu2
    assert plan.mu2_sums == (mu2 * plan.share_of_sums if plan.fits_mixture else mu2)
    assert plan.s_b == pytest.approx(sqrt(6 / float(mu2 * (1 - plan.share_of_sums))))


@pytest.mark.parametrize("share", [Fraction(15, 100), Fraction(3, 10), Fraction(9, 10)])
def test_answer_a_has_more_of_the_budget_where_b_has_hardly_room(share: Fraction) -> None:
    """The study's share with plenty of room, two fifths at the least room, and never less than the study says."""
    least = next(n for n in range(1, 10**4) if Plan(SCHEMA, Fraction(1), n, share, scores=False).fits_mixture)
    sizes = [least, 2 * least, 20 * least]
    plans = [Plan(SCHEMA, Fraction(1), n, share, scores=False) for n in sizes]
    shares = [plan.share_of_sums for plan in plans]
    assert shares == [max(Fraction(4, 10), share), max(Fraction(2, 10), share), share]
    assert [plan.mu2_sums for plan in plans] == shares
    assert Plan(SCHEMA, Fraction(1), least - 1, share, scores=False).mu2_sums == 1
    assert (
        Plan(SCHEMA, Fraction(1), least - 1, share, scores=False).share_of_sums == share
    )  # of what it would need for room


def test_a_mixture_needs_room_for_its_components() -> None:
    """Two of l_min patients for each of three classes; decided on public facts alone."""
    least = next(n for n in range(1, 10**4) if Plan(SCHEMA, Fraction(1), n, scores=False).fits_mixture)
    assert least == np.ceil(
        2 * 3 * l_min(Plan(SCHEMA, Fraction(1), 1, scores=False).s_b)
    )  # with the study's share for A
    columns = {name: SCHEMA.columns[name] for name in ("sex", "outcome")}
    assert not Plan(SCHEMA.model_copy(update={"columns": columns}), Fraction(10**9), 10**9).fits_mixture


def test_a_small_site_spends_all_on_its_class_sums() -> None:
    site = Hospital(cohort(60, 0), Fraction(1, 10))
    assert not site.plan.fits_mixture
    spent = site.meter.spent
    assert Fraction(999, 10_000) < spent <= Fraction(1, 10)
    centroids = site.finish(between(site))
    assert set(centroids.kind) == {"class"}
    assert site.meter.spent == spent


# Between the rounds


def test_sites_share_the_margins_of_all_their_patients() -> None:
    north, south = Hospital(cohort(600, 1)), Hospital(cohort(300, 2, shift=20), seed=2)
    common = between(north, south)
    x, label = cells(pd.concat([north.table, south.table]))
    for c in range(2):
        np.testing.assert_allclose(common.margins.cells[c], x[label == c].mean(axis=0), atol=0.01)
    np.testing.assert_allclose(common.margins.masses[:2], np.bincount(label)[:2], atol=2)
    assert common.margins.masses.sum() == pytest.approx(900)
    assert common.margins.s_a == pytest.approx(sqrt(north.own.std**2 + south.own.std**2))


def test_groups_partition_the_cells() -> None:
    common = between(Hospital(cohort(600, 1)), Hospital(cohort(300, 2), seed=2))
    assert [len(of) for of in common.groups] == list(ENCODING.sizes)
    assert common.groups.are_partitions


def test_groups_are_as_fine_as_the_noise_of_the_pairs_allows() -> None:
    """Sites that measure no pairs do not make them coarser; where none does, the noise of A decides."""
    large = [Hospital(cohort(2000, 1), mu2) for mu2 in (Fraction(100), Fraction(1, 2))]
    fine, coarse = (sum(max(of) for of in between(site).groups) for site in large)
    assert fine > coarse
    small = Hospital(cohort(60, 2), Fraction(1, 100), seed=2)
    assert not small.plan.fits_mixture
    assert sum(max(of) for of in between(large[0], small).groups) >= coarse
    alone = Hospital(cohort(200, 1), Fraction(1, 10))
    assert not alone.plan.fits_mixture
    assert len(set(between(alone).groups.of_cells[0])) > 2


# At a site


def test_without_noise_the_moments_are_those_of_the_records() -> None:
    site = Hospital(cohort(800, 3))
    common = between(site)
    x, label = cells(site.table)
    answer = answer_b(site.vault, site.plan, common)
    moments = pipeline.moments(site.plan, common, site.own, answer, np.array([0, 1]))
    groups = common.groups.sums(x)
    feature = np.repeat(np.arange(3), moments.sizes)
    for c in range(2):
        own = groups[label == c]
        pairs = own.T @ own * (feature[:, None] != feature)
        np.testing.assert_allclose(moments.pairs[c], pairs, atol=6 * moments.s_b)
        np.testing.assert_allclose(moments.margins[c], own.sum(axis=0), atol=1)
    np.testing.assert_allclose(moments.masses, np.bincount(label), atol=1.5)
    assert moments.s_b == pytest.approx(site.plan.s_b, rel=1e-6)
    assert (moments.margins_std > 0).all()


def test_class_centroids_are_the_class_means() -> None:
    site = Hospital(cohort(800, 3))
    common = between(site)
    found = pipeline.class_centroids(site.plan, common, site.own)
    x, label = cells(site.table)
    groups = common.groups.sums(x)
    for c in range(2):
        np.testing.assert_allclose(found.means[c], groups[label == c].mean(axis=0), atol=0.01)
    np.testing.assert_array_equal(found.labels, np.eye(3))
    assert found.kind == ("class",) * 3
    assert found.masses.sum() == pytest.approx(800)
    assert len(found.support_points) == 0


@pytest.fixture(scope="module")
def finished(few_steps: None) -> tuple[Hospital, Hospital, Common, SiteCentroids, SiteCentroids]:
    """A study of two sites; the second one is older, and some of its patients are of a rare class."""
    north = Hospital(cohort(600, 1), Fraction(4))
    south = Hospital(cohort(600, 2, shift=20, rare=6), Fraction(3), seed=2)
    common = between(north, south)
    return north, south, common, north.finish(common), south.finish(common)


Study = tuple[Hospital, Hospital, Common, SiteCentroids, SiteCentroids]


def test_both_answers_cost_what_the_plan_says(finished: Study) -> None:
    for site in finished[:2]:
        assert len(site.meter.answers) == 2
        assert site.plan.mu2 * (1 - Fraction(1, 10**6)) < site.meter.spent <= site.plan.mu2
        assert site.own.mu2 <= site.plan.mu2_sums
        assert site.meter.answers[1].mu2 <= site.plan.mu2_moments


def test_finished_centroids_are_distributions_with_their_patients(finished: Study) -> None:
    *sites, common, north, south = finished
    blocks = common.groups.blocks
    for site, centroids in zip(sites, (north, south), strict=True):
        assert centroids.masses.sum() == pytest.approx(site.plan.patients, rel=1e-5)
        assert centroids.masses.min() > 0
        for rows in (centroids.means, centroids.support_points):
            for block in blocks:
                np.testing.assert_allclose(rows[:, block].sum(axis=1), 1, rtol=1e-4)
                assert rows[:, block].min() >= 0
        for rows in (centroids.labels, centroids.support_labels):
            np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-4)
        assert 2 <= len(centroids.support_points) <= 10
        assert centroids.noise_std == pytest.approx(site.plan.s_b, rel=1e-6)


def test_the_centroids_of_a_site_have_its_own_margins(finished: Study) -> None:
    *sites, common, north, south = finished
    older = []
    for site, centroids in zip(sites, (north, south), strict=True):
        x, _ = cells(site.table)
        truth = common.groups.sums(x).mean(axis=0)
        found = centroids.masses @ centroids.means / site.plan.patients
        np.testing.assert_allclose(found, truth, atol=0.08)
        older.append(found[: common.groups.sizes[0]].cumsum().sum())
    assert older[0] > older[1] + 1  # the second site's ages lie in later groups


def test_pooled_centroids_have_the_margins_of_all_patients(finished: Study) -> None:
    *sites, common, north, south = finished
    x, label = cells(pd.concat([site.table for site in sites]))
    masses = np.concatenate([north.masses, south.masses])
    pooled = masses @ np.concatenate([north.means, south.means]) / masses.sum()
    np.testing.assert_allclose(pooled, common.groups.sums(x).mean(axis=0), atol=0.05)
    classes = masses @ np.concatenate([north.labels, south.labels]) / masses.sum()
    np.testing.assert_allclose(classes, np.bincount(label) / len(label), atol=0.03)


def test_a_rare_class_has_one_centroid_named_as_such(finished: Study) -> None:
    """Six patients, where l_min is more."""
    south = finished[-1]
    assert south.kind.count("class") == 1
    assert south.kind[-1] == "class"
    np.testing.assert_array_equal(south.labels[-1], [0, 0, 1])
    assert south.masses[-1] < l_min(south.noise_std)
    assert (south.labels[:-1, 2] == 0).all()


def test_the_same_answers_and_seed_give_the_same_centroids(finished: Study) -> None:
    north, _, common, centroids, _ = finished
    assert same(north_again(north, common, b"seed"), centroids)
    assert not same(north_again(north, common, b"other"), centroids)


def north_again(site: Hospital, common: Common, seed: bytes) -> SiteCentroids:
    """The free part of round 2, from the stored answers: no vault."""
    return pipeline.approximate_and_adapt(site.plan, common, site.own, site.meter.answers[1], seed)


def same(one: SiteCentroids, other: SiteCentroids) -> bool:
    fields: list[Any] = ["masses", "means", "labels", "support_points", "support_labels"]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def test_fewer_components_than_classes_are_class_centroids(
    finished: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "LARGEST_K", 1)
    north, _, common, *_ = finished
    assert set(north_again(north, common, b"seed").kind) == {"class"}
