"""The field: of all tables with the released pair tables, the one of largest entropy.

The mixture knows how every two features go together within a class, for that was measured. Of third order nothing
is known, and yet a mixture says something: within a component all features are independent. Records are drawn from
the distribution that has the mixture's pair tables and adds nothing else (Jaynes 1957),

    p(x | c) proportional to exp(sum_j b_c[x_j] + sum_{i<j} theta_c[x_i, x_j]).

Gibbs chains run on while b and theta climb to where the chains have the wanted tables (Younes 1989; Tieleman
2008). The site of a record is one more feature, which never changes. Only released values enter.

Symbols: C classes, S sites, D features, G their groups and then one entry for each site, M chains of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of, one_hot

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int32]

CHAINS = 16_384  # of all classes together
SWEEPS, BURN_IN = 200, 15  # to learn; before the last one, in which a record is taken
EVEN = 131_072  # records that share out the uniform numbers
STEP = 0.1  # of Newton's, along each coordinate by itself; falls to a twentieth
SD_SHARED, SD_OWN = 1.0, 0.25  # of theta before anything is known: what the classes share, and each one's own part
FLOOR = 1e-3  # share of the records in a group, below which b moves more slowly
GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill [0, 1] evenly (Weyl 1916)


@dataclass(frozen=True, eq=False)
class PairTables:
    """What the records shall have, within each class.

    Attributes
    ----------
    sizes : groups of each of the D features, then the number of sites S; their sum is G.
    pairs : (C, G, G) distributions of each pair of features; the diagonal holds the distribution of each feature.
    std : (C,) of the noise of one entry of `pairs`; infinite where a class has none.
    masses : (C,) patients.
    known : (C, S) true for the sites whose patients the pairs of features describe.
    """

    sizes: tuple[int, ...]
    pairs: Array
    std: Array
    masses: Array
    known: NDArray[np.bool_]

    @property
    def margins(self) -> Array:
        """(C, G) distributions of each feature."""
        return np.diagonal(self.pairs, axis1=1, axis2=2)


@dataclass(frozen=True, eq=False)
class Field:
    """b (C, G), and theta (C, G, G), symmetric, zero within a feature; `sizes` as in `PairTables`."""

    sizes: tuple[int, ...]
    b: jax.Array
    theta: jax.Array

    def draw(self, start: Codes, label: NDArray[np.int64], seed: int) -> Codes:
        """Groups (n, D) of records of these classes (n,), by Gibbs sweeps, the last of them even.

        `start` (n, D + 1) holds the groups to start from, and the site.
        """
        rng, key = np.random.default_rng(seed), jax.random.key(seed)
        order = rng.permutation(len(label))
        of_class = [order[label[order] == c] for c in range(len(self.b))]
        out, chains = start[:, :-1].copy(), CHAINS // len(self.b)
        for first in range(0, max(map(len, of_class)), chains):
            key, own = jax.random.split(key)
            rows = [one[first : first + chains] for one in of_class]
            x = _one_hot([start[one] for one in rows], chains, self.sizes)
            codes = np.asarray(_settle(x, self.b, self.theta, own, self.sizes))
            for c, one in enumerate(rows):
                out[one] = codes[c, : len(one)]
        for one, b, theta in zip(of_class, np.asarray(self.b), np.asarray(self.theta), strict=True):
            for first in range(0, len(one), EVEN):
                some = one[first : first + EVEN]
                settled = np.column_stack([out[some], start[some, -1]])
                out[some] = _even_sweep(settled, b, theta, self.sizes, rng)
        return out


def fit(tables: PairTables, start: Codes, label: NDArray[np.int64], seed: int) -> Field:
    """The field that has these tables, as nearly as their noise makes it worth while.

    Parameters
    ----------
    tables : from released centroids.
    start : (n, D + 1) groups and site of the records whose chains run on, for example drawn from a mixture.
    label : (n,) their classes.
    seed : of the chains.

    Notes
    -----
    Each step moves b and theta along each coordinate as Newton's method would, had the features been independent,
    and theta shrinks by a Gaussian prior: what the classes share by SD_SHARED, a class's own part by SD_OWN.
    """
    classes, rng = len(tables.masses), np.random.default_rng(seed)
    of_class = [rng.permutation(np.flatnonzero(label == c)) for c in range(classes)]
    x = _one_hot([start[one] for one in of_class], CHAINS // classes, tables.sizes)
    steps = STEP * np.maximum(0.5 * (1 + np.cos(np.pi * np.arange(SWEEPS) / SWEEPS)), 0.05)
    b, theta = _learn(x, jax.random.key(seed), _Target.of(tables), jnp.asarray(steps, jnp.float32), tables.sizes)
    return Field(tables.sizes, b, theta)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["pairs", "margins", "known", "share", "curvature", "decay", "shared_curvature", "shared_decay"],
    meta_fields=[],
)
@dataclass(frozen=True)
class _Target:
    """The tables, and what a Newton step needs of each class and of all together."""

    pairs: jax.Array  # (C, G, G)
    margins: jax.Array  # (C, G)
    known: jax.Array  # (C, S)
    share: jax.Array  # (C,) of the patients whose pairs are known
    curvature: jax.Array  # (C, G, G) product of the margins, not far below the noise; infinite within a feature
    decay: jax.Array  # (C, G, G) how far the prior draws theta back: noise^2 / (prior's variance * curvature^2)
    shared_curvature: jax.Array  # (G, G)
    shared_decay: jax.Array  # (G, G)

    @classmethod
    def of(cls, tables: PairTables) -> _Target:
        feature = np.repeat(np.arange(len(tables.sizes)), tables.sizes)
        apart = feature[:, None] != feature[None, :]
        has = np.isfinite(tables.std)
        std, share = np.where(has, tables.std, 1.0), np.where(has, tables.masses, 0.0)
        share /= max(share.sum(), 1e-12)
        margins = np.maximum(tables.margins, 1e-9)
        product = margins[:, :, None] * margins[:, None, :]
        every, every_std = np.einsum("c,cgh->gh", share, product), np.sqrt(((share * std) ** 2).sum())
        curvature, decay = _newton(product, std[:, None, None], SD_OWN, apart & has[:, None, None])
        shared_curvature, shared_decay = _newton(every, every_std, SD_SHARED, apart)
        parts = (tables.pairs, margins, tables.known, share, curvature, decay, shared_curvature, shared_decay)
        return cls(*(jnp.asarray(part, jnp.float32) for part in parts))


def _newton(product: Array, std: Any, sd: float, free: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Curvature and decay; where nothing may move the curvature is infinite."""
    damped = np.maximum(product, std / 2)
    return np.where(free, damped, np.inf), (std / sd) ** 2 / (product * damped)


