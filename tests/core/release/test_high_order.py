"""Terms of products of signs: the model has the means that were measured, a term only where pairs fall short."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohortmix.core.data.encoding import one_hot
from cohortmix.core.release import gibbs, high_order, maximum_entropy
from cohortmix.core.release.high_order import Terms, standing_out
from cohortmix.core.release.learning import fit
from cohortmix.core.release.maximum_entropy import MaximumEntropy
from cohortmix.core.release.target_tables import TargetTables
from cohortmix.core.steps.products.means import SignMeans

SIZES, ROWS = (2, 2, 3, 2, 1), 8_000  # four features, the third with a bin of missing values, and one site
SIGNS = np.array([-1, 1, -1, 1, -1, 1, 0, -1, 1])
B = np.log(np.array([0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.4, 0.5, 0.5, 1.0], np.float32))
TRIPLE, ALL = (0, 1, 2), (0, 1, 2, 3)
SUBSETS = (TRIPLE, ALL, (0, 1, 3), (0, 2, 3), (1, 2, 3))


def model(*weights: float) -> MaximumEntropy:
    """One class of features that are independent but for the products of TRIPLE and ALL."""
    subsets = (TRIPLE, ALL)[: len(weights)]
    terms = Terms(jnp.asarray(SIGNS, jnp.float32), jnp.asarray(weights, jnp.float32)[:, None, None], subsets)
    theta = jnp.zeros((1, sum(SIZES), sum(SIZES)))
    return MaximumEntropy(sizes=SIZES, b=jnp.asarray(B)[None], theta=theta, terms=terms if weights else None)


def drawn(fitted: MaximumEntropy, rows: int = ROWS, seed: int = 0) -> NDArray[np.int32]:
    start = np.random.default_rng(seed).integers(0, 2, (rows, len(SIZES))).astype(np.int32)
    start[:, -1] = 0
    return gibbs.draw(fitted, start, np.zeros(rows, np.int64), seed)


def product(groups: NDArray[np.int32], subset: tuple[int, ...]) -> NDArray[np.int64]:
    """The product of signs of each record."""
    starts = np.concatenate([[0], np.cumsum(SIZES)])
    return np.asarray(np.prod([SIGNS[starts[j] + groups[:, j]] for j in subset], axis=0))


def share(weight: float) -> float:
    """Of the patients whose third feature is known: exp(weight) weighs even products, exp(-weight) odd ones."""
    return float(0.6 * np.cosh(weight) / (0.6 * np.cosh(weight) + 0.4))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("weight", [0.8, -1.5])
def test_records_have_the_mean_that_a_term_says(
    weight: float, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the even sweep, and by the sweeps before it; and features are as independent as they were two by two."""
    if not last:
        monkeypatch.setattr(MaximumEntropy, "last", lambda _, codes, *__: codes[:, :-1])
    groups = drawn(model(weight))
    assert product(groups, TRIPLE).mean() == pytest.approx(share(weight) * np.tanh(weight), abs=0.04)
    for subset in ((0, 1), (0, 2), (1, 2), ALL):
        assert abs(product(groups, subset).mean()) < 0.06


def test_without_a_term_they_have_not() -> None:
    assert abs(product(drawn(model()), TRIPLE).mean()) < 0.04


def test_terms_of_two_products_are_told_apart() -> None:
    groups = drawn(model(1.0, 0.7))
    known = product(groups, TRIPLE) != 0
    for subset, weight in ((TRIPLE, 1.0), (ALL, 0.7)):
        assert product(groups, subset)[known].mean() == pytest.approx(np.tanh(weight), abs=0.07)


# Which products have a term


def measured(means: list[float], std: float = 0.1) -> SignMeans:
    return SignMeans(signs=SIGNS, subsets=SUBSETS, means=np.array([means]), std=np.array([std]))


def chains(groups: NDArray[np.int32]) -> jnp.ndarray:
    site = np.zeros(len(groups), np.int32)
    return jnp.asarray(one_hot(np.column_stack([groups, site]), SIZES))[None]


EVERY = np.ones(1, np.bool_)


