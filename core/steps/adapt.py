"""Adapt: kernel inducing points, a few dozen labelled centroids that are a classifier by themselves.

The second A of 3A (Madl et al., ClustMix, Algorithm 1 and Eq. 6) after Nguyen, Chen and Lee (ICLR 2021).
Everything here is post-processing: it sees records drawn from the released mixture, never patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import enable_x64
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans

from cohortmix.core.steps.kernel import BATCH, kernel_ridge, ridge_predict

Array = NDArray[np.float64]

PROJECT_EVERY = 5
"""Adam steps between two projections onto the simplex."""


@dataclass(frozen=True, eq=False)
class Support:
    """The condensed set: kernel ridge regression on it is the classifier.

    Parameters
    ----------
    points : array of shape (S, G)
        Each row is a centroid: little histograms, laid side by side.
    labels : array of shape (S, C)
        Soft labels; each row is non-negative and sums to one.
    depth : int
        Hidden layers of the network behind the neural tangent kernel.

    Raises
    ------
    ValueError
        The shapes disagree, a point is not finite, or a row of labels is not a distribution.
    """

    points: Array
    labels: Array
    depth: int

    def __post_init__(self) -> None:
        _check_pair(self.points, self.labels)

    def decision(self, x: ArrayLike) -> Array:
        """Kernel ridge regression at the rows of `x`, shape (n, G); the (n, C) answers sum to one."""
        return ridge_predict(x, self.points, self.labels, self.depth)

    def predict_proba(self, x: ArrayLike) -> Array:
        """Class probabilities at the rows of `x`, shape (n, C): the decision, clipped at zero and normalised."""
        clipped = np.maximum(self.decision(x), 0)
        probability: Array = clipped / clipped.sum(axis=1, keepdims=True)
        return probability


@dataclass(frozen=True, eq=False)
class Adapted:
    """What `adapt` reached: the support, Eq. 6 over all targets before and after, and the drift.

    `moved` is ||X_s - X_0||_F / ||X_0||_F, the distance in units of the points' own norm.
    """

    support: Support
    initial_loss: float
    final_loss: float
    moved: float


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
    x, y = np.asarray(targets, np.float64), np.asarray(target_labels, np.float64)
    _check_pair(x, y)
    _check_size(size, len(x))
    joint = np.hstack([x, y * np.sqrt((x**2).sum(axis=1).mean())]).round(
        6
    )  # equal records, whatever their sums' order
    distinct = len(np.unique(joint, axis=0))
    assigned = KMeans(min(size, distinct), n_init=1, random_state=seed).fit(joint).labels_
    members = (assigned == np.unique(assigned)[:, None]).astype(np.float64)
    mixing = members / members.sum(axis=1, keepdims=True)
    return mixing @ x, mixing @ y


def adapt(
    points: ArrayLike,
    labels: ArrayLike,
    target_points: ArrayLike,
    target_labels: ArrayLike,
    *,
    blocks: Sequence[slice],
    alpha: float = 0.5,
    steps: int = 400,
    depth: int = 1,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> Adapted:
    """Move points and labels until kernel ridge regression on them predicts the targets (Eq. 6).

    L = alpha ||X_s - X_0||_F^2 / ||X_0||_F^2
        + (1 - alpha) 1/2 mean_t ||y_t - K_ts (K_ss + lambda I)^-1 y_s||^2

    alpha = 1 keeps the density and moves nothing, alpha = 0 serves the classifier alone. (One sentence of the
    paper says the reverse; this is its formula, with the mean over targets: a sum over thousands of them would
    leave alpha without meaning.) Adam on both X_s and y_s, on minibatches of the targets, the step decaying to
    zero along a cosine; each block of the points, and each label, is projected onto its simplex every 5 steps.

    Parameters
    ----------
    points : array of shape (S, G)
        X_0, the centroids to start from, with each block on the simplex; see `choose_support`.
    labels : array of shape (S, C)
        Their soft labels.
    target_points : array of shape (n, G)
        X_t: records drawn from the released mixture, n >= S.
    target_labels : array of shape (n, C)
        y_t: the mixture's posterior at those records.
    blocks : sequence of slices
        Columns of each histogram. Columns in none of them are free.
    alpha : float in [0, 1]
        Weight of staying where the density is.
    steps : int
        Adam steps.
    depth : int
        Hidden layers of the network behind the neural tangent kernel.
    learning_rate : float
        First step size of Adam, in units of a cell's mass.
    seed : int
        Seed of the minibatches.

    Returns
    -------
    Adapted

    Raises
    ------
    ValueError
        There are fewer targets than points, shapes disagree, or `alpha` or `steps` is out of range.

    Notes
    -----
    Guarantee: post-processing. Targets are records *drawn from the released mixture* with its posterior as their
    labels; handed the records of patients, this function would leak them.
    """
    x_0, y_0 = np.asarray(points, np.float64), np.asarray(labels, np.float64)
    x_t, y_t = np.asarray(target_points), np.asarray(target_labels)
    start = Support(x_0, y_0, depth)
    _check_training(x_0, y_0, x_t, y_t, alpha, steps)
    support = _descend(start, x_t, y_t, blocks, alpha, _cosine_decay(learning_rate, steps), seed)
    return Adapted(
        support=support,
        initial_loss=_loss_over_all(start, x_0, x_t, y_t, alpha),
        final_loss=_loss_over_all(support, x_0, x_t, y_t, alpha),
        moved=float(np.linalg.norm(support.points - x_0) / np.linalg.norm(x_0)),
    )


def project_simplex_blocks(x: ArrayLike, blocks: Sequence[slice]) -> Array:
    """Project each block of columns onto the probability simplex: the nearest non-negative row of sum one.

    Parameters
    ----------
    x : array of shape (n, G)
    blocks : sequence of slices
        Columns of each histogram, disjoint. Columns in none of them are returned as they are.

    Returns
    -------
    array of shape (n, G)

    Notes
    -----
    Held, Wolfe and Crowder, "Validation of subgradient optimization", 1974; Duchi et al., ICML 2008, Fig. 1.
    """
    projected = np.array(x, dtype=np.float64)
    for block in blocks:
        values = projected[:, block]
        descending = -np.sort(-values, axis=1)
        excess = (np.cumsum(descending, axis=1) - 1) / np.arange(1, values.shape[1] + 1)
        kept = (descending > excess).sum(axis=1)
        shift = excess[np.arange(len(values)), kept - 1, None]
        # A shift of rounding error is none: a row on the simplex comes back bit for bit, however often.
        projected[:, block] = np.maximum(values - np.where(np.abs(shift) < 1e-14, 0, shift), 0)
    return projected


class _Pair(NamedTuple):
    points: jax.Array
    labels: jax.Array


class _Adam(NamedTuple):
    """State of Adam (Kingma and Ba, ICLR 2015, Algorithm 1); `mean` and `square` are its m and v."""

    value: _Pair
    mean: _Pair
    square: _Pair
    step: jax.Array


def _loss(points: jax.Array, x_0: jax.Array, residual: jax.Array, alpha: float) -> jax.Array:
    """Eq. 6, with the mean over targets; `residual` is y_t minus its prediction, shape (n, C)."""
    drift = ((points - x_0) ** 2).sum() / (x_0**2).sum()
    return alpha * drift + (1 - alpha) * 0.5 * (residual**2).sum(axis=1).mean()


def _loss_over_all(support: Support, x_0: Array, x_t: Array, y_t: Array, alpha: float) -> float:
    residual = y_t - support.decision(x_t)
    with enable_x64():
        return float(_loss(jnp.asarray(support.points), jnp.asarray(x_0), jnp.asarray(residual), alpha))


@partial(jax.jit, static_argnames="depth")
def _adam(
    state: _Adam, x_0: jax.Array, x_t: jax.Array, y_t: jax.Array, rates: jax.Array, alpha: float, depth: int
) -> _Adam:
    """Take one Adam step for each minibatch: `x_t` is (k, BATCH, G), `y_t` (k, BATCH, C), `rates` (k,)."""

    def loss(value: _Pair, x: jax.Array, y: jax.Array) -> jax.Array:
        predicted = kernel_ridge(x, value.points, value.labels, depth)
        return _loss(value.points, x_0, y - predicted, alpha)

    def update(state: _Adam, batch: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[_Adam, None]:
        x, y, rate = batch
        gradient = jax.grad(loss)(state.value, x, y)
        step = state.step + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.square, gradient)
        size = rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-8), state.value, mean, square)
        return _Adam(value, mean, square, step), None

    return jax.lax.scan(update, state, (x_t, y_t, rates))[0]


def _descend(
    start: Support, x_t: Array, y_t: Array, blocks: Sequence[slice], alpha: float, rates: Array, seed: int
) -> Support:
    """Projected Adam from `start`; minibatches are drawn with replacement, so any n has the same shapes."""
    rng = np.random.default_rng(seed)
    classes = [slice(0, start.labels.shape[1])]
    with enable_x64():
        value = _Pair(jnp.asarray(start.points), jnp.asarray(start.labels))
        zero = jax.tree.map(jnp.zeros_like, value)
        state = _Adam(value, zero, zero, jnp.asarray(0.0))
        for first in range(0, len(rates), PROJECT_EVERY):
            rate = rates[first : first + PROJECT_EVERY]
            rows = rng.integers(len(x_t), size=(len(rate), BATCH))
            state = _adam(state, start.points, x_t[rows], y_t[rows], rate, alpha, start.depth)
            projected = _Pair(
                jnp.asarray(project_simplex_blocks(state.value.points, blocks)),
                jnp.asarray(project_simplex_blocks(state.value.labels, classes)),
            )
            state = state._replace(value=projected)
        return Support(np.asarray(state.value.points), np.asarray(state.value.labels), start.depth)


def _cosine_decay(learning_rate: float, steps: int) -> Array:
    return learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))


def _check_size(size: int, targets: int) -> None:
    if not 1 <= size <= targets:
        raise ValueError(
            f"Expected between one support point and as many as there are targets, got size={size}, "
            f"targets={targets}; draw more records from the mixture, or ask for fewer points."
        )


def _check_pair(points: Array, labels: Array) -> None:
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


def _check_training(x_0: Array, y_0: Array, x_t: Array, y_t: Array, alpha: float, steps: int) -> None:
    _check_pair(x_t, y_t)
    _check_size(len(x_0), len(x_t))
    if (x_0.shape[1], y_0.shape[1]) != (x_t.shape[1], y_t.shape[1]):
        raise ValueError(
            "Expected targets with the columns and classes of the support, "
            f"(G, C)={(x_0.shape[1], y_0.shape[1])}, got (G, C)={(x_t.shape[1], y_t.shape[1])}; encode both alike."
        )
    if not (0 <= alpha <= 1 and steps >= 0):
        raise ValueError(f"Expected alpha in [0, 1] and steps >= 0, got alpha={alpha}, steps={steps}.")
