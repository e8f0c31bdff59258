"""Learning: b, theta and the terms of the maximum-entropy model, from what was released.

Gibbs chains run on while b and theta climb to where the chains have the wanted tables (Younes 1989; Tieleman
2008); what they are on the average of the last sweeps is kept (Polyak 1990).

Symbols: C classes, S sites, D features, G their merged bins and then one entry for each site, M chains of a class,
T terms.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.release.gibbs import Codes
from cohortmix.core.release.high_order import Aim, standing_out
from cohortmix.core.release.maximum_entropy import MaximumEntropy, chains_for, chains_of, sweep
from cohortmix.core.release.target_tables import NewtonTarget, TargetTables
from cohortmix.core.steps.products.means import SignMeans
from cohortmix.core.steps.progress import report

SWEEPS = 160  # of all chains while b and theta are learned, one for each step
AVERAGED = 40  # of them, the last ones, over which b and theta are averaged (Polyak 1990)
AT_ONCE = 20  # of one compiled call; between two of them it is said how far the work is
STEP = 0.3  # of the way to the largest likelihood along a direction; chains lag behind, so not all of it
LEAST_STEP = 0.1  # to which it falls
JUDGED = 4  # one chain in so many says how curved the likelihood is along a direction
OF_MARGINS = 0.2  # share of a margin's error by which each of its tables moves; b moves by all of it
NEVER = -30.0  # coupling of bins that no record has together
FLOOR = 1e-3  # share of the records in a bin, below which b moves more slowly


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
    Each step points along each coordinate as Newton's method would, had the features been independent, and is as
    long as Newton's method has it along that direction (a line search; without it, parameters of many features
    that go together overshoot by more at each step). Theta shrinks by a Gaussian prior: what the classes share by
    SD_SHARED, a class's own part by SD_OWN.
    """
    classes, rng = len(tables.masses), np.random.default_rng(seed)
    rows_of_class = [rng.permutation(np.flatnonzero(label == c)) for c in range(classes)]
    x = chains_of([start[rows] for rows in rows_of_class], chains_for(classes, sum(tables.sizes)), tables.sizes)
    target = NewtonTarget.of(tables)
    zero = jnp.zeros_like(target.pairs)
    never = zero[0] if tables.zeros is None else jnp.asarray(np.where(tables.zeros, NEVER, 0).astype(np.float32))
    first = _Parameters(jnp.log(target.margins), never, zero, jnp.zeros((0, classes, 1)))
    state = _run(_State(x, first, first, jax.random.key(seed)), target, None, tables.sizes)
    aim = None
    if products is not None:
        aim = standing_out(products, jnp.swapaxes(state.x, 1, 2), tables.sizes, tables.known[:, 0])
    if aim is not None:
        more = state.kept._replace(weights=aim.terms.weights)
        state = _run(state._replace(now=more), target, aim, tables.sizes)
    b, shared, by_class, weights = state.kept
    terms = None if aim is None else replace(aim.terms, weights=weights)
    return MaximumEntropy(sizes=tables.sizes, b=b, theta=shared + by_class, terms=terms)


class _Parameters(NamedTuple):
    """b (C, G), the two parts of theta, and the weights of terms (T, C, 1), of which there may be none."""

    b: jax.Array
    shared: jax.Array
    by_class: jax.Array
    weights: jax.Array


class _State(NamedTuple):
    """The chains one-hot (C, G, M), and the parameters now and on the average of the last AVERAGED sweeps."""

    x: jax.Array
    now: _Parameters
    kept: _Parameters
    key: jax.Array


def _run(state: _State, target: NewtonTarget, aim: Aim | None, sizes: tuple[int, ...]) -> _State:
    """One sweep of the chains, and a step towards the target, SWEEPS times."""
    falling = SWEEPS - AVERAGED
    size = np.full(SWEEPS, LEAST_STEP)
    size[:falling] = np.maximum(STEP * 0.5 * (1 + np.cos(np.pi * np.arange(falling) / falling)), LEAST_STEP)
    steps = np.stack([size, (np.arange(SWEEPS) >= falling) / AVERAGED], axis=1)
    state = state._replace(kept=jax.tree.map(jnp.zeros_like, state.now))
    for first in range(0, SWEEPS, AT_ONCE):
        report("dependences", first, SWEEPS)
        state = _learn(state, target, aim, steps[first : first + AT_ONCE].astype(np.float32), sizes)
        state.key.block_until_ready()
    report("dependences", SWEEPS, SWEEPS)
    return state


