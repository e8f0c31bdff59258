"""The descent of Adapt: projected Adam on the inducing points and their labels, with or without constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import enable_x64
from numpy.typing import ArrayLike

from cohortmix.core.steps.adapting.lagrangian import Bound, Held, Kind, Multipliers, drift, figure, penalty
from cohortmix.core.steps.distributions.simplex import Array, simplex
from cohortmix.core.steps.kernel import kernel_ridge
from cohortmix.core.steps.progress import report
from cohortmix.core.steps.support import Support

BATCH = 500  # targets of one step: with 2000 a classifier was no better, and took three times as long
PROJECT_EVERY = 5  # Adam steps of one compiled call; after each call the points are projected, outside of JAX
LOOK_EVERY = 10  # Adam steps between two updates of the multipliers of constraints: four compiled calls
ROUNDING = 1e-14  # a row no further off the simplex than this stays bit for bit, so that alpha = 1 moves nothing


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


class _Minibatches(NamedTuple):
    """Minibatches of targets, one for each step: (k, BATCH, G), (k, BATCH, C), and weights (k, BATCH, m)."""

    x: Any  # of NumPy where they are made, of JAX where they are used
    y: Any
    weights: Any


def _loss(moved: jax.Array, residual: jax.Array, alpha: float) -> jax.Array:
    """Eq. 6, with the mean over targets; `residual` is y_t minus its prediction, shape (n, C)."""
    return alpha * moved + (1 - alpha) * 0.5 * (residual**2).sum(axis=1).mean()


@partial(jax.jit, static_argnames=("depth", "kinds"))
def _adam(
    state: _Adam,
    x_0: jax.Array,
    minibatches: _Minibatches,
    rates: jax.Array,
    alpha: float,
    depth: int,
    kinds: tuple[Kind, ...] = (),
    held: Held | None = None,
) -> _Adam:
    """Take one Adam step for each minibatch; `rates` is (k,).

    beta_1 = 0.9, beta_2 = 0.999. In the order of Kingma and Ba's section 2, where 1e-8 is added before the bias of
    v is corrected: libraries add it afterwards, which gives other digits.
    """

    def loss(value: _Pair, batch: _Minibatches) -> jax.Array:
        predicted = kernel_ridge(batch.x, value.points, value.labels, depth)
        moved = drift(value.points, x_0)
        total = _loss(moved, batch.y - predicted, alpha)
        return total if held is None else total + penalty(kinds, held, moved, batch.y, predicted, batch.weights)

    def update(state: _Adam, step_of: tuple[_Minibatches, jax.Array]) -> tuple[_Adam, None]:
        batch, rate = step_of
        gradient = jax.grad(loss)(state.value, batch)
        step = state.step + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.square, gradient)
        size = rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-8), state.value, mean, square)
        return _Adam(value, mean, square, step), None

    return jax.lax.scan(update, state, (minibatches, rates))[0]


class _Descent:
    """Projected Adam from `start`; minibatches are drawn with replacement, so any n has the same shapes.

    To be used within `enable_x64()`.
    """

    def __init__(
        self, start: Support, targets: _Minibatches, blocks: Sequence[slice], alpha: float, rates: Array, seed: int
    ) -> None:
        self._start, self._targets, self._blocks = start, targets, blocks
        self._alpha, self._rates, self._rng = alpha, rates, np.random.default_rng(seed)
        value = _Pair(jnp.asarray(start.points), jnp.asarray(start.labels))
        zero = jax.tree.map(jnp.zeros_like, value)
        self._state = _Adam(value, zero, zero, jnp.asarray(0.0))

    @property
    def support(self) -> Support:
        """The points as they are now."""
        value = self._state.value
        return Support(np.asarray(value.points), np.asarray(value.labels), self._start.depth)

    def advance(self, first: int, kinds: tuple[Kind, ...] = (), held: Held | None = None) -> None:
        """Take PROJECT_EVERY steps from step `first`, then project."""
        report("inducing points", first, len(self._rates))
        rate = self._rates[first : first + PROJECT_EVERY]
        rows = self._rng.integers(len(self._targets.x), size=(len(rate), BATCH))
        minibatches = _Minibatches(*(part[rows] for part in self._targets))
        state = _adam(
            self._state, self._start.points, minibatches, rate, self._alpha, self._start.depth, kinds, held
        )
        classes = [slice(0, self._start.labels.shape[1])]
        projected = _Pair(
            jnp.asarray(project_simplex_blocks(state.value.points, self._blocks)),
            jnp.asarray(project_simplex_blocks(state.value.labels, classes)),
        )
        self._state = state._replace(value=projected)


def descend(
    start: Support, x_t: Array, y_t: Array, blocks: Sequence[slice], alpha: float, rates: Array, seed: int
) -> Support:
    """All steps, without constraints."""
    with enable_x64():
        descent = _Descent(start, _Minibatches(x_t, y_t, np.zeros((len(x_t), 0))), blocks, alpha, rates, seed)
        for first in range(0, len(rates), PROJECT_EVERY):
            descent.advance(first)
        report("inducing points", len(rates), len(rates))
        return descent.support


def descend_held(
    start: Support,
    x_t: Array,
    y_t: Array,
    blocks: Sequence[slice],
    alpha: float,
    rates: Array,
    seed: int,
    multipliers: Multipliers,
) -> Support:
    """All steps, with a look at the exact figures every LOOK_EVERY of them, at the start and at the end."""
    weights = np.stack([bound.weights for bound in multipliers.bounds], axis=1)
    chosen: tuple[tuple[float, float], Array, Support] | None = None
    with enable_x64():
        descent = _Descent(start, _Minibatches(x_t, y_t, weights), blocks, alpha, rates, seed)
        for first in range(0, len(rates) + 1, PROJECT_EVERY):
            last = first >= len(rates)
            if first % LOOK_EVERY == 0 or last:
                found, loss = _figures(descent.support, start, x_t, y_t, alpha, multipliers.bounds)
                held, rank = multipliers.update(found), (multipliers.violation(found), loss)
                if chosen is None or rank < chosen[0]:
                    chosen = rank, found, descent.support
            if not last:
                descent.advance(first, multipliers.kinds, held)
        report("inducing points", len(rates), len(rates))
    assert chosen is not None
    return replace(chosen[2], constraints=multipliers.reached(chosen[1]))


def _figures(
    now: Support, start: Support, x_t: Array, y_t: Array, alpha: float, bounds: Sequence[Bound]
) -> tuple[Array, float]:
    """The exact figure of each bound on all targets, (m,), and Eq. 6 on them."""
    y, predicted = jnp.asarray(y_t), jnp.asarray(now.decision(x_t))
    moved = drift(jnp.asarray(now.points), jnp.asarray(start.points))
    found = [float(figure(bound.kind, moved, y, predicted, jnp.asarray(bound.weights))) for bound in bounds]
    return np.array(found), float(_loss(moved, y - predicted, alpha))