def test_a_product_that_stands_out_has_a_term_and_no_other() -> None:
    found = standing_out(measured([0.1, 0.6, -0.2, 0.15, 0.0]), chains(drawn(model())), SIZES, EVERY)
    assert found is not None
    assert found.terms.subsets == (ALL,)
    assert found.means.shape == found.terms.weights.shape[:2] == (1, 1)


def test_what_the_model_of_pairs_says_already_has_none() -> None:
    """Chains that have the product: then it is its absence that would stand out."""
    x = chains(drawn(model(1.5)))
    has = float(product(drawn(model(1.5)), TRIPLE).mean())
    assert standing_out(measured([has, 0, 0, 0, 0]), x, SIZES, EVERY) is None
    missing = standing_out(measured([0, 0, 0, 0, 0]), x, SIZES, EVERY)
    assert missing is not None
    assert missing.terms.subsets == (TRIPLE,)


def test_a_class_whose_pairs_are_not_known_decides_nothing() -> None:
    two = replace(measured([0] * 5), means=np.array([[0.0] * 5, [0.9] * 5]), std=np.array([0.1, 0.1]))
    x = jnp.concatenate([chains(drawn(model()))] * 2)
    assert standing_out(two, x, SIZES, np.array([True, False])) is None
    assert standing_out(two, x, SIZES, np.array([True, True])) is not None


def test_noise_alone_seldom_makes_a_term() -> None:
    """At most in CHANCE of all releases: of 400, twelve would be more than that at a level of 0.001."""
    x, rng = chains(drawn(model())), np.random.default_rng(0)
    made = [standing_out(measured((0.1 * rng.normal(size=5)).tolist()), x, SIZES, EVERY) for _ in range(400)]
    assert sum(aim is not None for aim in made) < 12


def test_no_more_terms_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(high_order, "MOST", 2)
    found = standing_out(measured([0.9, -0.8, 0.7, 0.6, 0.6]), chains(drawn(model())), SIZES, EVERY)
    assert found is not None
    assert found.terms.subsets == (TRIPLE, ALL)


# Learning


def tables() -> TargetTables:
    """Independent features, in one class."""
    margins = np.exp(B).astype(float)
    pairs = np.outer(margins, margins)
    feature = np.repeat(np.arange(len(SIZES)), SIZES)
    pairs[feature[:, None] == feature] = 0
    pairs[np.diag_indices(len(pairs))] = margins
    everybody = np.ones((1, 1), np.bool_)
    return TargetTables(
        sizes=SIZES, pairs=pairs[None], std=np.array([0.01]), masses=np.array([1e4]), known=everybody
    )


def learned(products: SignMeans | None) -> MaximumEntropy:
    start = np.random.default_rng(1).integers(0, 2, (ROWS, len(SIZES))).astype(np.int32)
    start[:, -1] = 0
    return fit(tables(), start, np.zeros(ROWS, np.int64), seed=0, products=products)


def test_what_was_measured_is_learned_and_pairs_and_margins_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maximum_entropy, "CHAINS", 4096)
    groups = drawn(learned(measured([0.5, 0, 0, 0, 0], 0.02)))
    assert product(groups, TRIPLE).mean() == pytest.approx(0.5, abs=0.04)
    assert abs(product(groups, ALL).mean()) < 0.04
    for subset in ((0, 1), (0, 2), (1, 2)):
        assert abs(product(groups, subset).mean()) < 0.05
    np.testing.assert_allclose(np.bincount(groups[:, 2]) / ROWS, [0.3, 0.3, 0.4], atol=0.02)


def test_where_nothing_stands_out_the_model_is_that_of_pairs_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maximum_entropy, "CHAINS", 1024)
    of_pairs, other = learned(None), learned(measured([0.05, -0.1, 0.1, 0, 0]))
    assert other.terms is None
    np.testing.assert_array_equal(of_pairs.b, other.b)
    np.testing.assert_array_equal(of_pairs.theta, other.theta)
    pd.testing.assert_frame_equal(pd.DataFrame(drawn(of_pairs)), pd.DataFrame(drawn(other)))
