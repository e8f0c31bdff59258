"""Kernel inducing points: Eq. 6 as written, lowered, and held back by alpha."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from kernels import ntk
from numpy.typing import NDArray
from paired_columns import BLOCKS, SIZE, draw

from cohortmix.core.steps.adapt import adapt
from cohortmix.core.steps.adapting.descent import project_simplex_blocks
from cohortmix.core.steps.support import Support, choose_support

Array = NDArray[np.float64]


@cache
def adapted(alpha: float, classes: int = 2, seed: int = 0) -> Support:
    targets, posterior = draw(1_500, classes, seed=1)
    points, labels = choose_support(targets, posterior, size=SIZE, seed=0)
    return adapt(points, labels, targets, posterior, blocks=BLOCKS, alpha=alpha, steps=150, seed=seed)


def squared_error(support: Support, classes: int = 2) -> float:
    records, posterior = draw(4_000, classes, seed=2)
    return float(((support.predict_proba(records) - posterior) ** 2).sum(axis=1).mean())


def agreement(support: Support, classes: int = 2) -> float:
    records, posterior = draw(4_000, classes, seed=2)
    return float((support.predict_proba(records).argmax(1) == posterior.argmax(1)).mean())


def start(classes: int = 2) -> Support:
    return Support(*choose_support(*draw(1_500, classes, seed=1), size=SIZE, seed=0), depth=1)


def equation_6(support: Support, alpha: float) -> float:
    """The paper's formula, word for word, with labels centred on their mean and the mean over targets."""
    x_s, x_0, (x_t, y_t) = support.points, start().points, draw(1_500, 2, seed=1)
    prior = support.labels.mean(0)
    k_ss, k_ts = ntk(x_s), ntk(x_t, x_s)
    inverse = np.linalg.inv(k_ss + 1e-3 * np.trace(k_ss) / len(x_s) * np.eye(len(x_s)))
    krr = 0.5 * np.linalg.norm(y_t - prior - k_ts @ inverse @ (support.labels - prior)) ** 2 / len(x_t)
    density = np.trace((x_s - x_0).T @ (x_s - x_0)) / np.trace(x_0.T @ x_0)
    return float(alpha * density + (1 - alpha) * krr)


def drift(support: Support) -> float:
    """How far points moved, in units of the norm of those that they started from."""
    x_0 = start().points
    return float(np.linalg.norm(support.points - x_0) / np.linalg.norm(x_0))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_adapt_lowers_equation_6(alpha: float) -> None:
    assert equation_6(adapted(alpha), alpha) < 0.8 * equation_6(start(), alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_each_alpha_has_its_own_optimum(alpha: float) -> None:
    """What was adapted for this alpha has a smaller loss at it than what was adapted for another."""
    assert equation_6(adapted(alpha), alpha) < min(
        equation_6(adapted(other), alpha) for other in {0.0, 0.9} - {alpha}
    )


def test_alpha_one_moves_nothing() -> None:
    last, first = adapted(1.0), start()
    np.testing.assert_array_equal(last.points, first.points)
    np.testing.assert_array_equal(last.labels, first.labels)
    assert drift(adapted(0.9)) > 1e-3


def test_drift_is_smaller_the_larger_alpha() -> None:
    classifier, between, density = (drift(adapted(alpha)) for alpha in (0.0, 0.5, 0.9))
    assert classifier > 1.5 * between
    assert between > 1.5 * density


@pytest.mark.parametrize("classes", [2, 3])
def test_support_classifies_better_than_its_start(classes: int) -> None:
    first, last = start(classes), adapted(0.5, classes)
    assert agreement(last, classes) > agreement(first, classes) + 0.1
    assert squared_error(last, classes) < 0.8 * squared_error(first, classes)


@pytest.mark.parametrize("classes", [2, 3])
def test_support_stays_in_the_encoded_space(classes: int) -> None:
    support = adapted(0.0, classes)
    for histogram in [*(support.points[:, block] for block in BLOCKS), support.labels]:
        assert histogram.min() >= 0
        np.testing.assert_allclose(histogram.sum(axis=1), 1, atol=1e-12)


def test_same_seed_same_support_and_another_seed_another() -> None:
    once, again, other = adapted(0.5), adapted.__wrapped__(0.5), adapted(0.5, seed=1)
    np.testing.assert_array_equal(once.points, again.points)
    np.testing.assert_array_equal(once.labels, again.labels)
    assert np.abs(once.points - other.points).max() > 1e-6


def random_rows(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.vstack([rng.normal(size=(40, 9)), rng.normal(scale=20, size=(10, 9)), np.zeros((1, 9))])


RAGGED = [slice(0, 1), slice(1, 4), slice(4, 9)]


def test_projection_lands_on_the_simplex_and_stays() -> None:
    once = project_simplex_blocks(random_rows(0), RAGGED)
    for block in RAGGED:
        assert once[:, block].min() >= 0
        np.testing.assert_allclose(once[:, block].sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(project_simplex_blocks(once, RAGGED), once)
    np.testing.assert_array_equal(project_simplex_blocks(random_rows(0), RAGGED[:2])[:, 4:], random_rows(0)[:, 4:])


def test_projection_is_nearer_than_any_point_of_a_grid() -> None:
    fine = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in fine for b in fine if a + b <= 1 + 1e-9])
    rows = random_rows(1)[:, 1:4]
    projected = project_simplex_blocks(rows, [slice(0, 3)])
    squared = ((rows[:, None] - grid) ** 2).sum(-1)
    assert (((rows - projected) ** 2).sum(1) <= squared.min(1) + 1e-9).all()
    assert np.abs(projected - grid[squared.argmin(1)]).max() < 0.02
    clipped = np.maximum(rows, 1e-9) / np.maximum(rows, 1e-9).sum(axis=1, keepdims=True)
    assert (((rows - clipped) ** 2).sum(1) > squared.min(1) + 1e-3).mean() > 0.5


def test_input_that_does_not_fit_is_refused() -> None:
    targets, posterior = draw(20, 2, seed=1)
    points, labels = targets[:5], posterior[:5]
    with pytest.raises(ValueError, match=r"size=11, targets=10; draw more records"):
        adapt(*draw(11, 2, seed=2), targets[:10], posterior[:10], blocks=BLOCKS)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        adapt(points, labels, targets, posterior, blocks=BLOCKS, alpha=1.5)
    with pytest.raises(ValueError, match=r"\(G, C\)=\(23, 2\)"):
        adapt(points, labels, targets[:, 1:], posterior, blocks=BLOCKS)
