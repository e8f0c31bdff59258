"""The support set: where it starts from, and the classifier that it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.steps.support import Support, choose_support

Array = NDArray[np.float64]

COLUMNS, VALUES, SIZE = 6, 4, 20


def draw(n: int, classes: int, seed: int) -> tuple[Array, Array]:
    """One-hot records, and the posterior of classes that go with their first columns."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(VALUES, size=(n, COLUMNS), p=[0.4, 0.3, 0.2, 0.1])
    odds = np.exp(1.5 * (codes[:, :classes] < 1))
    return np.eye(VALUES)[codes].reshape(n, -1), odds / odds.sum(axis=1, keepdims=True)


def chosen(classes: int) -> Support:
    return Support(*choose_support(*draw(1_500, classes, seed=1), size=SIZE, seed=0), depth=1)


# The classifier


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_the_clipped_decision(classes: int) -> None:
    support = chosen(classes)
    corners = np.tile(np.eye(VALUES), (1, COLUMNS))
    x = np.vstack([draw(2_500, classes, seed=3)[0], corners])
    decision, probability = support.decision(x), support.predict_proba(x)
    assert probability.shape == (len(x), classes)
    assert probability.min() >= 0
    np.testing.assert_allclose(decision.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-12)
    inside = (decision >= 0).all(axis=1)
    np.testing.assert_allclose(probability[inside], decision[inside], atol=1e-9)


def test_a_row_is_classified_alike_in_any_company() -> None:
    support, x = chosen(2), draw(2_500, 2, seed=3)[0]
    np.testing.assert_allclose(support.decision(x)[2_400:], support.decision(x[2_400:]), atol=1e-12)
    assert support.decision(x[:0]).shape == (0, 2)


# Where it starts


def test_support_points_are_means_of_their_records() -> None:
    targets, posterior = draw(1_500, 3, seed=1)
    points, labels = choose_support(targets, posterior, size=SIZE, seed=0)
    assert (points.shape, labels.shape) == ((SIZE, targets.shape[1]), (SIZE, 3))
    np.testing.assert_allclose(points.reshape(SIZE, COLUMNS, VALUES).sum(axis=2), 1)
    np.testing.assert_allclose(labels.sum(axis=1), 1)
    whole, prior = choose_support(targets, posterior, size=1, seed=0)
    np.testing.assert_allclose(whole[0], targets.mean(0))
    np.testing.assert_allclose(prior[0], posterior.mean(0))


def test_few_distinct_records_give_as_many_points() -> None:
    records, posterior = np.repeat(np.eye(3), 10, axis=0), np.repeat(np.eye(3)[:, :2], 10, axis=0)
    posterior[20:] = 0.5
    points, labels = choose_support(records, posterior, size=20, seed=0)
    order = np.argsort(-points @ [2.0, 1.0, 0.0])
    np.testing.assert_allclose(points[order], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(labels[order], [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], atol=1e-12)


def test_input_that_does_not_fit_is_refused() -> None:
    points, labels = draw(10, 2, seed=1)
    with pytest.raises(ValueError, match=r"size=11, targets=10; draw more records"):
        choose_support(points, labels, size=11, seed=0)
    with pytest.raises(ValueError, match=r"labels.shape=\(4, 2\)"):
        Support(points, labels[:4], depth=1)
    with pytest.raises(ValueError, match="sum to one"):
        Support(points, 2 * labels, depth=1)
