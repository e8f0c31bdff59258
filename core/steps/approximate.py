"""Approximate: a size-constrained mixture, fitted to noised moments by the method of moments.

The model of a record is `sum_k w_k q_k(y) prod_j h_kj(x_j)`: K components, block-diagonal within a component,
each block a histogram over the groups of one feature. Its class-conditional second moment has the closed form
`P_c = sum_k w_k q_k(c) h_k h_k^T`, which is matched to answer B, and its class margins to answer A, each
weighted by its known noise. Only released values enter, so nothing here can cost privacy.

Size constraint (the paper's p(s), Eq. 2-3): every component of a fit keeps at least `l_min = s_B / sigma_max`
patients, so that the noise of one of its cells stays below sigma_max of its mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.example_libraries.optimizers import adam
from numpy.typing import NDArray
from scipy.special import softmax

from cohortmix.core.data.encoding import blocks_of
from cohortmix.core.steps.plan import l_min

STEPS, MORE_STEPS, CHUNK = 1200, 2400, 50
LEARNING_RATE = 0.1
ENOUGH, TOO_MUCH = 0.7, 1.2  # chi^2 per cell: stop below the first; above the second go on after STEPS


@dataclass(frozen=True, eq=False)
class Moments:
    """What a mixture is fitted to; all released.

    Attributes
    ----------
    pairs : (C, G, G) patients per class and pair of groups, symmetric, zero within a feature.
    s_b : standard deviation of a cell of `pairs`, in patients.
    margins : (C, G) patients per class and group.
    margins_std : (G,) their standard deviations.
    masses : (C,) patients per class.
    sizes : groups per feature.
    known : (C, D, D) share of a class's patients of whom two features are known, whom alone `pairs` counts; None
        where all are. The margins are scaled to all patients.
    """

    pairs: NDArray[np.float64]
    s_b: float
    margins: NDArray[np.float64]
    margins_std: NDArray[np.float64]
    masses: NDArray[np.float64]
    sizes: tuple[int, ...]
    known: NDArray[np.float64] | None = None

    @property
    def patients(self) -> float:
        """n of these classes."""
        return float(self.masses.sum())


@dataclass(frozen=True, eq=False)
class Mixture:
    """Centroids of several averaged fits.

    Attributes
    ----------
    weights : (K,) patients of each centroid, summing to n.
    means : (K, G) histograms, blocks side by side.
    labels : (K, C) class distributions.
    fits : number of fits averaged; a fit's components hold K / fits centroids.
    chi2 : (fits,) mean squared residual per cell, in units of its noise.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    labels: NDArray[np.float64]
    fits: int
    chi2: NDArray[np.float64]


def fit(moments: Moments, *, k: int, fits: int, seed: int) -> Mixture:
    """Fit `fits` mixtures of `k` components each, and average them.

    Parameters
    ----------
    moments : the released moments.
    k, fits : public functions of n, mu and the schema.
    seed : of the random starts.

    Returns
    -------
    Mixture
        with K = k * fits centroids of at least `l_min / fits` patients each.
    """
    target = _Target.of(moments)
    floor = min(l_min(moments.s_b) / moments.patients, 1 / k)
    keys = jax.random.split(jax.random.key(seed), fits)
    state = _INIT(jax.vmap(partial(_start, target, k))(keys))
    chi2 = np.full(fits, np.inf)
    for first in range(0, MORE_STEPS, CHUNK):
        active = chi2 > (ENOUGH if first < STEPS else TOO_MUCH)
        if not active.any():
            break
        state, measured = _advance(state, jnp.asarray(active), first, jnp.float32(floor), target)
        chi2 = np.where(active, np.asarray(measured), chi2)
    w, q, h = jax.vmap(partial(_shape, jnp.float32(floor), target.sizes))(_PARAMS(state))
    return Mixture(
        np.asarray(w, np.float64).ravel() * moments.patients / fits,
        np.asarray(h, np.float64).reshape(fits * k, -1),
        np.asarray(q, np.float64).reshape(fits * k, -1),
        fits,
        chi2,
    )


