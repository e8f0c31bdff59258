"""Approximate: a size-constrained mixture (Eq. 1-3), fitted to noised moments by the method of moments.

The model of a record is `sum_k w_k q_k(y) prod_j h_kj(x_j)`, Eq. 1 with histograms in place of Gaussians: K
components, features independent within a component, each block h_kj a histogram over the merged bins of one
feature. Its class-conditional second moment has the closed form `P_c = sum_k w_k q_k(c) h_k h_k^T`, which is
matched to answer B, and its class margins to answer A, each weighted by its known noise. Only released values
enter, so nothing here can cost privacy.

What a fit costs is bounded: K * steps * C * G^2 is at most WORK or, if that is more, what a component for each
class takes for CHUNK steps.

Size constraint (p(s) of Eq. 2-3): every component of a fit keeps at least `l_min = s_B / sigma_max` patients, so
that the noise of one of its cells stays below sigma_max of its mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.example_libraries.optimizers import adam
from numpy.typing import NDArray
from scipy.special import softmax

from cohortmix.core.steps.distributions.simplex import Array
from cohortmix.core.steps.plan import l_min
from cohortmix.core.steps.progress import report

STEPS = 1200  # of Adam, unless the fit is within the noise sooner, or still far above it
MORE_STEPS = 2400  # of a fit that is far above the noise
WORK = 2.4e11  # most of K * steps * C * G^2 of all fits together: 10 to 20 CPU seconds
LEAST_STEPS = (
    300  # that there shall be room for; where there is not, a fit has fewer components, one a class at least
)
CHUNK = 50  # steps of one compiled call; between two of them it is decided which fits go on
FITS, LENGTH = 32, 2**16  # keys and normal numbers made at once, so that one compilation serves all; or more
LEARNING_RATE = 0.1  # of logits; it falls to a twentieth
FARTHEST = 80.0  # of a logit from the mean of its feature's, so that no exponential leaves single precision
RECORDS = 4096  # of which a posterior is computed at once, to bound its memory
ENOUGH, TOO_MUCH = 0.7, 1.2  # chi^2 per cell: stop below the first; above the second go on after STEPS


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments:
    """What a mixture is fitted to; all released.

    Attributes
    ----------
    pairs : (C, G, G) patients per class and pair of merged bins, symmetric, zero within a feature.
    s_b : standard deviation of a cell of `pairs`, in patients.
    margins : (C, G) patients per class and merged bin.
    margins_std : (G,) their standard deviations.
    masses : (C,) patients per class.
    sizes : merged bins of each feature.
    known : (C, D, D) share of a class's patients of whom two features are known, whom alone `pairs` counts; None
        where all are. The margins are scaled to all patients.
    """

    pairs: Array
    s_b: float
    margins: Array
    margins_std: Array
    masses: Array
    sizes: tuple[int, ...]
    known: Array | None = None

    @property
    def patients(self) -> float:
        """n of these classes."""
        return float(self.masses.sum())


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """Centroids: the components of one fit, or of several that are averaged.

    Attributes
    ----------
    weights : (K,) patients of each centroid, summing to n.
    means : (K, G) histograms, blocks side by side.
    labels : (K, C) class distributions.
    """

    weights: Array
    means: Array
    labels: Array


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
        with K = k * fits centroids of at least `l_min / fits` patients each, those of one fit after another; with
        fewer where WORK has no room for them.
    """
    target, cost = _Target.of(moments), bounded(moments, k, fits)
    floor = min(l_min(moments.s_b) / moments.patients, 1 / cost.k)
    state = _started(target, seed, cost.k, cost.fits)
    chi2 = np.full(cost.fits, np.inf)
    for first in range(0, cost.most, CHUNK):
        active = chi2 > (ENOUGH if first < cost.steps else TOO_MUCH)
        if not active.any():
            break
        total = cost.steps if first < cost.steps else cost.most
        report("mixture", first, total)
        state, measured = _advance(state, jnp.asarray(active), first, cost.steps, jnp.float32(floor), target)
        chi2 = np.where(active, np.asarray(measured), chi2)
    report("mixture", total, total)
    w, q, h = _shaped(jnp.float32(floor), target.member, state)
    return Mixture(
        weights=np.asarray(w, np.float64).ravel() * moments.patients / cost.fits,
        means=np.asarray(h, np.float64).reshape(cost.fits * cost.k, -1),
        labels=np.asarray(q, np.float64).reshape(cost.fits * cost.k, -1),
    )


