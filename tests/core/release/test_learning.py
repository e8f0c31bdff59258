"""Learning: the model comes to have its tables, however many columns go together, and however exact they are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of, one_hot
from cohortmix.core.data.sampling import draw_groups
from cohortmix.core.release import gibbs, learning
from cohortmix.core.release.target_tables import TargetTables

BINS, COMPONENTS, ROWS = 3, 4, 8_000
LOOSE, TIGHT = 1.0, 0.3  # concentration of a component's histograms: how little features go together


def mixture(features: int, spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K,) weights and (K, G) histograms in which all features go together."""
    rng = np.random.default_rng(5)
    means = rng.dirichlet(np.full(BINS, spread), size=(COMPONENTS, features)).reshape(COMPONENTS, -1)
    return np.full(COMPONENTS, 1 / COMPONENTS), means


def target(features: int, spread: float) -> TargetTables:
    """Its exact tables: one class, one site."""
    weights, means = mixture(features, spread)
    z = np.column_stack([means, np.ones(COMPONENTS)])
    pairs = np.einsum("k,kg,kh->gh", weights, z, z)
    np.fill_diagonal(pairs, weights @ z)
    return TargetTables(
        sizes=(BINS,) * features + (1,),
        pairs=pairs[None],
        std=np.array([1e-5]),
        masses=np.array([1e5]),
        known=np.ones((1, 1), bool),
    )


def far_off(features: int, spread: float) -> float:
    """Mean total variation distance of the pair tables of records that the fitted model draws."""
    tables, rng = target(features, spread), np.random.default_rng(0)
    weights, means = mixture(features, spread)
    k, blocks = rng.choice(COMPONENTS, ROWS, p=weights), blocks_of((BINS,) * features)
    start = np.column_stack([draw_groups(k, means, blocks, rng), np.zeros(ROWS, np.int32)])
    label = np.zeros(ROWS, np.int64)
    learning._learn.clear_cache()  # type: ignore[attr-defined]  # constants are compiled in
    drawn = gibbs.draw(learning.fit(tables, start, label, seed=0), start, label, seed=1)
    x = one_hot(drawn, tables.sizes[:-1]).astype(np.float64)
    feature = np.repeat(np.arange(features), BINS)
    off = np.abs(x.T @ x / ROWS - tables.pairs[0, :-1, :-1]) * (feature[:, None] != feature)
    return float(off.sum() / 2 / (features * (features - 1)))


@pytest.mark.parametrize("features", [6, 40])
@pytest.mark.parametrize("spread", [LOOSE, TIGHT])
def test_records_have_the_tables(features: int, spread: float) -> None:
    """Two samples of 8,000 records are about .01 apart."""
    assert far_off(features, spread) < 0.03


def test_without_a_line_search_many_columns_overshoot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negation: steps as long as if features were independent, and margins moved by all of their tables."""
    monkeypatch.setattr(learning, "_length", lambda *_: jnp.array(1.0))
    monkeypatch.setattr(learning, "OF_MARGINS", 1.0)
    assert far_off(20, LOOSE) > 0.1
    learning._learn.clear_cache()  # type: ignore[attr-defined]