_Chains: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]  # x, b, both parts of theta, key


@partial(jax.jit, static_argnames="sizes")
def _learn(
    x: jax.Array, key: jax.Array, target: _Target, steps: jax.Array, sizes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """b and theta after one sweep of the chains `x` (C, M, G) for each step."""

    def learn(carry: _Chains, step: jax.Array) -> tuple[_Chains, None]:
        x, b, shared, own, key = carry
        key, use = jax.random.split(key)
        x = _sweep(x, b, shared + own, use, sizes)
        off = target.pairs - _pairs(x, target.known)
        every = jnp.einsum("c,cgh->gh", target.share, off)
        shared = (shared + step * every / target.shared_curvature) / (1 + step * target.shared_decay)
        own = (own + step * off / target.curvature) / (1 + step * target.decay)
        b = b + step * (target.margins - x.mean(axis=1)) / jnp.maximum(target.margins, FLOOR)
        return (x, b, shared, own, key), None

    start = (x, jnp.log(target.margins), jnp.zeros_like(target.pairs[0]), jnp.zeros_like(target.pairs), key)
    (_, b, shared, own, _), _ = jax.lax.scan(learn, start, steps)
    return b, shared + own


@partial(jax.jit, static_argnames="sizes")
def _settle(x: jax.Array, b: jax.Array, theta: jax.Array, key: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """Groups (C, M, D) after BURN_IN sweeps."""
    x = jax.lax.fori_loop(0, BURN_IN, lambda i, x: _sweep(x, b, theta, jax.random.fold_in(key, i), sizes), x)
    return jnp.stack([x[..., block].argmax(axis=-1) for block in blocks_of(sizes)[:-1]], axis=-1)


def _sweep(x: jax.Array, b: jax.Array, theta: jax.Array, key: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """Every feature but the last, the site, drawn anew given all the others."""
    blocks = blocks_of(sizes)[:-1]
    u = jax.random.uniform(key, (len(blocks), *x.shape[:2]))
    for block, of in zip(blocks, u, strict=True):
        logits = x @ theta[:, :, block] + b[:, None, block]
        ends = jnp.cumsum(jnp.exp(logits - logits.max(axis=-1, keepdims=True)), axis=-1)
        drawn = (ends[..., :-1] < of[..., None] * ends[..., -1:]).sum(axis=-1)
        x = x.at[..., block].set(jax.nn.one_hot(drawn, logits.shape[-1], dtype=x.dtype))
    return x


def _even_sweep(codes: Codes, b: Array, theta: Array, sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """One sweep of the records (n, D + 1) of a class, to groups (n, D).

    Records that expect similar values share out the uniform numbers: each is distributed as if drawn by itself,
    and a group holds nearly as many records as it should, among those that are alike as well.
    """
    x, weyl = one_hot(codes, sizes), GOLDEN * np.arange(len(codes))
    for block in blocks_of(sizes)[:-1]:
        logits = x @ theta[:, block] + b[block]
        ends = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
        u, expected = np.empty(len(x)), ends.sum(axis=1) / ends[:, -1]
        u[np.lexsort((rng.random(len(x)), expected))] = (rng.random() + weyl) % 1  # at random among the very same
        drawn = (ends[:, :-1] < u[:, None] * ends[:, -1:]).sum(axis=1)
        x[:, block] = np.eye(ends.shape[1], dtype=x.dtype)[drawn]
    return np.stack([x[:, block].argmax(axis=1) for block in blocks_of(sizes)[:-1]], axis=1).astype(np.int32)


def _pairs(x: jax.Array, known: jax.Array) -> jax.Array:
    """(C, G, G) tables of the chains; those of two features over the sites that are known."""
    sites = known.shape[1]
    counted = (x[..., -sites:] * known[:, None, :]).sum(axis=-1, keepdims=True)
    pairs = jnp.swapaxes(x * counted, 1, 2) @ x / jnp.maximum(counted.sum(axis=1, keepdims=True), 1)
    by_site = jnp.swapaxes(x[..., -sites:], 1, 2) @ x / x.shape[1]
    return pairs.at[:, -sites:].set(by_site).at[:, :, -sites:].set(jnp.swapaxes(by_site, 1, 2))


def _one_hot(rows: list[Codes], chains: int, sizes: tuple[int, ...]) -> jax.Array:
    """(C, M, G): the rows of each class, repeated as often as it takes; a class without rows has any."""
    full = [
        np.resize(codes if len(codes) else np.zeros_like(rows[0], shape=(1, len(sizes))), (chains, len(sizes)))
        for codes in rows
    ]
    return jnp.asarray(np.stack([one_hot(codes, sizes) for codes in full]))