class Cost(NamedTuple):
    """Components of a fit, fits, and their steps: usual ones, and at most."""

    k: int
    fits: int
    steps: int
    most: int


def bounded(moments: Moments, k: int, fits: int) -> Cost:
    """What WORK has room for, of this: fewer steps at first, then fewer fits, then fewer components."""
    of_a_step = len(moments.masses) * sum(moments.sizes) ** 2
    room = max(int(WORK / (of_a_step * LEAST_STEPS)), len(moments.masses))
    k = min(k, room)
    fits = min(fits, room // k)
    most = int(min(max(WORK / (of_a_step * k * fits), CHUNK), MORE_STEPS))
    return Cost(k, fits, min(STEPS, most), most)


def posterior(mixture: Mixture, x: NDArray[np.float32]) -> Array:
    """p(y | x) under the mixture: records `x` (n, G), one-hot blocks, to (n, C).

    Bayes' rule, p(k | x) proportional to w_k prod_j h_kj(x_j), then the mean of q_k.
    """
    log_h = np.log(np.maximum(mixture.means, 1e-12)).T.astype(np.float32)
    log_w = np.log(mixture.weights / mixture.weights.sum()).astype(np.float32)
    out = [
        softmax(part @ log_h + log_w, axis=1).astype(np.float64) @ mixture.labels
        for part in np.array_split(x, max(1, len(x) // RECORDS))
    ]
    return np.asarray(np.concatenate(out))


def _rate(steps: int, step: jax.Array) -> jax.Array:
    """Cosine from LEARNING_RATE to a twentieth of it at `steps`, then constant."""
    turn = jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0))
    return LEARNING_RATE * jnp.maximum(0.5 * (1 + turn), 0.05)


_INIT, _, _PARAMS = adam(LEARNING_RATE)  # JAX's own: another order of the same operations gives other digits


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["pairs", "known", "cells", "margins", "margins_weight", "classes", "scale", "member"],
    meta_fields=[],
)
@dataclass(frozen=True)
class _Target:
    """The moments in units of one pair cell's noise."""

    pairs: jax.Array  # (C, G, G)
    known: jax.Array  # (C, G, G), share of the patients of whom both are known; 0 within a feature
    cells: jax.Array  # number of pair cells
    margins: jax.Array  # (C, G)
    margins_weight: jax.Array  # (G,)
    classes: jax.Array  # (C,) shares
    scale: jax.Array  # n / s_b
    member: jax.Array  # (G, D), 1 where a bin is one of a feature

    @classmethod
    def of(cls, moments: Moments) -> _Target:
        feature = np.repeat(np.arange(len(moments.sizes)), moments.sizes)
        mask = np.broadcast_to(feature[:, None] != feature[None, :], moments.pairs.shape)
        known = mask if moments.known is None else mask * moments.known[:, feature][:, :, feature]

        def single(values: Any) -> jax.Array:
            return jnp.asarray(np.asarray(values, np.float32))  # JAX would compile the change of kind

        return cls(
            pairs=single(moments.pairs / moments.s_b),
            known=single(known),
            cells=single(mask.sum()),
            margins=single(moments.margins / moments.s_b),
            margins_weight=single(moments.s_b / moments.margins_std),
            classes=single(moments.masses / moments.patients),
            scale=single(moments.patients / moments.s_b),
            member=single(feature[:, None] == np.arange(len(moments.sizes))),
        )


@jax.jit
def _start(target: _Target, spread: jax.Array, labels: jax.Array) -> Any:
    """Adam's state of every fit: logits of w, q and h, the margins disturbed so that components move apart."""
    pooled, root = jnp.maximum(target.margins.sum(axis=0), 1.0), np.float32(np.sqrt(2))
    q = jnp.log(jnp.maximum(target.classes, 1e-4))
    return _INIT((jnp.zeros(spread.shape[:2], jnp.float32), q + root * labels, jnp.log(pooled) + root * spread))


