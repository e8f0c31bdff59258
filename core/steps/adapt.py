"""Adapt: kernel inducing points, moved until a classifier on them predicts as the mixture does.

Second step of 3A in the paper, third here (Madl et al., Algorithm 1, Eq. 5-6), after Nguyen, Chen and Lee (2021).
Everything here is post-processing: it sees records drawn from the released mixture, never patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import enable_x64
from numpy.typing import ArrayLike

from cohortmix.core.steps.distributions.simplex import Array, simplex
from cohortmix.core.steps.kernel import kernel_ridge
from cohortmix.core.steps.progress import report
from cohortmix.core.steps.support import Support, require_pair, require_size

BATCH = 500  # targets of one step: with 2000 a classifier was no better, and took three times as long
PROJECT_EVERY = 5  # Adam steps of one compiled call; after each call the points are projected, outside of JAX
ROUNDING = 1e-14  # a row no further off the simplex than this stays bit for bit, so that alpha = 1 moves nothing


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
) -> Support:
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
    Support
        X_s and y_s.

    Raises
    ------
    ValueError
        There are fewer targets than points, shapes disagree, or `alpha` or `steps` is out of range.

    Notes
    -----
    Guarantee: post-processing. Targets are records *drawn from the released mixture* with its posterior as their
    labels; handed the records of patients, this function would leak them.
    """
    start = Support(np.asarray(points, np.float64), np.asarray(labels, np.float64), depth)
    x_t, y_t = np.asarray(target_points), np.asarray(target_labels)
    _require_training(start, x_t, y_t, alpha, steps)
    return _descend(start, x_t, y_t, blocks, alpha, _cosine_decay(learning_rate, steps), seed)


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
    """
    projected = np.array(x, dtype=np.float64)
    for block in blocks:
        projected[:, block] = simplex(projected[:, block], tolerance=ROUNDING)
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


@partial(jax.jit, static_argnames="depth")
def _adam(
    state: _Adam, x_0: jax.Array, x_t: jax.Array, y_t: jax.Array, rates: jax.Array, alpha: float, depth: int
) -> _Adam:
    """Take one Adam step for each minibatch: `x_t` is (k, BATCH, G), `y_t` (k, BATCH, C), `rates` (k,).

    beta_1 = 0.9, beta_2 = 0.999. In the order of Kingma and Ba's section 2, where 1e-8 is added before the bias of
    v is corrected: libraries add it afterwards, which gives other digits.
    """

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
            report("inducing points", first, len(rates))
            rate = rates[first : first + PROJECT_EVERY]
            rows = rng.integers(len(x_t), size=(len(rate), BATCH))
            state = _adam(state, start.points, x_t[rows], y_t[rows], rate, alpha, start.depth)
            projected = _Pair(
                jnp.asarray(project_simplex_blocks(state.value.points, blocks)),
                jnp.asarray(project_simplex_blocks(state.value.labels, classes)),
            )
            state = state._replace(value=projected)
        report("inducing points", len(rates), len(rates))
        return Support(np.asarray(state.value.points), np.asarray(state.value.labels), start.depth)


def _cosine_decay(learning_rate: float, steps: int) -> Array:
    return learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))


def _require_training(start: Support, x_t: Array, y_t: Array, alpha: float, steps: int) -> None:
    require_pair(x_t, y_t)
    require_size(len(start.points), len(x_t))
    expected, got = (start.points.shape[1], start.labels.shape[1]), (x_t.shape[1], y_t.shape[1])
    if expected != got:
        raise ValueError(
            f"Expected targets with the columns and classes of the support, (G, C)={expected}, got (G, C)={got}; "
            "encode both alike."
        )
    if not (0 <= alpha <= 1 and steps >= 0):
        raise ValueError(f"Expected alpha in [0, 1] and steps >= 0, got alpha={alpha}, steps={steps}.")
