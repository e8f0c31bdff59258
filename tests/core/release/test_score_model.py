"""Records of a model of scores follow it: against all cells of a small one, and dense couplings of bins."""

from __future__ import annotations

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of
from cohortmix.core.release import gibbs
from cohortmix.core.release.maximum_entropy import MaximumEntropy
from cohortmix.core.release.score_model import ScoreModel
from cohortmix.core.steps.scores.couplings import Fitted

Array = NDArray[np.float64]
SIZES = (2, 3, 5)
COLUMNS = np.array([0, 1, 1, 2])  # the second column has two scores
N = 20_000  # of each of two classes
CELLS = list(product(*map(range, SIZES)))


def fitted(strength: float) -> Fitted:
    rng = np.random.default_rng(1)
    values = np.zeros((sum(SIZES), len(COLUMNS)))
    for score, column in enumerate(COLUMNS):
        values[blocks_of(SIZES)[column], score] = rng.standard_normal(SIZES[column])
    coupling = strength * rng.standard_normal((len(COLUMNS),) * 2)
    coupling = (coupling + coupling.T) * (COLUMNS[:, None] != COLUMNS)
    b = 0.7 * rng.standard_normal((2, sum(SIZES)))
    return Fitted(b, coupling, values, COLUMNS, np.zeros((2, sum(SIZES), sum(SIZES))))


def exact(model: Fitted) -> Array:
    """(C, cells) by definition."""
    starts = [block.start for block in blocks_of(SIZES)]
    rows = np.array(CELLS) + starts
    phi = model.values[rows].sum(axis=1)
    p = np.exp(model.b[:, rows].sum(axis=2) + np.einsum("nk,kl,nl->n", phi, model.coupling, phi) / 2)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def counted(model: gibbs.Model, seed: int) -> Array:
    """(C, cells) of records whose chains start anywhere."""
    label = np.repeat([0, 1], N)
    start = np.column_stack(
        [np.random.default_rng(seed).integers(0, SIZES, (len(label), 3)), np.zeros(len(label))]
    )
    found = gibbs.draw(model, start.astype(np.int32), label, seed)
    assert found.shape == (len(label), len(SIZES))
    cell = np.ravel_multi_index(tuple(found.T), SIZES)
    return np.stack([np.bincount(cell[label == c], minlength=len(CELLS)) for c in range(2)]) / N


def dense(model: Fitted) -> MaximumEntropy:
    """The same, by couplings of bins."""
    theta = np.pad(model.values @ model.coupling @ model.values.T, (0, 1))
    b = np.pad(model.b, ((0, 0), (0, 1)))
    return MaximumEntropy(sizes=(*SIZES, 1), b=jnp.asarray(b), theta=jnp.asarray(np.stack([theta, theta])))


@pytest.mark.parametrize("seed", [0, 1])
def test_records_follow_the_model(seed: int) -> None:
    """Within what so many draws differ by; the negation: without couplings they are far away."""
    model, noise = fitted(0.5), 3 * np.sqrt(len(CELLS) / N) / 2
    expected = exact(model)
    for drawn in (counted(ScoreModel(model, SIZES), seed), counted(dense(model), seed)):
        assert (np.abs(drawn - expected).sum(axis=1) / 2 < noise).all()
    alone = counted(ScoreModel(fitted(0.0), SIZES), seed)
    assert (np.abs(alone - expected).sum(axis=1) / 2 > 3 * noise).all()


def test_the_same_seed_gives_the_same_records() -> None:
    model = ScoreModel(fitted(0.5), SIZES)
    np.testing.assert_array_equal(counted(model, 3), counted(model, 3))
    assert (counted(model, 3) != counted(model, 4)).any()