def _shape(floor: jax.Array, member: jax.Array, logits: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """w (K,) under the size constraint, q (K, C) and h (K, G)."""
    weight, label, mean = logits
    w = floor + (1 - floor * weight.shape[0]) * jax.nn.softmax(weight)
    centred = mean - jax.lax.stop_gradient((mean @ (member / member.sum(axis=0))) @ member.T)
    odds = jnp.exp(jnp.clip(centred, -FARTHEST, FARTHEST))
    return w, jax.nn.softmax(label, axis=1), odds / ((odds @ member) @ member.T)


def _loss(logits: Any, floor: jax.Array, target: _Target) -> tuple[jax.Array, jax.Array]:
    """Mean squared residual in units of the noise, of pairs and margins, by its slope; and of the pairs, chi^2.

    A pair stands twice in a symmetric table, so the margins count twice as well. Of the pairs, the first number
    has the gradient of the squares, not their value: that of sum_c <S_c, P_c>, P_c = sum_k w_k q_k(c) h_k h_k^T,
    where S_c, the slope of the squares by P_c, is symmetric and held fast. That takes two products of matrices;
    automatic differentiation of the squares would take three.
    """
    w, q, h = _shape(floor, target.member, logits)
    share = jnp.einsum("k,kc->ck", w * target.scale, q)
    fixed_share, fixed_h = jax.lax.stop_gradient((share, h))
    pairs = jnp.einsum("ckg,kh->cgh", fixed_share[:, :, None] * fixed_h, fixed_h) * target.known - target.pairs
    along = jnp.einsum("kg,cgh->ckh", fixed_h, pairs * target.known)  # h_k^T S_c, but for a factor
    slope = 2 * ((share * (along * fixed_h).sum(axis=2)).sum() + 2 * (fixed_share[:, :, None] * along * h).sum())
    margins = (jnp.einsum("ck,kg->cg", share, h) - target.margins) * target.margins_weight
    return (slope + 2 * (margins**2).sum()) / target.cells, (pairs**2).sum() / target.cells


def _started(target: _Target, seed: int, k: int, fits: int) -> Any:
    """Adam's state of every fit."""
    keys = np.asarray(_keys(seed, max(fits, FITS)))[:fits]
    spread = [_disturbance(key, (k, target.margins.shape[1])) for key, _ in keys]
    labels = [_disturbance(key, (k, len(target.classes))) for _, key in keys]
    return _start(target, np.stack(spread), np.stack(labels))


def _disturbance(key: NDArray[np.uint32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Normal numbers of variance one half, the first of one length for all shapes: to compile it takes long."""
    length = max(LENGTH, 1 << (prod(shape) - 1).bit_length())
    return np.asarray(_half_normal(key, length))[: prod(shape)].reshape(shape)


@partial(jax.jit, static_argnames="fits")
def _keys(seed: int, fits: int) -> jax.Array:
    """(fits, 2) keys of two words: of the means and of the labels of each fit."""
    return jax.random.key_data(jax.vmap(jax.random.split)(jax.random.split(jax.random.key(seed), fits)))


@partial(jax.jit, static_argnames="length")
def _half_normal(key: jax.Array, length: int) -> jax.Array:
    # Not `normal`: where its root of two is multiplied in decides on last digits, so `_start` does it.
    above = np.nextafter(np.float32(-1), np.float32(0))
    return jax.lax.erf_inv(jax.random.uniform(jax.random.wrap_key_data(key), (length,), jnp.float32, above, 1.0))


@jax.jit
def _shaped(floor: jax.Array, member: jax.Array, state: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """w (fits, K), q (fits, K, C) and h (fits, K, G)."""
    shaped: tuple[jax.Array, jax.Array, jax.Array] = jax.vmap(partial(_shape, floor, member))(_PARAMS(state))
    return shaped


@partial(jax.jit, static_argnames="steps")
def _advance(
    state: Any, active: jax.Array, first: int, steps: int, floor: jax.Array, target: _Target
) -> tuple[Any, jax.Array]:
    """CHUNK Adam steps of every active fit; and each fit's chi^2 before the last of them."""
    _, update, _ = adam(partial(_rate, steps))
    gradient = jax.vmap(jax.grad(_loss, has_aux=True), in_axes=(0, None, None))

    def step(i: Any, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        moved, _ = carry
        slope, chi2 = gradient(_PARAMS(moved), floor, target)
        return update(first + i, slope, moved), chi2

    moved, chi2 = jax.lax.fori_loop(0, CHUNK, step, (state, jnp.zeros(len(active), jnp.float32)))
    keep = jax.tree.map(lambda new, old: jnp.where(_like(active, new), new, old), moved, state)
    return keep, chi2


def _like(active: jax.Array, leaf: jax.Array) -> jax.Array:
    """`active` (fits,), with as many dimensions as a leaf of the state."""
    return active.reshape(-1, *[1] * (leaf.ndim - 1))
