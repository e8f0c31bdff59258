"""Couplings: of all distributions with the released margins of each class, and with the released second moment of
scores over all classes, the one of largest entropy (Jaynes 1957):

    p(x | c) proportional to exp(sum_j b_c[x_j] + sum_{k<l} lambda_kl phi_k(x) phi_l(x)),  phi_k a score.

Gibbs chains run on while b and lambda climb to where the chains have what was released (Younes 1989; Tieleman
2008). Classes share their couplings: a class's own would be mostly noise.

Symbols: C classes, D columns, G merged bins, K scores, M chains of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of

Array = NDArray[np.float64]

CHAINS = 16_384  # of all classes together
SWEEPS = 300  # while b and lambda are learned, one for each step
STEP = 0.1  # of a Newton step, since couplings are moved one by one as if independent; falls to a twentieth
SETTLED = 150  # further sweeps and steps of b alone: chains that run behind lambda have margins which it has not
KEPT = 24  # further sweeps, over which the pair tables are averaged
PRIOR = 0.3  # standard deviation of a coupling beforehand
FLOOR = 1e-3  # share of a bin, below which b moves more slowly
LEAST = 1e-9  # share of a bin


class Fitted(NamedTuple):
    """The model, and what it says of pairs.

    Attributes
    ----------
    b : (C, G) logits of each merged bin in each class.
    theta : (G, G) couplings of two bins, sum_kl values_k lambda_kl values_l, zero within a column.
    tables : (C, G, G) distributions of each pair of columns in each class, the diagonal that of each column.
    """

    b: Array
    theta: Array
    tables: Array


def fit(
    margins: Array, share: Array, values: Array, sizes: tuple[int, ...], columns: Array, second: Array, std: float
) -> Fitted:
    """The model of these margins and moments.

    Parameters
    ----------
    margins : (C, G) of each class.
    share : (C,) of the patients.
    values : (G, K) of each score in each merged bin.
    sizes : merged bins of each column.
    columns : (K,) which column each score is of.
    second : (K, K) released mean products, of which those within a column are not used.
    std : of their noise.
    """
    apart = columns[:, None] != columns[None, :]
    variance = share @ margins @ values**2
    product = np.outer(variance, variance)
    damped = np.maximum(product, std / 2)
    falling = STEP * np.maximum(0.5 * (1 + np.cos(np.pi * np.arange(SWEEPS) / SWEEPS)), 0.05)
    single = partial(jnp.asarray, dtype=jnp.float32)
    target = _Target(
        margins=single(np.maximum(margins, LEAST)),
        share=single(share),
        second=single(np.where(apart, second, 0)),
        curvature=single(np.where(apart, damped, np.inf)),
        decay=single((std / PRIOR) ** 2 / np.maximum(product * damped, LEAST)),
    )
    b, coupling, tables = _fitted(
        target,
        single(
            np.stack([np.append(falling, np.zeros(SETTLED)), np.append(falling, np.full(SETTLED, STEP / 2))], 1)
        ),
        tuple(single(values[block][:, columns == j]) for j, block in enumerate(blocks_of(sizes))),
        sizes=sizes,
        scores=tuple(tuple(np.flatnonzero(columns == j).tolist()) for j in range(len(sizes))),
        chains=max(1, CHAINS // len(margins)),
    )
    theta = values @ np.asarray(coupling, np.float64) @ values.T
    return Fitted(np.asarray(b, np.float64), theta, np.asarray(tables, np.float64))


class _Target(NamedTuple):
    """What the model shall have, and how a Newton step gets there; the curvature is infinite within a column."""

    margins: jax.Array  # (C, G)
    share: jax.Array  # (C,)
    second: jax.Array  # (K, K)
    curvature: jax.Array  # (K, K), about the variance of a product of two scores
    decay: jax.Array  # (K, K), how far the prior draws a coupling back, as in `release/target_tables.py`


class _Column(NamedTuple):
    """One column: its bins among all G, its scores among all K, and what these are in its bins (m_j, K_j)."""

    block: slice
    own: NDArray[np.int64]
    values: jax.Array


class _State(NamedTuple):
    """Of the learning: the chains one-hot (C, M, G), b (C, G), lambda (K, K), and the key of the next sweep."""

    x: jax.Array
    b: jax.Array
    coupling: jax.Array
    key: jax.Array


@partial(jax.jit, static_argnames=("sizes", "scores", "chains"))
def _fitted(
    target: _Target,
    steps: jax.Array,
    values: tuple[jax.Array, ...],
    *,
    sizes: tuple[int, ...],
    scores: tuple[tuple[int, ...], ...],
    chains: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """b, lambda, and the pair tables of the fitted model, from its chains."""
    columns = [
        _Column(block, np.array(own, dtype=np.int64), value)
        for block, own, value in zip(blocks_of(sizes), scores, values, strict=True)
    ]
    first, key, last = jax.random.split(jax.random.key(0), 3)
    b, nothing = jnp.log(target.margins), jnp.zeros_like(target.second)
    x = jnp.zeros((len(b), chains, sum(sizes)), dtype=jnp.float32)
    start = _State(_sweep(x, b, nothing, first, columns), b, nothing, key)

    def learn(state: _State, step: jax.Array) -> tuple[_State, jax.Array]:
        state = _learn(state, step, target, columns)
        return state, state.b

    learned, path = jax.lax.scan(learn, start, steps)
    b, coupling = path[-SETTLED // 2 :].mean(axis=0), learned.coupling  # the average of its noise (Polyak 1990)

    def keep(kept: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        x = _sweep(kept[0], b, coupling, key, columns)
        return (x, kept[1] + jnp.swapaxes(x, 1, 2) @ x / chains), None

    none = jnp.zeros((len(b), sum(sizes), sum(sizes)))
    (_, total), _ = jax.lax.scan(keep, (learned.x, none), jax.random.split(last, KEPT))
    return b, coupling, total / KEPT


def _learn(state: _State, step: jax.Array, target: _Target, columns: Sequence[_Column]) -> _State:
    """One sweep, and a step of lambda and one of b towards the target; `step` (2,)."""
    key, own = jax.random.split(state.key)
    x = _sweep(state.x, state.b, state.coupling, own, columns)
    phi = _scores_of(x, len(target.second), columns)
    off = target.second - jnp.einsum("c,cmk,cml->kl", target.share, phi, phi) / x.shape[1]
    coupling = state.coupling + step[0] * jnp.where(jnp.isfinite(target.curvature), off / target.curvature, 0.0)
    b = state.b + step[1] * (target.margins - x.mean(axis=1)) / jnp.maximum(target.margins, FLOOR)
    return _State(x, b, coupling / (1 + step[0] * target.decay), key)


def _sweep(
    x: jax.Array, b: jax.Array, coupling: jax.Array, key: jax.Array, columns: Sequence[_Column]
) -> jax.Array:
    """Every column drawn anew given all the others."""
    uniform, phi = jax.random.uniform(key, (len(columns), *x.shape[:2])), _scores_of(x, len(coupling), columns)
    for (block, own, values), u in zip(columns, uniform, strict=True):
        logits = b[:, None, block] + (phi @ coupling[:, own]) @ values.T
        ends = jnp.cumsum(jnp.exp(logits - logits.max(axis=-1, keepdims=True)), axis=-1)
        drawn = (ends[..., :-1] < u[..., None] * ends[..., -1:]).sum(axis=-1)
        x = x.at[..., block].set(jax.nn.one_hot(drawn, len(values), dtype=x.dtype))
        phi = phi.at[..., own].set(values[drawn])
    return x


def _scores_of(x: jax.Array, scores: int, columns: Sequence[_Column]) -> jax.Array:
    """(C, M, K) the scores of chains."""
    phi = jnp.zeros((*x.shape[:2], scores))
    for block, own, values in columns:
        phi = phi.at[..., own].set(x[..., block] @ values)
    return phi