@partial(jax.jit, static_argnames="sizes")
def _learn(
    state: _State, target: NewtonTarget, aim: Aim | None, steps: jax.Array, sizes: tuple[int, ...]
) -> _State:
    """The state after a sweep for each step; `steps` (n, 2) are their sizes, and the weights in the average."""
    return jax.lax.scan(lambda state, step: (_step(state, step, target, aim, sizes), None), state, steps)[0]


def _step(state: _State, step: jax.Array, target: NewtonTarget, aim: Aim | None, sizes: tuple[int, ...]) -> _State:
    """One sweep, and a step of b, theta and the terms towards what was released."""
    now, (key, sweep_key) = state.now, jax.random.split(state.key)
    terms = None if aim is None else replace(aim.terms, weights=now.weights)
    x = sweep(state.x, now.b, now.shared + now.by_class, sweep_key, sizes, terms)
    off_b = target.margins - x.mean(axis=2)
    off = _of_pairs(target.pairs - _pairs(x, target.known), target.margins, sizes)
    along_b, along_own = off_b / jnp.maximum(target.margins, FLOOR), off / target.curvature
    along_shared = jnp.einsum("c,cgh->gh", target.share, off) / target.shared_curvature
    along = along_shared + along_own
    gain = (along_b * off_b).sum(axis=1) + 0.5 * (along * off).sum(axis=(1, 2))
    size = step[0] * _length(x[:, :, ::JUDGED], along_b, along, gain, target.share)
    now = _Parameters(
        b=now.b + size * along_b,
        shared=(now.shared + size * along_shared) / (1 + size * target.shared_decay),
        by_class=(now.by_class + size * along_own) / (1 + size * target.decay),
        weights=now.weights if aim is None else aim.climbed(now.weights, jnp.swapaxes(x, 1, 2), size, sizes),
    )
    kept = jax.tree.map(lambda average, each: average + step[1] * each, state.kept, now)
    return _State(x, now, kept, key)


def _of_pairs(off: jax.Array, margins: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """The errors of tables (C, G, G), less most of what errors of their `margins` (C, G) make of them."""
    feature = np.repeat(np.arange(len(sizes)), sizes)
    member = jnp.asarray(feature[:, None] == np.arange(len(sizes)), off.dtype)
    of_margins = (off @ member)[:, :, feature] * margins[:, None, :]
    return off - (1 - OF_MARGINS) * (of_margins + jnp.swapaxes(of_margins, 1, 2))


def _length(x: jax.Array, along_b: jax.Array, along: jax.Array, gain: jax.Array, share: jax.Array) -> jax.Array:
    """How far to go along a direction of b (C, G) and theta (C, G, G): Newton's length, but at most 1.

    `gain` (C,) is the slope of each class's log likelihood. Its curvature is minus the variance, over the chains
    `x` (C, G, M), of what the direction adds to their log probability.
    """
    energy = (x * (along_b[:, :, None] + 0.5 * (along @ x))).sum(axis=1)
    return jnp.minimum((share @ gain) / jnp.maximum(share @ energy.var(axis=1), 1e-12), 1.0)


def _pairs(x: jax.Array, known: jax.Array) -> jax.Array:
    """(C, G, G) pair tables of the chains; those of two features over the sites that are known."""
    sites, turned = known.shape[1], jnp.swapaxes(x, 1, 2)
    counted = (x[:, -sites:] * known[:, :, None]).sum(axis=1, keepdims=True)
    pairs = (x * counted) @ turned / jnp.maximum(counted.sum(axis=2, keepdims=True), 1)
    by_site = x[:, -sites:] @ turned / x.shape[2]
    return pairs.at[:, -sites:].set(by_site).at[:, :, -sites:].set(jnp.swapaxes(by_site, 1, 2))
