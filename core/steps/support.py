"""The support set: a few dozen labelled points that are a classifier by themselves, and where they start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cohortmix.core.steps.adapting.constraint import Reached
from cohortmix.core.steps.distributions.simplex import Array
from cohortmix.core.steps.kernel import ridge_predict


@dataclass(frozen=True, eq=False)
class Support:
    """The condensed set (X_s, y_s): kernel ridge regression on it is the classifier (Eq. 5).

    Parameters
    ----------
    points : array of shape (S, G)
        X_s; each row is a centroid: small histograms, laid side by side.
    labels : array of shape (S, C)
        y_s, soft labels; each row is non-negative and sums to one.
    depth : int
        Hidden layers of the network behind the neural tangent kernel.
    constraints : tuple of Reached
        What became of the constraints under which the points were adapted; none without.

    Raises
    ------
    ValueError
        The shapes disagree, a point is not finite, or a row of labels is not a distribution.
    """

    points: Array
    labels: Array
    depth: int
    constraints: tuple[Reached, ...] = ()

    def __post_init__(self) -> None:
        require_pair(self.points, self.labels)

    def decision(self, x: ArrayLike) -> Array:
        """Kernel ridge regression at the rows of `x`, shape (n, G); the (n, C) answers sum to one."""
        return ridge_predict(x, self.points, self.labels, self.depth)

    def predict_proba(self, x: ArrayLike) -> Array:
        """Class probabilities at the rows of `x`, shape (n, C): the decision, clipped at zero and normalised."""
        clipped = np.maximum(self.decision(x), 0)
        probability: Array = clipped / clipped.sum(axis=1, keepdims=True)
        return probability


def choose_support(targets: ArrayLike, target_labels: ArrayLike, *, size: int, seed: int) -> tuple[Array, Array]:
    """Choose the first support points: the k-means centres of records and their labels.

    Records are clustered together with their soft labels, which are scaled to the norm of a record: a centre
    then stands for records that are alike in both, and few centres straddle the decision boundary.

    Parameters
    ----------
    targets : array of shape (n, G)
        Records drawn from the released mixture, one-hot.
    target_labels : array of shape (n, C)
        Their soft labels.
    size : int
        Points to choose, S <= n. Fewer come back where fewer records are distinct.
    seed : int
        Seed of k-means.

    Returns
    -------
    points, labels : arrays of shape (S, G) and (S, C)
        Means of the records and of the soft labels in each cluster.

    Raises
    ------
    ValueError
        There are fewer targets than points, or the shapes disagree.

    Notes
    -----
    Guarantee: post-processing, of draws from a released mixture.
    """
    # Imported here: it takes longer than all else that a daemon or a coordinator loads at its start.
    from sklearn.cluster import KMeans

    x, y = np.asarray(targets, np.float64), np.asarray(target_labels, np.float64)
    require_pair(x, y)
    require_size(size, len(x))
    scale = np.sqrt((x**2).sum(axis=1).mean())
    joint = np.hstack([x, y * scale]).round(6)  # equal records are equal whatever the order of their sums
    distinct = len(np.unique(joint, axis=0))
    cluster = KMeans(min(size, distinct), n_init=1, random_state=seed).fit(joint).labels_
    members = (cluster == np.unique(cluster)[:, None]).astype(np.float64)
    mixing = members / members.sum(axis=1, keepdims=True)
    return mixing @ x, mixing @ y


def require_size(size: int, targets: int) -> None:
    """Raise ValueError unless there are as many targets as points, or more."""
    if not 1 <= size <= targets:
        raise ValueError(
            f"Expected between one support point and as many as there are targets, got size={size}, "
            f"targets={targets}; draw more records from the mixture, or ask for fewer points."
        )


def require_pair(points: Array, labels: Array) -> None:
    """Raise ValueError unless the points are finite, and there is a distribution over classes for each."""
    if points.ndim != 2 or labels.ndim != 2 or len(points) != len(labels) or len(points) == 0:
        raise ValueError(
            "Expected points of shape (S, G) and labels of shape (S, C), one row of labels for each point, "
            f"got points.shape={points.shape}, labels.shape={labels.shape}."
        )
    if not (np.isfinite(points).all() and (labels >= 0).all() and np.allclose(labels.sum(axis=1), 1, atol=1e-4)):
        raise ValueError(
            "Expected finite points and soft labels whose rows are non-negative and sum to one, got others; "
            "pass the posterior of each class."
        )
