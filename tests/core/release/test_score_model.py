"""Records of a model of scores follow it: against all cells of a small one, and dense couplings of bins."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of
from cohortmix.core.release import gibbs
from cohortmix.core.release.maximum_entropy import MaximumEntropy
from cohortmix.core.release.score_model import ScoreModel
from cohortmix.core.steps.scores.couplings import Fitted
from cohortmix.core.steps.scores.sweep import sweep

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


@dataclass
class Counted:
    """A model that counts the sweeps of all its chains."""

    model: ScoreModel
    sweeps: int = 0
    sites: list[NDArray[np.int32]] = field(default_factory=list)

    @property
    def classes(self) -> int:
        return self.model.classes

    def settled(self, codes: gibbs.Codes, c: int, size: int, sweeps: int, key: jax.Array) -> gibbs.Codes:
        self.sweeps += sweeps * len(codes)
        self.sites.append(codes[:, -1])
        return self.model.settled(codes, c, size, sweeps, key)

    def last(self, codes: gibbs.Codes, c: int, rng: np.random.Generator) -> gibbs.Codes:
        return self.model.last(codes, c, rng)


def test_a_chain_gives_several_records_of_a_large_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """They follow the model as those of fewer chains may; the negation: of as many chains, ten sweeps for each."""
    model, each = fitted(0.5), Counted(ScoreModel(fitted(0.5), SIZES))
    counted(each, 0)
    assert each.sweeps == gibbs.BURN_IN * 2 * N
    monkeypatch.setattr(gibbs, "CHAINS", 3_000)  # seven records of each, of the last ones six
    several = Counted(ScoreModel(model, SIZES))
    off = np.abs(counted(several, 0) - exact(model)).sum(axis=1) / 2
    assert (off < 3 * np.sqrt(len(CELLS) / gibbs.CHAINS) / 2).all()
    chains = 2 * -(-N // 7)
    assert several.sweeps == gibbs.BURN_IN * chains + gibbs.BETWEEN * (2 * N - chains)


def test_records_of_a_chain_are_of_one_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record keeps the site that it starts with; of S sites, chains of S - 1 at most go from one to the next."""
    monkeypatch.setattr(gibbs, "CHAINS", 100)
    model, rng = Counted(ScoreModel(fitted(0.5), SIZES)), np.random.default_rng(0)
    start = np.column_stack([rng.integers(0, SIZES, (400, 3)), rng.integers(0, 3, 400)]).astype(np.int32)
    gibbs.draw(model, start, np.zeros(400, dtype=np.int64), 0)
    np.testing.assert_array_equal(np.sort(np.concatenate(model.sites)), np.sort(start[:, -1]))
    assert (np.ptp(np.stack(model.sites), axis=0) > 0).sum() <= 2


def test_expected_scores_have_the_moments_of_the_model_and_less_variance() -> None:
    """The product of a score and one drawn later: by its mean given the rest, and by what was drawn."""
    model, each = fitted(0.5), ScoreModel(fitted(0.5), SIZES)
    values, coupling = each._placed
    b, rows = each._layout.of_bins(model.b[:1]), each._layout.row
    phi, found = jnp.zeros((each._layout.rows, 2_000)), []
    for at in range(80):
        swept = sweep(phi, b, coupling, jax.random.key(at), values)
        phi = swept.phi
        found.append([np.asarray(phi @ of.T)[rows][:, rows] / phi.shape[1] for of in (swept.expected, phi)])
    by_mean, drawn = np.array(found[20:]).swapaxes(0, 1)
    of_cells = model.values[np.array(CELLS) + [block.start for block in blocks_of(SIZES)]].sum(axis=1)
    second = np.einsum("n,nk,nl->kl", exact(model)[0], of_cells, of_cells)
    once = (rows[:, None] < rows) & (COLUMNS[:, None] != COLUMNS)
    noise = 4 * drawn.std(axis=0)[once] / np.sqrt(len(drawn) / 4)  # sweeps of the same chains go together
    assert (np.abs(by_mean.mean(axis=0) - second)[once] < noise).all()
    assert (np.abs(by_mean.mean(axis=0) - second)[once.T] > 10 * noise).any(), "of one drawn before, it is another"
    assert (by_mean.var(axis=0) < 0.8 * drawn.var(axis=0))[once].all()
