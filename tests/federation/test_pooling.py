"""Pooling by what is known: sites that differ in size and label, and one that brings almost only noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.release.pool import Pool
from cohortmix.core.release.records import draw
from cohortmix.core.steps.anonymize import noise_a
from cohortmix.core.steps.plan import Plan
from cohortmix.core.utility.columns import read
from cohortmix.core.utility.evaluate import train_synthetic_test_real
from cohortmix.core.utility.marginals import marginal_tvd
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import simulate
from cohortmix.server.publish.pool import pool

SCHEMA = Schema.from_yaml(
    """
name: consortium
target: outcome
columns:
  age: {type: number, min: 0, max: 99, integer: true}
  frail: {type: category, values: [N, Y]}
  smoker: {type: category, values: [N, Y]}
  outcome: {type: category, values: [well, ill]}
"""
)

BUDGET = Budget.from_epsilon(1.0, 1e-5)
pytestmark = pytest.mark.usefixtures("few_steps", "points_stay")


def patients(n: int, ill: float, seed: int) -> pd.DataFrame:
    """The ill are older; who is frail is older still, and smokes less."""
    rng = np.random.default_rng(seed)
    sick = rng.random(n) < ill
    frail = rng.random(n) < np.where(sick, 0.6, 0.2)
    return pd.DataFrame(
        {
            "age": np.clip(rng.normal(np.where(sick, 60, 45) + 12 * frail, 10), 0, 99).round(),
            "frail": np.where(frail, "Y", "N"),
            "smoker": np.where(rng.random(n) < np.where(frail, 0.2, 0.6), "Y", "N"),
            "outcome": np.where(sick, "ill", "well"),
        }
    )


def pooled(sites: Sequence[pd.DataFrame]) -> Pool:
    """Of a study at epsilon 1 of these sites' records, named in this order."""
    names = [f"site-{at}" for at, table in enumerate(sites) for _ in range(len(table))]
    terms = Terms(budget=BUDGET, seed=1)
    return pool(
        simulate(pd.concat(sites, ignore_index=True), SCHEMA, names, terms, rows=1, accept_degraded=True).result
    )


def error(of: Pool, real: pd.DataFrame) -> tuple[float, float]:
    """Mean total variation of pairs of columns from the real records', and AUC on them."""
    made, known = read(draw(of, SCHEMA, 4000, 0), SCHEMA), read(real, SCHEMA)
    auc = train_synthetic_test_real(made, known, SCHEMA)
    assert auc is not None
    return marginal_tvd(made, known, SCHEMA).pairs, auc


def all_alike(of: Pool) -> Pool:
    """The negation: a pool that gives every site the same weight, whatever its patients."""
    total = np.bincount(of.site, of.masses)
    return replace(of, masses=of.masses / total[of.site] * total.mean())


def noise_of_the_ill(sites: Sequence[pd.DataFrame]) -> NDArray[np.float64]:
    """Standard deviation of each site's ill patients in answer A, when both classes together are known to be N.

    And of their drawing among its patients.
    """
    largest = max(map(len, sites))
    mu2 = Fraction(BUDGET.resolve(largest).mu) ** 2
    plans = [Plan(SCHEMA, mu2, len(table)) for table in sites]
    of_label = [noise_a(Encoding.of(SCHEMA), float(plan.mu2_sums)) / sqrt(3 / 4) for plan in plans]
    drawn = [(table["outcome"] == "ill").mean() * len(table) for table in sites]
    return np.sqrt(np.square(of_label) / 2 + drawn)


@pytest.fixture(scope="module")
def others() -> list[pd.DataFrame]:
    return [patients(1600, 0.4, seed) for seed in (1, 2)]


def test_sites_that_bring_almost_only_noise_do_not_hurt_the_others(others: list[pd.DataFrame]) -> None:
    """Of 60 patients each, where one count has a noise of more than 10; not weighed by their patients, they do."""
    real = patients(4000, 0.4, 9)
    without, joined = pooled(others), pooled([*others, *(patients(60, 0.4, seed) for seed in (3, 4))])
    assert joined.noise_std[2:].min() > 10
    alone, both, alike = (error(of, real) for of in (without, joined, all_alike(joined)))
    assert both[0] < alone[0] + 0.01  # as much as two draws of 4,000 records differ
    assert both[1] > alone[1] - 0.01
    assert alike[0] > both[0] + 0.02


def test_sites_that_differ_in_label_and_in_size_keep_both() -> None:
    """Small sites have more of the ill: the pool has each one's share, and all sites' together."""
    shares, sizes = np.array([0.2, 0.5, 0.8]), np.array([2400, 800, 500])
    sites = [patients(n, share, seed) for seed, (n, share) in enumerate(zip(sizes, shares, strict=True))]
    of, real = pooled(sites), pd.concat(sites)
    records = draw(of, SCHEMA, 3700, 0)
    ill = (records["outcome"] == "ill").groupby(records["site"]).mean().to_numpy(float)
    std = noise_of_the_ill(sites)
    assert (np.abs(ill - shares) * sizes < 4 * std).all()
    assert (np.abs(ill.mean() - shares) * sizes > 4 * std)[
        [0, 2]
    ].all()  # as they would be, had all the same share
    np.testing.assert_allclose(records["site"].value_counts().sort_index(), sizes, rtol=0.02)
    everyone = (real["outcome"] == "ill").mean()
    assert abs((records["outcome"] == "ill").mean() - everyone) < 0.02
    assert abs((draw(all_alike(of), SCHEMA, 3700, 0)["outcome"] == "ill").mean() - everyone) > 0.1
    tvd, auc = error(of, real)
    best = train_synthetic_test_real(read(real, SCHEMA), read(patients(3700, everyone, 8), SCHEMA), SCHEMA)
    assert best is not None
    assert tvd < 0.1
    assert auc > best - 0.05