def posterior(mixture: Mixture, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """p(y | x) under the mixture: records `x` (n, G), one-hot blocks, to (n, C).

    Bayes' rule, p(k | x) proportional to w_k prod_j h_kj(x_j), then the mean of q_k.
    """
    log_h = np.log(np.maximum(mixture.means, 1e-12)).T.astype(np.float32)
    log_w = np.log(mixture.weights / mixture.weights.sum()).astype(np.float32)
    out = [
        softmax(part @ log_h + log_w, axis=1).astype(np.float64) @ mixture.labels
        for part in np.array_split(x, max(1, len(x) // 4096))
    ]
    return np.asarray(np.concatenate(out))


def _rate(step: jax.Array) -> jax.Array:
    """Cosine from LEARNING_RATE to a twentieth of it at STEPS, then constant."""
    turn = jnp.cos(jnp.pi * jnp.minimum(step / STEPS, 1.0))
    return LEARNING_RATE * jnp.maximum(0.5 * (1 + turn), 0.05)


_INIT, _UPDATE, _PARAMS = adam(_rate)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["pairs", "known", "cells", "margins", "margins_weight", "classes", "scale"],
    meta_fields=["sizes"],
)
@dataclass(frozen=True)
class _Target:
    """The moments in units of one pair cell's noise."""

    pairs: jax.Array  # (C, G, G)
    known: jax.Array  # (C, G, G), share of whom both are known; 0 within a feature
    cells: jax.Array  # number of pair cells
    margins: jax.Array  # (C, G)
    margins_weight: jax.Array  # (G,)
    classes: jax.Array  # (C,) shares
    scale: jax.Array  # n / s_b
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, m: Moments) -> _Target:
        feature = np.repeat(np.arange(len(m.sizes)), m.sizes)
        mask = np.broadcast_to(feature[:, None] != feature[None, :], m.pairs.shape)
        known = mask if m.known is None else mask * m.known[:, feature][:, :, feature]
        single = partial(jnp.asarray, dtype=jnp.float32)
        return cls(
            single(m.pairs / m.s_b),
            single(known),
            single(mask.sum()),
            single(m.margins / m.s_b),
            single(m.s_b / m.margins_std),
            single(m.masses / m.patients),
            single(m.patients / m.s_b),
            tuple(m.sizes),
        )


def _start(target: _Target, k: int, key: jax.Array) -> Any:
    """Logits of w, q and h: the margins, disturbed so that components part."""
    of_h, of_q = jax.random.split(key)
    pooled = jnp.maximum(target.margins.sum(axis=0), 1.0)
    spread = jax.random.normal(of_h, (k, pooled.shape[0]), jnp.float32)
    labels = jax.random.normal(of_q, (k, target.classes.shape[0]), jnp.float32)
    q = jnp.log(jnp.maximum(target.classes, 1e-4))
    return jnp.zeros(k, jnp.float32), q + labels, jnp.log(pooled) + spread


def _shape(floor: jax.Array, sizes: tuple[int, ...], logits: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """w (K,) under the size constraint, q (K, C) and h (K, G)."""
    a, b, c = logits
    w = floor + (1 - floor * a.shape[0]) * jax.nn.softmax(a)
    h = jnp.concatenate([jax.nn.softmax(c[:, block], axis=1) for block in blocks_of(sizes)], axis=1)
    return w, jax.nn.softmax(b, axis=1), h


def _loss(logits: Any, floor: jax.Array, target: _Target) -> tuple[jax.Array, jax.Array]:
    """Mean squared residual in units of the noise, of pairs and margins; and of the pairs alone."""
    w, q, h = _shape(floor, target.sizes, logits)
    weighted = jnp.einsum("k,kc,kg->ckg", w * target.scale, q, h)
    pairs = jnp.einsum("ckg,kh->cgh", weighted, h) * target.known - target.pairs
    margins = (weighted.sum(axis=1) - target.margins) * target.margins_weight
    squares = (pairs**2).sum()
    return (squares + 2 * (margins**2).sum()) / target.cells, squares / target.cells


@jax.jit
def _advance(
    state: Any, active: jax.Array, first: int, floor: jax.Array, target: _Target
) -> tuple[Any, jax.Array]:
    """CHUNK Adam steps of every active fit; and each fit's chi^2 before the last of them."""
    gradient = jax.vmap(jax.grad(_loss, has_aux=True), in_axes=(0, None, None))

    def step(i: Any, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        moved, _ = carry
        slope, chi2 = gradient(_PARAMS(moved), floor, target)
        return _UPDATE(first + i, slope, moved), chi2

    moved, chi2 = jax.lax.fori_loop(0, CHUNK, step, (state, jnp.zeros(len(active), jnp.float32)))
    keep = jax.tree.map(lambda new, old: jnp.where(_like(active, new), new, old), moved, state)
    return keep, chi2


def _like(active: jax.Array, leaf: jax.Array) -> jax.Array:
    return active.reshape(-1, *[1] * (leaf.ndim - 1))
