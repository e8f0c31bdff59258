"""The model of scores, to draw records from: what a chain has to know of a record is its scores, not its bins.

Symbols: C classes, D features, G their merged bins, K scores, M chains of a class; n columns are laid out alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of
from cohortmix.core.release.gibbs import Codes, evenly
from cohortmix.core.steps.scores.couplings import Fitted
from cohortmix.core.steps.scores.layout import Layout
from cohortmix.core.steps.scores.sweep import sweep


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """A fitted model of one table, or of the sum over all sites.

    Attributes
    ----------
    fitted : b and the couplings of scores.
    sizes : merged bins of each feature.
    """

    fitted: Fitted
    sizes: tuple[int, ...]

    @property
    def classes(self) -> int:
        """C."""
        return len(self.fitted.b)

    def settled(self, codes: Codes, c: int, size: int, sweeps: int, key: jax.Array) -> Codes:
        """As `gibbs.Model`."""
        layout, phi = self._layout, np.zeros((self._layout.rows, size), np.float32)
        phi[layout.row] = self._scores(np.resize(codes, (size, codes.shape[1]))).T
        values, coupling = self._placed
        found = _settled(jnp.asarray(phi), layout.of_bins(self.fitted.b[c : c + 1]), values, coupling, sweeps, key)
        out = np.empty((len(codes), len(self.sizes)), np.int32)
        for kind, drawn in zip(layout.kinds, found, strict=True):
            out[:, kind.columns] = np.asarray(drawn)[:, 0, : len(codes)].T
        return out

    def last(self, codes: Codes, c: int, rng: np.random.Generator) -> Codes:
        """As `gibbs.Model`."""
        phi, out = self._scores(codes), np.empty((len(codes), len(self.sizes)), np.int32)
        coupling = self.fitted.coupling.astype(np.float32)
        for j, (block, own) in enumerate(self._columns):
            values = self.fitted.values[block, own].astype(np.float32)
            out[:, j] = evenly(phi @ coupling[:, own] @ values.T + self.fitted.b[c, block], rng)
            phi[:, own] = values[out[:, j]]
        return out

    def _scores(self, codes: Codes) -> NDArray[np.float32]:
        """(n, K) of records whose bins are given, (n, D) or more."""
        out = np.empty((len(codes), len(self.fitted.columns)), np.float32)
        for j, (block, own) in enumerate(self._columns):
            out[:, own] = self.fitted.values[block, own][codes[:, j]]
        return out

    @cached_property
    def _columns(self) -> list[tuple[slice, slice]]:
        """Of each column, where its bins and its scores stand."""
        ends = np.searchsorted(self.fitted.columns, np.arange(len(self.sizes) + 1))
        scores = [slice(int(first), int(end)) for first, end in pairwise(ends)]
        return list(zip(blocks_of(self.sizes), scores, strict=True))

    @cached_property
    def _layout(self) -> Layout:
        return Layout.of(self.sizes, self.fitted.columns)

    @cached_property
    def _placed(self) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Values of scores of columns alike, and the couplings, in their places."""
        return self._layout.of_values(self.fitted.values), self._layout.of_pairs(self.fitted.coupling, 0.0)


@jax.jit
def _settled(
    phi: jax.Array,
    b: tuple[jax.Array, ...],
    values: tuple[jax.Array, ...],
    coupling: jax.Array,
    sweeps: int,
    key: jax.Array,
) -> list[jax.Array]:
    """The bins (n, 1, M) of columns alike after these sweeps of chains whose scores are phi (K, M)."""
    advance = partial(sweep, b=b, coupling=coupling, values=values)
    phi = jax.lax.fori_loop(0, sweeps - 1, lambda i, phi: advance(phi, key=jax.random.fold_in(key, i)).phi, phi)
    return advance(phi, key=jax.random.fold_in(key, sweeps - 1)).codes
