"""Couplings: of all distributions with the released margins of each class, and with the released second moment of
scores over all classes, the one of largest entropy (Jaynes 1957):

    p(x | c) proportional to exp(sum_j b_c[x_j] + sum_{k<l} lambda_kl phi_k(x) phi_l(x)),  phi_k a score.

Gibbs chains run on while b and lambda climb to where the chains have what was released (Younes 1989; Tieleman
2008). Classes share their couplings: a class's own would be mostly noise.

Columns of about as many bins and scores are laid out alike and drawn by one loop (`layout`), so that what has to
be compiled does not grow with their number.

Symbols: C classes, D columns, G merged bins, K scores, M chains of a class; n columns are laid out alike, each of
m bins and k scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.steps.scores.layout import Alike, Layout
from cohortmix.core.steps.scores.prior import prior_variance
from cohortmix.core.steps.scores.sweep import sweep

Array = NDArray[np.float64]

CHAINS = 4096  # of all classes together, at most, of so many columns; of more columns, as many fewer
COLUMNS = 64
FEWEST_CHAINS = 1024  # of all classes together, however much noise there is
OF_NOISE = 0.5  # error of a moment of one sweep's chains, in standard deviations of its noise; steps average many
SWEEPS = 300  # while b and lambda are learned, one for each step
STEP = 0.1  # of a Newton step, since couplings are moved one by one as if independent; falls to a twentieth
SETTLED = 150  # further sweeps and steps of b alone: chains that run behind lambda have margins which it has not
KEPT = 48  # further sweeps, over which the pair tables are averaged
AT_ONCE = 50  # sweeps of one compiled call; between two of them it is said how far the work is
FLOOR = 1e-3  # share of a bin, below which b moves more slowly
LEAST = 1e-9  # of a product of variances, which is a divisor


class Fitted(NamedTuple):
    """The model, and what it says of pairs.

    Attributes
    ----------
    b : (C, G) logits of each merged bin in each class.
    coupling : (K, K) lambda, zero within a column.
    values : (G, K) of each score in each merged bin.
    columns : (K,) which column each score is of, ascending.
    tables : (C, G, G) distributions of each pair of columns in each class, the diagonal that of each column.
    """

    b: Array
    coupling: Array
    values: Array
    columns: NDArray[np.int64]
    tables: Array


def fit(
    margins: Array,
    share: Array,
    values: Array,
    sizes: tuple[int, ...],
    columns: NDArray[np.int64],
    second: Array,
    std: float,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """The model of these margins and moments.

    Parameters
    ----------
    margins : (C, G) of each class.
    share : (C,) of the patients.
    values : (G, K) of each score in each merged bin.
    sizes : merged bins of each column.
    columns : (K,) which column each score is of, ascending.
    second : (K, K) released mean products, of which those within a column are not used.
    std : of their noise.
    report : is told how many sweeps are done, and how many there are.
    """
    layout = Layout.of(sizes, columns)
    apart = columns[:, None] != columns[None, :]
    variance = share @ margins @ values**2
    product = np.outer(variance, variance)
    damped = np.maximum(product, std / 2)
    beforehand = std**2 / prior_variance(second, apart, std)
    target = _Target(
        share=jnp.asarray(share.astype(np.float32)),
        second=layout.of_pairs(np.where(apart, second, 0), 0.0),
        curvature=layout.of_pairs(np.where(apart, damped, np.inf), np.inf),
        decay=layout.of_pairs(beforehand / np.maximum(product * damped, LEAST), 0.0),
    )
    alike = tuple(Alike.of(kind, margins, values) for kind in layout.kinds)
    chains, steps = chains_of_class(len(sizes), len(margins), std), _schedule()
    state, sweeps = _started(target, alike, chains), len(steps.b)
    for first in range(0, sweeps, AT_ONCE):
        report(first, sweeps)
        part = _Step(*(jnp.asarray(each[first : first + AT_ONCE]) for each in steps))
        state = _learned(state, target, alike, part, chains=chains)
        state.key.block_until_ready()
    report(sweeps, sweeps)
    coupling = np.asarray(state.coupling, np.float64)[layout.row][:, layout.row]
    b = np.concatenate([np.asarray(each, np.float64).reshape(-1, len(margins)) for each in state.kept_b])
    tables = np.asarray(state.tables, np.float64) / KEPT
    return Fitted(b[layout.bin].T, coupling, values, columns, tables[:, layout.bin][:, :, layout.bin])


def chains_of_class(columns: int, classes: int, std: float) -> int:
    """M: as many as keep their own error below the noise, as far as what a sweep costs is bounded.

    That does not grow with the columns beyond COLUMNS of them.

    Parameters
    ----------
    std : standard deviation of the noise of a mean product of two scores.
    """
    visible = max(FEWEST_CHAINS, min(CHAINS, round(1 / max(OF_NOISE * std, 1 / CHAINS) ** 2)))
    return max(1, visible * min(columns, COLUMNS) // columns // classes)


class _Target(NamedTuple):
    """What the model shall have, and how a Newton step gets there; the curvature is infinite within a column."""

    share: jax.Array  # (C,)
    second: jax.Array  # (K, K)
    curvature: jax.Array  # (K, K), about the variance of a product of two scores
    decay: jax.Array  # (K, K), how far the prior draws a coupling back, as in `release/target_tables.py`


class _State(NamedTuple):
    """Of learning: scores of the chains (K, C M), b (n, m, C) of columns alike, lambda (K, K); what is kept."""

    phi: jax.Array
    b: tuple[jax.Array, ...]
    coupling: jax.Array
    kept_b: tuple[jax.Array, ...]  # the average of b over its last steps (Polyak 1990)
    tables: jax.Array  # (C, G, G), summed over KEPT sweeps
    key: jax.Array


class _Step(NamedTuple):
    """Of sweeps: sizes of the steps that follow, the weight of b in what is kept, whether tables are added."""

    coupling: Any
    b: Any
    weight: Any
    counted: Any


def _schedule() -> _Step:
    """Learn both, then b alone, then keep: arrays of one entry for each sweep."""
    falling = STEP * np.maximum(0.5 * (1 + np.cos(np.pi * np.arange(SWEEPS) / SWEEPS)), 0.05)
    averaged = SETTLED // 2
    kept = np.zeros(KEPT)
    start = np.zeros(1 + -(1 + SWEEPS + SETTLED + KEPT) % AT_ONCE)  # as many as whole calls have, one or more
    steps = _Step(
        coupling=np.concatenate([start, falling, np.zeros(SETTLED), kept]),
        b=np.concatenate([start, falling, np.full(SETTLED, STEP / 2), kept]),
        weight=np.concatenate(
            [start, np.zeros(SWEEPS + SETTLED - averaged), np.full(averaged, 1 / averaged), kept]
        ),
        counted=np.concatenate([start, np.zeros(SWEEPS + SETTLED), kept + 1]) > 0,
    )
    return _Step(*(each if each.dtype == bool else each.astype(np.float32) for each in steps))


def _started(target: _Target, alike: tuple[Alike, ...], chains: int) -> _State:
    """Chains that are nowhere yet, b of the margins, no couplings."""
    classes, bins = len(target.share), sum(each.logits.shape[0] * each.logits.shape[1] for each in alike)
    b = tuple(each.logits for each in alike)
    return _State(
        phi=jnp.zeros((len(target.second), classes * chains)),
        b=b,
        coupling=jnp.zeros_like(target.second),
        kept_b=tuple(jnp.zeros_like(each) for each in b),
        tables=jnp.zeros((classes, bins, bins)),
        key=jax.random.key(0),
    )


@partial(jax.jit, static_argnames="chains")
def _learned(state: _State, target: _Target, alike: tuple[Alike, ...], steps: _Step, *, chains: int) -> _State:
    """The state after a sweep for each step."""
    return jax.lax.scan(lambda state, step: (_step(state, step, target, alike, chains), None), state, steps)[0]


def _step(state: _State, step: _Step, target: _Target, alike: tuple[Alike, ...], chains: int) -> _State:
    """One sweep, and a step of lambda and one of b towards the target, or the tables of the sweep."""
    key, own = jax.random.split(state.key)
    b = tuple(jnp.where(step.counted, kept, each) for kept, each in zip(state.kept_b, state.b, strict=True))
    swept = sweep(state.phi, b, state.coupling, own, [each.values for each in alike])
    phi, codes = swept.phi, swept.codes
    later = jnp.triu((phi * jnp.repeat(target.share / chains, chains)) @ swept.expected.T, 1)
    off = target.second - later - later.T
    coupling = state.coupling + step.coupling * off / target.curvature
    moved = tuple(
        logits + step.b * (each.margins - shares) / jnp.maximum(each.margins, FLOOR)
        for logits, each, shares in zip(b, alike, swept.shares, strict=True)
    )
    kept = tuple(kept + step.weight * each for kept, each in zip(state.kept_b, moved, strict=True))
    tables = jax.lax.cond(step.counted, lambda: state.tables + _pairs(codes, alike), lambda: state.tables)
    return _State(phi, moved, coupling / (1 + step.coupling * target.decay), kept, tables, key)


def _one_hot(codes: jax.Array, m: int) -> jax.Array:
    """(n, m, C, M) of bins (n, C, M)."""
    return (codes[:, None] == jnp.arange(m)[:, None, None]).astype(jnp.float32)


def _pairs(codes: Sequence[jax.Array], alike: tuple[Alike, ...]) -> jax.Array:
    """(C, G, G) pair tables of chains whose bins are given, (n, C, M) for columns alike."""
    x = [_one_hot(drawn, each.values.shape[1]) for drawn, each in zip(codes, alike, strict=True)]
    flat = jnp.concatenate([each.reshape(-1, *each.shape[2:]) for each in x])
    return jnp.einsum("gcm,hcm->cgh", flat, flat) / flat.shape[2]
