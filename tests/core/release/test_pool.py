"""The pool: centroids in, merged bins of records out; by the maximum-entropy model where pairs are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from cohortmix.core.data.encoding import blocks_of
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.sampling import draw_groups, pick, systematic
from cohortmix.core.release.pool import Pool

LEVEL = 1e-4
SIZES = (3, 2, 4)


def pool(paired: bool = True, sites: int = 1, k: int = 6, seed: int = 0) -> Pool:
    """Centroids whose features go together: each lies near one corner."""
    rng = np.random.default_rng(seed)
    means = np.concatenate([rng.dirichlet(np.full(size, 0.3), k * sites) for size in SIZES], axis=1)
    return Pool(
        masses=rng.uniform(500, 1500, k * sites),
        means=means,
        labels=rng.dirichlet(np.full(2, 0.5), k * sites),
        paired=np.full(k * sites, paired),
        site=np.repeat(np.arange(sites), k),
        sites=tuple(f"site-{s}" for s in range(sites)),
        noise_std=np.full(sites, 5.0),
        groups=Groups(tuple(tuple(range(size)) for size in SIZES)),
        shape=np.ones(sum(SIZES)),
    )


def tables(groups: NDArray[np.int32]) -> NDArray[np.float64]:
    x = np.concatenate([np.eye(size)[groups[:, j]] for j, size in enumerate(SIZES)], axis=1)
    return np.asarray(x.T @ x / len(x))


def off_diagonal() -> NDArray[np.bool_]:
    feature = np.repeat(np.arange(len(SIZES)), SIZES)
    return np.asarray(feature[:, None] != feature[None, :])


def wanted(drawn_from: Pool) -> NDArray[np.float64]:
    told = drawn_from.tables()
    features = slice(0, sum(SIZES))
    tables: NDArray[np.float64] = np.einsum(
        "c,cgh->gh", told.masses / told.masses.sum(), told.pairs[:, features, features]
    )
    return tables


def furthest(drawn_from: Pool, rows: int = 40_000) -> float:
    """Largest difference between a pair's share among drawn records and among those of the mixture."""
    groups = drawn_from.draw(rows, np.random.default_rng(1))[2]
    return float(np.abs((tables(groups) - wanted(drawn_from))[off_diagonal()]).max())


def test_records_have_the_pair_tables_of_the_mixture() -> None:
    assert furthest(pool()) < 0.02


def test_without_couplings_they_would_not() -> None:
    """The negation: records with the same margins, but independent features, are far from these tables."""
    drawn_from = pool()
    alone = replace(
        drawn_from, noise_std=np.array([1e9])
    )  # pairs that are all noise: the model keeps margins only
    groups = alone.draw(40_000, np.random.default_rng(1))[2]
    assert np.abs((tables(groups) - wanted(drawn_from))[off_diagonal()]).max() > 0.04
    np.testing.assert_allclose(np.diagonal(tables(groups)), np.diagonal(wanted(drawn_from)), atol=0.02)


def test_records_have_no_third_order_of_their_own() -> None:
    """x_3 = x_1 XOR x_2 has no pair at all: a mixture can say it, the maximum-entropy model does not repeat it."""
    corners = [(a, b, a ^ b) for a in (0, 1) for b in (0, 1)]
    means = np.array([np.concatenate([np.eye(2)[bit] for bit in corner]) for corner in corners]) * 0.9 + 0.05
    one = np.full((4, 1), 1.0)
    xor = Pool(
        masses=one[:, 0] * 1000,
        means=means,
        labels=one,
        paired=np.ones(4, bool),
        site=np.zeros(4, int),
        sites=("a",),
        noise_std=np.ones(1),
        groups=Groups(((0, 1),) * 3),
        shape=np.ones(6),
    )
    parity = {paired: _parity(replace(xor, paired=np.full(4, paired))) for paired in (True, False)}
    assert abs(parity[True] - 0.5) < 0.03
    assert parity[False] < 0.2


def _parity(drawn_from: Pool) -> float:
    groups = drawn_from.draw(20_000, np.random.default_rng(2))[2]
    return float((groups.sum(axis=1) % 2).mean())


def test_a_site_without_pairs_brings_its_margins_and_takes_the_pairs_of_the_others() -> None:
    drawn_from = pool(sites=2)
    second = drawn_from.site == 1
    alone = replace(drawn_from, paired=~second)
    site, _, groups = alone.draw(60_000, np.random.default_rng(3))
    own = groups[site == 1]
    weights = alone.masses[second] / alone.masses[second].sum()
    np.testing.assert_allclose(np.diagonal(tables(own)), weights @ alone.means[second], atol=0.03)
    told = alone.tables()
    assert not told.known[:, 1].any()
    first = replace(alone, masses=np.where(second, 0.0, alone.masses))
    np.testing.assert_allclose(wanted(alone)[off_diagonal()], wanted(first)[off_diagonal()], atol=0.05)


@pytest.mark.parametrize("paired", [True, False])
def test_sites_and_classes_have_their_shares(paired: bool) -> None:
    drawn_from = pool(paired, sites=2)
    site, label, _ = drawn_from.draw(10_000, np.random.default_rng(4))
    joint = np.zeros((2, 2))
    np.add.at(joint, (site, label), 1)
    patients = drawn_from.masses[:, None] * drawn_from.labels
    expected = np.stack([patients[drawn_from.site == s].sum(axis=0) for s in (0, 1)]) * 10_000 / patients.sum()
    np.testing.assert_allclose(joint, expected, atol=2)


def test_the_same_stream_gives_the_same_records() -> None:
    first, again, other = (pool().draw(300, np.random.default_rng(seed))[2] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_any_number_of_records(rows: int) -> None:
    site, label, groups = pool(sites=2).draw(rows, np.random.default_rng(0))
    assert (len(site), len(label), groups.shape) == (rows, rows, (rows, 3))


def test_a_class_without_patients_is_never_drawn() -> None:
    drawn_from = pool()
    certain = np.column_stack([drawn_from.labels, np.zeros(6)])
    label = replace(drawn_from, labels=certain).draw(2000, np.random.default_rng(0))[1]
    assert set(label) == {0, 1}


def test_systematic_draws_are_within_one_of_their_expectation() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(20))
    counts = np.bincount(systematic(weights, 999, np.random.default_rng(1)), minlength=20)
    assert (np.abs(counts - 999 * weights) < 1).all()
    independent = np.bincount(np.random.default_rng(1).choice(20, 999, p=weights), minlength=20)
    assert (np.abs(independent - 999 * weights) > 1).any()


def test_a_pick_shares_out_its_row_and_each_entry_has_the_law() -> None:
    weights, rows = np.array([[0.5, 0.3, 0.2], [0.0, 0.9, 0.1]]), np.repeat([0, 1, 0], 100)
    found = pick(weights, rows, np.random.default_rng(0))
    for row in (0, 1):
        counts = np.bincount(found[rows == row], minlength=3)
        assert (np.abs(counts - (rows == row).sum() * weights[row]) <= 1).all()
    first = [pick(weights, rows[:3], np.random.default_rng(seed))[0] for seed in range(2000)]
    assert chisquare(np.bincount(first, minlength=3), 2000 * weights[0]).pvalue > LEVEL


def test_a_histogram_decides_the_groups() -> None:
    means = np.array([[1.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0]])
    k = np.array([0, 1, 1, 0])
    groups = draw_groups(k, means, blocks_of((3, 2)), np.random.default_rng(0))
    np.testing.assert_array_equal(groups, np.where(k[:, None] == 0, [[0, 1]], [[2, 0]]))
