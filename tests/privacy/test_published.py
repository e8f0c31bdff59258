"""ClustMix as published moves further than its proof allows, on pairs that are kept; its sound order does not.

The figures of the attack itself are in `tests/benchmarks/results/attack.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from math import inf, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.replay import Replays, run
from cohortmix.core.privacy import gdp

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CLAIMED_AT = "published, public bounds"  # nothing leaks by the scaling


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The benchmarks are scripts, which name each other as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        modules = {
            "attack": "bench_attack",
            "clustmix_as_published": "clustmix_as_published",
            "clustmix_noised_steps": "clustmix_noised_steps",
            "pairs": "neighbour_tables",
            "statistics": "attack_statistics",
        }
        yield SimpleNamespace(**{name: import_module(module) for name, module in modules.items()})


def moved(bench: Any, pair: Any, variant: str = CLAIMED_AT) -> float:
    """Of the sensitivity that Eq. 8 takes for that of a release."""
    parameters = bench.attack.VARIANTS[variant](pair)
    share: float = bench.statistics.moved(pair, parameters, coins=1) / parameters.claimed_mu(len(pair.table))
    return share


@pytest.mark.parametrize("name", ["atoms", "far_corner", "near_by"])
def test_the_pairs_are_neighbours(bench: Any, name: str) -> None:
    pair = getattr(bench.pairs, name)()
    assert list(pair.table.columns) == list(pair.other.columns) == list(pair.schema.columns)
    different = (pair.table != pair.other).any(axis=1)
    assert list(np.flatnonzero(different)) == [0]


def test_a_far_corner_is_inside_the_bounds_and_changes_no_class(bench: Any) -> None:
    pair = bench.pairs.far_corner()
    assert pair.other[list(pair.schema.features)].stack().between(0, 1).all()
    assert (pair.table["y"] == pair.other["y"]).all()


def test_one_patient_turns_the_clusters_of_all_others(bench: Any) -> None:
    """Far corner: other patients change clusters, and the means of all move by more than 1/l."""
    assert 5 < moved(bench, bench.pairs.far_corner()) < inf


def test_a_step_of_a_hundredth_moves_less_than_the_claim(bench: Any) -> None:
    assert 0 < moved(bench, bench.pairs.near_by()) < 0.2


@pytest.mark.parametrize("variant", [CLAIMED_AT, "published, public bounds, slices"])
def test_one_label_changes_how_many_centroids_are_released(bench: Any, variant: str) -> None:
    assert moved(bench, bench.pairs.atoms(), variant) == inf


def test_the_noise_is_that_of_equation_8(bench: Any) -> None:
    published = bench.clustmix_as_published
    for patients, classes, features in ((2_000, 2, 14), (60_000, 10, 784)):
        mu = sqrt(classes * features) / published.spread(1.0, 1 / patients, classes, features)
        assert mu == pytest.approx(gdp.mu_of(1.0, 1 / patients), rel=1e-6)
        assert gdp.delta_of(1.1 * mu, 1.0) > 1.2 / patients


def test_each_record_is_mixed_once(bench: Any) -> None:
    """What Theorem 2 supposes: the centroids of a class, times their sizes, add up to the records of the class."""
    pair = bench.pairs.near_by()
    parameters = bench.attack.VARIANTS[CLAIMED_AT](pair)
    x, y = pair.sides[0]
    mixed = bench.clustmix_as_published.mix((x, y), pair.schema, parameters, seed=0)
    assert (mixed.sigma <= parameters.sigma_max).all()
    sizes = parameters.spread(len(x), 2, x.shape[1]) / mixed.sigma
    for c in (0, 1):
        mine = mixed.labels == c
        np.testing.assert_allclose(sizes[mine] @ mixed.means[mine], x[y == c].sum(axis=0))


def test_a_cluster_is_never_smaller_than_asked(bench: Any) -> None:
    rng = np.random.default_rng(0)
    cost = rng.random((60, 4)) - [0.9, 0, 0, 0]  # nearly all are nearest to the first
    constrained = bench.clustmix_as_published.constrained
    assert np.bincount(constrained(cost, 0), minlength=4).min() < 15
    assert list(np.bincount(constrained(cost, 15))) == [15] * 4
    np.testing.assert_array_equal(constrained(cost, 0), cost.argmin(axis=1))


@pytest.mark.usefixtures("few_steps")
def test_noised_steps_stay_within_their_sensitivity(bench: Any) -> None:
    """On a pair that breaks the published order; and two patients at once are seen to be no neighbours."""
    pair, attack = bench.pairs.atoms(), bench.attack
    noised_steps = bench.clustmix_noised_steps.synthesize
    two = pair.other.copy()
    two.loc[1, "y"] = "a"
    one = run(attack.all_steps(pair.table, pair, noised_steps), KeyedNoise(0))
    assert sum(answer.mu2 for answer in one.answers) <= bench.attack.budget(2_000).resolve(2_000).mu ** 2
    assert len(one.answers) == 3
    for table, holds in ((pair.other, True), (two, False)):
        replays = Replays()
        replays.compare("pair", one, run(attack.all_steps(table, pair, noised_steps), KeyedNoise(0), one))
        assert (not replays.violations) == holds
        assert (max(replays.reached.values()) <= 1) == holds


def test_the_learned_statistic_sees_a_shift_and_nothing_where_there_is_none(bench: Any) -> None:
    rng = np.random.default_rng(0)
    null, same, shifted = (rng.normal(mean, 1, (300, 5)) for mean in (0, 0, 2))
    assert bench.statistics.learned_bound(null, shifted, claimed=1.0).measured > 2
    assert bench.statistics.learned_bound(null, same, claimed=1.0).measured < 0.2


def test_an_epsilon_is_bounded_by_both_errors(bench: Any) -> None:
    """Of a test that is exactly (1, delta)-DP the bound is 1; of a better one it is more."""
    delta, fpr = 1e-3, 0.1
    at_the_limit = SimpleNamespace(fpr=fpr, fnr=1 - delta - np.e * fpr)
    assert bench.statistics.epsilon_bound(at_the_limit, delta) == pytest.approx(1)
    assert bench.statistics.epsilon_bound(SimpleNamespace(fpr=0.01, fnr=0.5), delta) > 1
    assert bench.statistics.epsilon_bound(SimpleNamespace(fpr=0.5, fnr=0.5), delta) == 0


def test_a_release_is_summed_up_class_by_class(bench: Any) -> None:
    x = pd.DataFrame([[0.0, 1.0], [1.0, 1.0]]).to_numpy()
    summary = bench.statistics.summary(x, np.array([0, 0]), classes=2)
    np.testing.assert_allclose(summary, [2, 0.5, 1, 0.5, 0, 0, 1, 1, 1, *[0] * 9])
