"""The maximum-entropy model: of all distributions with the released pair tables, the one of largest entropy.

The mixture knows how every two features go together within a class, for that was measured. Of third order nothing
is known, and yet a mixture says something: within a component all features are independent. Records are drawn from
the distribution that has the mixture's pair tables and adds nothing else (Jaynes 1957),

    p(x | c) proportional to exp(sum_j b_c[x_j] + sum_{i<j} theta_c[x_i, x_j]).

Where products of three features or more were measured as well, those that this model does not have get terms of
their own (`high_order`), and all is learned on.

Gibbs chains run on while b and theta climb to where the chains have the wanted tables (Younes 1989; Tieleman
2008). The site of a record is one more feature, which never changes. Only released values enter.

Symbols: C classes, S sites, D features, G their merged bins and then one entry for each site, M chains of a class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of, one_hot
from cohortmix.core.release.high_order import Aim, Terms, standing_out
from cohortmix.core.release.target_tables import Array, NewtonTarget, TargetTables
from cohortmix.core.steps.products.means import SignMeans
from cohortmix.core.steps.scores.couplings import Fitted

Codes: TypeAlias = NDArray[np.int32]

CHAINS = 16_384  # of all classes together: the more, the less of their own sampling error is learned
SWEEPS = 200  # of all chains while b and theta are learned, one for each step
BURN_IN = 15  # sweeps of a record that starts from the mixture, before the last one, which decides it
EVEN = 131_072  # records of a class that share out the uniform numbers of the last sweep, to bound its memory
STEP = 0.1  # of a Newton step, since coordinates are moved one by one as if independent; falls to a twentieth
FLOOR = 1e-3  # share of the records in a bin, below which b moves more slowly
GOLDEN = 0.6180339887498949  # its multiples, modulo 1, fill [0, 1] evenly (Weyl 1916)


@dataclass(frozen=True, eq=False, kw_only=True)
class MaximumEntropy:
    """A fitted model.

    Attributes
    ----------
    sizes : as in `TargetTables`.
    b : (C, G) logits of each bin.
    theta : (C, G, G) couplings of two bins, symmetric, zero within a feature.
    terms : of products of signs; None where pairs say it all.
    """

    sizes: tuple[int, ...]
    b: jax.Array
    theta: jax.Array
    terms: Terms | None = None

    @classmethod
    def of(cls, fitted: Fitted, sizes: tuple[int, ...]) -> MaximumEntropy:
        """A model that was fitted already, of one site."""
        b = np.pad(fitted.b, ((0, 0), (0, 1)))
        theta = np.broadcast_to(np.pad(fitted.theta, (0, 1)), (len(b), b.shape[1], b.shape[1]))
        return cls(sizes=(*sizes, 1), b=jnp.asarray(b, jnp.float32), theta=jnp.asarray(theta, jnp.float32))

    def draw(self, start: Codes, label: NDArray[np.int64], seed: int) -> Codes:
        """Merged bins (n, D) of records of these classes (n,), by Gibbs sweeps, the last of them even.

        `start` (n, D + 1) holds the bins to start from, and the site.
        """
        rng, key = np.random.default_rng(seed), jax.random.key(seed)
        order = rng.permutation(len(label))
        rows_of_class = [order[label[order] == c] for c in range(len(self.b))]
        settled = self._settled(start, rows_of_class, key)
        out = settled.copy()
        for c, (rows, b, theta) in enumerate(
            zip(rows_of_class, np.asarray(self.b), np.asarray(self.theta), strict=True)
        ):
            terms = None if self.terms is None else self.terms.of_class(c)
            for first in range(0, len(rows), EVEN):
                part = rows[first : first + EVEN]
                codes = np.column_stack([settled[part], start[part, -1]])
                out[part] = _even_sweep(codes, b, theta, self.sizes, rng, terms)
        return out

    def _settled(self, start: Codes, rows_of_class: list[NDArray[np.int64]], key: jax.Array) -> Codes:
        """Bins (n, D) after BURN_IN sweeps; in parts of as many records as there were chains, one compilation."""
        out, chains = start[:, :-1].copy(), CHAINS // len(self.b)
        for first in range(0, max(map(len, rows_of_class)), chains):
            key, key_of_part = jax.random.split(key)
            parts = [rows[first : first + chains] for rows in rows_of_class]
            x = _chains([start[part] for part in parts], chains, self.sizes)
            codes = np.asarray(_settle(x, self.b, self.theta, self.terms, key_of_part, self.sizes))
            for c, part in enumerate(parts):
                out[part] = codes[c, : len(part)]
        return out


def fit(
    tables: TargetTables, start: Codes, label: NDArray[np.int64], seed: int, products: SignMeans | None = None
) -> MaximumEntropy:
    """The model that has these tables, as nearly as their noise makes it worth while.

    Parameters
    ----------
    tables : from released centroids.
    start : (n, D + 1) merged bins and site of the records whose chains run on, for example drawn from a mixture.
    label : (n,) their classes.
    seed : of the chains.
    products : measured beside the tables, at the only site.

    Notes
    -----
    Each step moves b and theta along each coordinate as Newton's method would, had the features been independent,
    and theta shrinks by a Gaussian prior: what the classes share by SD_SHARED, a class's own part by SD_OWN.
    """
    classes, rng = len(tables.masses), np.random.default_rng(seed)
    rows_of_class = [rng.permutation(np.flatnonzero(label == c)) for c in range(classes)]
    x = _chains([start[rows] for rows in rows_of_class], CHAINS // classes, tables.sizes)
    steps = STEP * np.maximum(0.5 * (1 + np.cos(np.pi * np.arange(SWEEPS) / SWEEPS)), 0.05)
    target, falling = NewtonTarget.of(tables), jnp.asarray(steps, jnp.float32)
    last = _learn(x, jax.random.key(seed), target, falling, tables.sizes)
    aim = (
        None
        if products is None
        else standing_out(products, jnp.swapaxes(last.x, 1, 2), tables.sizes, tables.known[:, 0])
    )
    if aim is None:
        return MaximumEntropy(sizes=tables.sizes, b=last.b, theta=last.shared + last.by_class)
    last, terms = _learn_on(last, target, aim, falling, tables.sizes)
    return MaximumEntropy(sizes=tables.sizes, b=last.b, theta=last.shared + last.by_class, terms=terms)


class _State(NamedTuple):
    """Of the learning: the chains one-hot (C, G, M), b, the two parts of theta, and the key of the next sweep."""

    x: jax.Array
    b: jax.Array
    shared: jax.Array
    by_class: jax.Array
    key: jax.Array


@partial(jax.jit, static_argnames="sizes")
def _learn(x: jax.Array, key: jax.Array, target: NewtonTarget, steps: jax.Array, sizes: tuple[int, ...]) -> _State:
    """b and theta of pairs after one sweep of the chains `x` (C, G, M) for each step."""
    zero = jnp.zeros_like(target.pairs)
    start = _State(x, jnp.log(target.margins), zero[0], zero, key)
    last, _ = jax.lax.scan(lambda state, step: (_step(state, step, target, sizes), None), start, steps)
    return last


@partial(jax.jit, static_argnames="sizes")
def _learn_on(
    state: _State, target: NewtonTarget, aim: Aim, steps: jax.Array, sizes: tuple[int, ...]
) -> tuple[_State, Terms]:
    """b and theta, learned on together with the terms of an aim."""

    def learn(learned: tuple[_State, Terms], step: jax.Array) -> tuple[tuple[_State, Terms], None]:
        state = _step(learned[0], step, target, sizes, learned[1])
        weights = aim.climbed(learned[1].weights, jnp.swapaxes(state.x, 1, 2), step, sizes)
        return (state, replace(learned[1], weights=weights)), None

    learned, _ = jax.lax.scan(learn, (state, aim.terms), steps)
    return learned


def _step(
    state: _State, step: jax.Array, target: NewtonTarget, sizes: tuple[int, ...], terms: Terms | None = None
) -> _State:
    """One sweep, and a step of b and theta towards the tables."""
    key, sweep_key = jax.random.split(state.key)
    x = _sweep(state.x, state.b, state.shared + state.by_class, sweep_key, sizes, terms)
    off = target.pairs - _pairs(x, target.known)
    pooled = jnp.einsum("c,cgh->gh", target.share, off)
    shared = (state.shared + step * pooled / target.shared_curvature) / (1 + step * target.shared_decay)
    by_class = (state.by_class + step * off / target.curvature) / (1 + step * target.decay)
    b = state.b + step * (target.margins - x.mean(axis=2)) / jnp.maximum(target.margins, FLOOR)
    return _State(x, b, shared, by_class, key)


@partial(jax.jit, static_argnames="sizes")
def _settle(
    x: jax.Array, b: jax.Array, theta: jax.Array, terms: Terms | None, key: jax.Array, sizes: tuple[int, ...]
) -> jax.Array:
    """Merged bins (C, M, D) after BURN_IN sweeps."""
    x = jax.lax.fori_loop(
        0, BURN_IN, lambda i, x: _sweep(x, b, theta, jax.random.fold_in(key, i), sizes, terms), x
    )
    return jnp.stack([x[:, block].argmax(axis=1) for block in blocks_of(sizes)[:-1]], axis=-1)


def _sweep(
    x: jax.Array,
    b: jax.Array,
    theta: jax.Array,
    key: jax.Array,
    sizes: tuple[int, ...],
    terms: Terms | None = None,
) -> jax.Array:
    """Every feature but the last, which is the site, drawn anew given all the others."""
    blocks = blocks_of(sizes)[:-1]
    uniform = jax.random.uniform(key, (len(blocks), len(x), 1, x.shape[2]))
    signs = [] if terms is None else terms.read(jnp.swapaxes(x, 1, 2), sizes)
    for j, (block, u) in enumerate(zip(blocks, uniform, strict=True)):
        logits = theta[:, block] @ x + b[:, block, None]  # theta is symmetric
        if terms is not None:
            pull = terms.logits(signs, j, block)
            logits += jnp.swapaxes(pull, 1, 2) if np.ndim(pull) else pull
        bins = logits.shape[1]
        # A product with a triangle: XLA's own cumulative sums are slow on a processor.
        ends = jnp.tril(jnp.ones((bins, bins))) @ jnp.exp(logits - logits.max(axis=1, keepdims=True))
        drawn = (ends[:, :-1] < u * ends[:, -1:]).sum(axis=1)
        x = x.at[:, block].set((drawn[:, None] == jnp.arange(bins)[:, None]).astype(x.dtype))
        if terms is not None:
            signs[j] = terms.signs[block][drawn]
    return x


def _even_sweep(
    codes: Codes,
    b: Array,
    theta: Array,
    sizes: tuple[int, ...],
    rng: np.random.Generator,
    terms: Terms | None = None,
) -> Codes:
    """One sweep of the records (n, D + 1) of a class, to merged bins (n, D).

    Records that expect similar values share out the uniform numbers: each is distributed as if drawn by itself,
    and a bin holds nearly as many records as it should, also among records that are alike.
    """
    x, weyl = one_hot(codes, sizes), GOLDEN * np.arange(len(codes))
    signs = [] if terms is None else terms.read(x, sizes)
    for j, block in enumerate(blocks_of(sizes)[:-1]):
        logits = x @ theta[:, block] + b[block]
        if terms is not None:
            logits += terms.logits(signs, j, block)
        ends = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
        u, expected = np.empty(len(x)), ends.sum(axis=1) / ends[:, -1]
        u[np.lexsort((rng.random(len(x)), expected))] = (rng.random() + weyl) % 1  # equal records in random order
        drawn = (ends[:, :-1] < u[:, None] * ends[:, -1:]).sum(axis=1)
        x[:, block] = one_hot(drawn[:, None], (ends.shape[1],))
        if terms is not None:
            signs[j] = terms.signs[block][drawn]
    return np.stack([x[:, block].argmax(axis=1) for block in blocks_of(sizes)[:-1]], axis=1).astype(np.int32)


def _pairs(x: jax.Array, known: jax.Array) -> jax.Array:
    """(C, G, G) pair tables of the chains; those of two features over the sites that are known."""
    sites, turned = known.shape[1], jnp.swapaxes(x, 1, 2)
    counted = (x[:, -sites:] * known[:, :, None]).sum(axis=1, keepdims=True)
    pairs = (x * counted) @ turned / jnp.maximum(counted.sum(axis=2, keepdims=True), 1)
    by_site = x[:, -sites:] @ turned / x.shape[2]
    return pairs.at[:, -sites:].set(by_site).at[:, :, -sites:].set(jnp.swapaxes(by_site, 1, 2))


def _chains(rows: list[Codes], chains: int, sizes: tuple[int, ...]) -> jax.Array:
    """(C, G, M) one-hot: the rows of each class, as often as it takes; a class without rows, any."""
    anything = np.zeros_like(rows[0], shape=(1, len(sizes)))
    full = [np.resize(codes if len(codes) else anything, (chains, len(sizes))) for codes in rows]
    return jnp.asarray(np.stack([one_hot(codes, sizes).T for codes in full]))
